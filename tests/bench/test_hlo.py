"""What is read from HLO: loops, collectives, bytes; of text and of programs."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from sigma_jax.bench.pod import collectives, hlo, traffic

# As the TPU compiler prints it, shortened: a loop of 9 turns around a joined
# all-reduce, a gather spread over three fusions, a reduce-scatter in a fusion.
TPU = """HloModule jit_step, is_scheduled=true, num_partitions=16

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%x, %y)
}

%body (p: (s32[], f32[3000], f32[3000])) -> (s32[], f32[3000], f32[3000]) {
  %p = (s32[]{:T(128)}, f32[3000]{0:T(1024)S(1)}, f32[3000]{0:T(1024)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %a = f32[3000]{0:T(1024)S(1)} get-tuple-element(%p), index=1
  %b = f32[3000]{0:T(1024)} get-tuple-element(%p), index=2
  %one = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)S(6)} add(%i, %one)
  %ar = (f32[3000]{0:T(1024)S(1)}, /*index=1*/f32[3000]{0:T(1024)}) all-reduce(%a, %b), channel_id=1, replica_groups={{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}}, to_apply=%add, metadata={op_name="jit(step)/jvp()/shard_map/while/body/psum"}
  %c = f32[3000]{0:T(1024)S(1)} get-tuple-element(%ar), index=0
  %d = f32[3000]{0:T(1024)} get-tuple-element(%ar), index=1
  ROOT %t = (s32[]{:T(128)}, f32[3000]{0:T(1024)S(1)}, f32[3000]{0:T(1024)}) tuple(%next, %c, %d)
}

%condition (q: (s32[], f32[3000], f32[3000])) -> pred[] {
  %nine = s32[]{:T(128)} constant(9)
  %q = (s32[]{:T(128)}, f32[3000]{0:T(1024)S(1)}, f32[3000]{0:T(1024)}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%q), index=0
  ROOT %lt = pred[]{:T(512)} compare(%j, %nine), direction=LT
}

%all-reduce-scatter.1 (input: bf16[384,1152]) -> bf16[384,288] {
  %input = bf16[384,1152]{0,1:T(8,128)(2,1)} parameter(0)
  %ars = bf16[384,1152]{0,1:T(8,128)(2,1)} all-reduce(%input), channel_id=22, replica_groups=[4,4]<=[16], to_apply=%add
  %zero = u32[] constant(0)
  ROOT %ds = bf16[384,288]{0,1:T(8,128)(2,1)} dynamic-slice(%ars, %zero, %zero), dynamic_slice_sizes={384,288}
}

%start (s: bf16[96,1536]) -> bf16[384,1536] {
  %s = bf16[96,1536]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %ag.1 = bf16[384,1536]{1,0:T(8,128)(2,1)} all-gather(%s), channel_id=7, replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=4], device_ids=([4,4]T(1,0)) {'axis_0'}, dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"-1","flag_end":"-1"}}
}

%done (e: bf16[96,1536]) -> bf16[384,1536] {
  %e = bf16[96,1536]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %ag.2 = bf16[384,1536]{1,0:T(8,128)(2,1)} all-gather(%e), channel_id=7, replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=4], device_ids=([4,4]T(1,0)) {'axis_0'}, dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
}

ENTRY %main (arg: (s32[], f32[3000], f32[3000]), w: bf16[96,1536], g: bf16[384,1152]) -> bf16[384,288] {
  %arg = (s32[]{:T(128)}, f32[3000]{0:T(1024)S(1)}, f32[3000]{0:T(1024)}) parameter(0)
  %w = bf16[96,1536]{1,0:T(8,128)(2,1)} parameter(1)
  %g = bf16[384,1152]{0,1:T(8,128)(2,1)} parameter(2)
  %loop = (s32[]{:T(128)}, f32[3000]{0:T(1024)S(1)}, f32[3000]{0:T(1024)}) while(%arg), condition=%condition, body=%body
  %f.1 = bf16[384,1536]{1,0:T(8,128)(2,1)} fusion(%w), kind=kCustom, calls=%start
  %f.2 = bf16[384,1536]{1,0:T(8,128)(2,1)} fusion(%w), kind=kCustom, calls=%done
  ROOT %rs = bf16[384,288]{0,1:T(8,128)(2,1)} fusion(%g), kind=kCustom, calls=%all-reduce-scatter.1, metadata={op_name="jit(step)/transpose(jvp())/dot_general"}
}
"""  # noqa: E501


def test_collectives_of_a_tpu_program():
  found = collectives.find(hlo.parse(TPU))
  by_kind = {}
  for each in found:
    by_kind.setdefault(each.kind, []).append(each)
  assert {kind: len(some) for kind, some in by_kind.items()} == {
    "all-reduce": 2,
    "all-gather": 1,
    "reduce-scatter": 1,
  }
  for each in by_kind["all-reduce"]:
    assert (each.array.text, each.count, each.loop) == ("f32[3000]", 9, "9")
    assert (each.nbytes, each.group) == (9 * 12000, 16)
    assert each.sent == 9 * 12000 * 2 * 15 / 16
    assert collectives.purpose(each, frozenset()) == "assignment"
  [gather] = by_kind["all-gather"]
  assert (gather.array.text, gather.group) == ("bf16[384,1536]", 4)
  assert (gather.count, gather.loop) == (1, "")
  assert gather.sent == gather.nbytes * 3 / 4
  [scatter] = by_kind["reduce-scatter"]
  assert (scatter.array.text, scatter.group) == ("bf16[384,1152]", 4)
  assert scatter.nbytes == 2 * 384 * 1152


def test_large_arrays_of_no_parameters_size_are_set_apart():
  found = collectives.find(hlo.parse(TPU))
  known = frozenset({384 * 1536})
  purposes = [collectives.purpose(each, known) for each in found]
  assert sorted(purposes) == [
    *("assignment", "assignment", "other", "parameters")
  ]
  known |= {384 * 1152}
  purposes = [collectives.purpose(each, known) for each in found]
  assert sorted(purposes) == [
    *("assignment", "assignment", "gradients", "parameters")
  ]


def test_groups_that_cannot_be_read_are_an_error():
  text = TPU.replace("replica_groups=[4,4]<=[16]", "replica_groups=new{}")
  with pytest.raises(ValueError, match="cannot read the groups"):
    collectives.find(hlo.parse(text))


def test_turns_as_xla_notes_them():
  text = TPU.replace(
    "body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"5"}}'
  )
  assert hlo.runs(hlo.parse(text))["body"] == [(5,)]


@pytest.mark.parametrize(
  ("old", "new"),
  [("direction=LT", "direction=NE"), ("constant(9)", "copy(%j)")],
)
def test_turns_that_cannot_be_read_are_an_error(old, new):
  with pytest.raises(ValueError, match="how often the loop %loop turns"):
    hlo.runs(hlo.parse(TPU.replace(old, new)))
  once = []
  hlo.runs(hlo.parse(TPU.replace(old, new)), once)
  assert once == ["loop"]


def test_text_of_something_else_is_an_error():
  with pytest.raises(ValueError, match="no HLO text"):
    hlo.parse("module @jit_step {\n}\n")


def test_sizes_of_arrays():
  assert hlo.Array("bf16", (3, 5)).nbytes == 30
  assert hlo.Array("pred", (7,)).nbytes == 7
  assert hlo.Array("s4", (3,)).nbytes == 2
  assert hlo.Array("f8e4m3fn", (9,)).nbytes == 9
  assert hlo.Array("f32", ()).nbytes == 4
  assert hlo.Array("token", ()).nbytes == 0


def test_memory_traffic_of_a_tpu_program():
  """On-chip arrays are free; of what a fusion slices, the slice counts."""
  loop = 9 * (4 + 4 + 2 * 12000)  # i and 1 read; b read, d written
  gathers = 2 * (96 * 1536 + 384 * 1536)  # where it starts, not where it ends
  scatter = 2 * (384 * 1152 + 384 * 288)
  found = traffic.hbm_bytes(hlo.parse(TPU))
  assert sum(found.values()) == loop + gathers + scatter


SLICES = """HloModule jit_f

%read (stack: f32[12,64,64], i: s32[], x: f32[64,64]) -> f32[64,64] {
  %stack = f32[12,64,64]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %x = f32[64,64]{1,0} parameter(2)
  %zero = s32[] constant(0)
  %part = f32[1,64,64]{2,1,0} dynamic-slice(%stack, %i, %zero, %zero), dynamic_slice_sizes={1,64,64}
  %flat = f32[64,64]{1,0} bitcast(%part)
  ROOT %out = f32[64,64]{1,0} add(%flat, %x)
}

%convert (stack: f32[12,64,64], i: s32[]) -> bf16[64,64] {
  %stack = f32[12,64,64]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %rounded = bf16[12,64,64]{2,1,0} convert(%stack)
  %zero = s32[] constant(0)
  %part = bf16[1,64,64]{2,1,0} dynamic-slice(%rounded, %i, %zero, %zero), dynamic_slice_sizes={1,64,64}
  ROOT %flat = bf16[64,64]{1,0} bitcast(%part)
}

%nested (i: s32[], stack: f32[12,64,64]) -> bf16[64,64] {
  %i = s32[] parameter(0)
  %stack = f32[12,64,64]{2,1,0} parameter(1)
  %inner = bf16[64,64]{1,0} fusion(%stack, %i), kind=kLoop, calls=%convert
  ROOT %twice = bf16[64,64]{1,0} add(%inner, %inner)
}

%write (stack: f32[12,64,64], i: s32[], x: f32[64,64]) -> f32[12,64,64] {
  %stack = f32[12,64,64]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %x = f32[64,64]{1,0} parameter(2)
  %zero = s32[] constant(0)
  %wide = f32[1,64,64]{2,1,0} bitcast(%x)
  ROOT %out = f32[12,64,64]{2,1,0} dynamic-update-slice(%stack, %wide, %i, %zero, %zero)
}

ENTRY %main (stack: f32[12,64,64], i: s32[], x: f32[64,64]) -> f32[12,64,64] {
  %stack = f32[12,64,64]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %x = f32[64,64]{1,0} parameter(2)
  %y = f32[64,64]{1,0} fusion(%stack, %i, %x), kind=kLoop, calls=%read
  %copied = (f32[64,64]{1,0:S(1)}, f32[64,64]{1,0}, u32[]{:S(2)}) copy-start(%y)
  %near = f32[64,64]{1,0:S(1)} copy-done(%copied)
  %rounded = bf16[64,64]{1,0:S(1)} fusion(%i, %stack), kind=kOutput, calls=%nested
  ROOT %z = f32[12,64,64]{2,1,0} fusion(%stack, %i, %near), kind=kLoop, calls=%write
}
"""  # noqa: E501


def test_memory_traffic_of_slices_and_updates_in_place():
  layer = 4 * 64 * 64
  reading = layer + 4 + layer + layer
  copying = layer  # from main memory to the chip's own
  writing = 4 + layer  # i, and the layer in place
  nested = 4 + layer  # i, and the layer that a fusion in the fusion slices
  found = traffic.hbm_bytes(hlo.parse(SLICES))
  assert found == {"other": reading + copying + writing + nested}


SPREAD = """HloModule jit_step

%start (shard: bf16[4,64]) -> (bf16[4,64], bf16[64,64]) {
  %shard = bf16[4,64] parameter(0)
  %gather.1 = bf16[64,64] all-gather(%shard), channel_id=7, replica_groups=[1,16]<=[16], dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"-1","flag_end":"2"}}
  ROOT %call = (bf16[4,64], bf16[64,64]) custom-call(%gather.1), custom_call_target="AsyncCollectiveStart"
}

%beside (x: f32[8,64], shard: bf16[4,64], whole: bf16[64,64]) -> (f32[8,64], bf16[4,64], bf16[64,64], bf16[64,64]) {
  %x = f32[8,64] parameter(0)
  %shard = bf16[4,64] parameter(1)
  %whole = bf16[64,64] parameter(2)
  %y = f32[8,64] negate(%x)
  %gather.2 = bf16[64,64] all-gather(%shard), channel_id=7, replica_groups=[1,16]<=[16], dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
  ROOT %out = (f32[8,64], bf16[4,64], bf16[64,64], bf16[64,64]) tuple(%y, %shard, %whole, %gather.2)
}

%done (shard: bf16[4,64], whole: bf16[64,64]) -> bf16[64,64] {
  %shard = bf16[4,64] parameter(0)
  %whole = bf16[64,64] parameter(1)
  %gather.3 = bf16[64,64] all-gather(%shard), channel_id=7, replica_groups=[1,16]<=[16], dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"8","flag_end":"9"}}
  ROOT %call = bf16[64,64] custom-call(%shard, %whole, %gather.3), custom_call_target="AsyncCollectiveDone"
}

ENTRY %main (shard: bf16[4,64], x: f32[8,64]) -> bf16[64,64] {
  %shard = bf16[4,64] parameter(0)
  %x = f32[8,64] parameter(1)
  %async-collective-start = (bf16[4,64], bf16[64,64]) fusion(%shard), kind=kCustom, calls=%start
  %s = bf16[4,64] get-tuple-element(%async-collective-start), index=0
  %w = bf16[64,64] get-tuple-element(%async-collective-start), index=1
  %f = (f32[8,64], bf16[4,64], bf16[64,64], bf16[64,64]) fusion(%x, %s, %w), kind=kOutput, calls=%beside, metadata={op_name="jit(step)/jvp(encoder)/neg"}
  %s.2 = bf16[4,64] get-tuple-element(%f), index=1
  %w.2 = bf16[64,64] get-tuple-element(%f), index=2
  ROOT %async-collective-done = bf16[64,64] fusion(%s.2, %w.2), kind=kCustom, calls=%done
}
"""  # noqa: E501


def test_a_gather_beside_other_work_moves_its_bytes_once():
  """It stands in every fusion that it runs beside, whole, and in its end."""
  module = hlo.parse(SPREAD)
  assert traffic.hbm_bytes(module) == {
    "collectives": 2 * (4 * 64 + 64 * 64),  # a shard read, all written
    "encoder": 2 * 4 * 8 * 64,  # the fusion's own work
  }
  [gather] = collectives.find(module)
  assert gather.nbytes == 2 * 64 * 64


PARTS = """HloModule jit_step

%body (x: (f32[64], f32[64])) -> (f32[64], f32[64]) {
  %x = (f32[64], f32[64]) parameter(0)
  %a = f32[64] get-tuple-element(%x), index=0
  %b = f32[64] get-tuple-element(%x), index=1
  %c = f32[64] add(%a, %b), metadata={op_name="jit(step)/jvp(encoder)/while/body/add"}
  %d = f32[64] copy(%b)
  ROOT %out = (f32[64], f32[64]) tuple(%c, %d)
}

%condition (x: (f32[64], f32[64])) -> pred[] {
  %x = (f32[64], f32[64]) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (p: f32[64], q: f32[64]) -> f32[64] {
  %p = f32[64] parameter(0)
  %q = f32[64] parameter(1)
  %pixels = f32[64] negate(%q), metadata={op_name="jit(step)/jvp(encoder)/embedding/neg"}
  %pair = (f32[64], f32[64]) tuple(%p, %pixels)
  %loop = (f32[64], f32[64]) while(%pair), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %last = f32[64] get-tuple-element(%loop), index=0
  %teacher = f32[64] negate(%last), metadata={op_name="jit(step)/target/encoder/neg"}
  %copied = f32[64] copy(%teacher)
  %sum = f32[64] all-reduce(%copied), metadata={op_name="jit(step)/transpose(jvp(encoder))/dot"}
  ROOT %new = f32[64] add(%p, %sum), metadata={op_name="jit(step)/optimizer/add"}
}
"""  # noqa: E501


def test_memory_traffic_by_part():
  """By names; copies have none: of what made them, uses them, or loops."""
  array = 4 * 64
  assert traffic.hbm_bytes(hlo.parse(PARTS)) == {
    "embedding": 2 * array,
    "encoder": 3 * (3 + 2) * array,  # a sum and a copy, three times
    "target": 2 * 2 * array,  # its own and the copy of it
    "collectives": 2 * array,
    "optimizer": 3 * array,
  }


def test_collectives_of_a_real_program():
  """Eight simulated devices, three sums in a loop and one behind it."""
  mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(AxisType.Auto,) * 2)

  def local(x):
    def body(total, row):
      return total + jax.lax.psum(row, ("a", "b")), None

    total, _ = jax.lax.scan(body, jnp.zeros(5), x)
    return jax.lax.psum(total, "b")

  spread = jax.shard_map(
    local,
    mesh=mesh,
    in_specs=PartitionSpec(None, ("a", "b")),
    out_specs=PartitionSpec(),
    check_vma=False,
  )
  x = jax.ShapeDtypeStruct((3, 40), jnp.float32)
  text = jax.jit(spread).lower(x).compile().as_text()
  found = collectives.find(hlo.parse(text))
  assert {(c.kind, c.array.shape, c.count, c.group) for c in found} == {
    ("all-reduce", (5,), 3, 8),
    ("all-reduce", (5,), 1, 4),
  }
