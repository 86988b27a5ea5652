"""Where training scripts put weights: keys, wrappers, and what lies beside."""

import argparse
import collections
import datetime
import itertools
import pathlib
import random

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.interop import state_dicts, torch_pickle

WEIGHT = "encoder.patch_embed.proj.weight"
NAMES = (WEIGHT, "encoder.blocks.0.norm1.bias", "decoder.head.bias")
KEYS = (
  *("model", "module", "state_dict", "model_state", "model_state_dict"),
  *("model_ema", "state_dict_ema", "ema_state_dict", "teacher", "my_weights"),
)


def tensors(torch, value=1.0):
  """A state dict all of whose elements are `value`."""
  return collections.OrderedDict(
    (name, torch.full((2, 3), value)) for name in NAMES
  )


def read(torch, content, tmp_path, **options):
  """What is read: names, the value of all elements, and the notes."""
  torch.save(content, tmp_path / "x.pth")
  notes = []
  found = torch_pickle.load(tmp_path / "x.pth", notes.append, **options)
  values = {float(v) for array in found.values() for v in array.flat}
  assert len(values) == 1
  return tuple(found), values.pop(), notes


@pytest.mark.parametrize("key", KEYS)
def test_the_one_dict_of_tensors_is_found(torch, tmp_path, key):
  optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}}
  content = {"epoch": 3, "optimizer": optimizer, key: tensors(torch)}
  names, value, notes = read(torch, content, tmp_path)
  assert (names, value) == (NAMES, 1.0)
  assert notes == [
    f"state dict found under {key!r}; left out: epoch, optimizer"
  ]


def test_a_dict_in_a_dict(torch, tmp_path):
  content = {"model": {"module": tensors(torch), "step": 3}}
  names, _, notes = read(torch, content, tmp_path)
  assert names == NAMES
  assert notes == ["state dict found under 'model' / 'module'"]


def test_beside_plain_values_in_one_dict(torch, tmp_path):
  content = {**tensors(torch), "epoch": 7, "args": {"lr": 0.1}}
  names, _, notes = read(torch, content, tmp_path)
  assert names == NAMES
  assert notes == ["left out of it, no tensors: epoch, args"]


@pytest.mark.parametrize("average", ["model_ema", "teacher", "state_dict_ema"])
@pytest.mark.parametrize("order", [1, -1])
def test_averages_by_option(torch, tmp_path, average, order):
  pairs = [("model", tensors(torch)), (average, tensors(torch, 2.0))]
  content = dict(pairs[::order])
  assert read(torch, content, tmp_path)[1] == 1.0
  assert read(torch, content, tmp_path, weights="last")[1] == 1.0
  _, value, notes = read(torch, content, tmp_path, weights="average")
  assert value == 2.0
  assert notes == [f"state dict found under {average!r}; left out: model"]
  for wanted, there in (("average", "model"), ("last", average)):
    with pytest.raises(errors.UserError, match=f"no .*weights.*{there}"):
      read(torch, {there: tensors(torch)}, tmp_path, weights=wanted)


def test_what_cannot_be_told_is_asked(torch, tmp_path):
  content = {"first": tensors(torch), "second": tensors(torch)}
  with pytest.raises(errors.UserError, match="2 models in it: first, second"):
    read(torch, content, tmp_path)


def test_an_optimizers_state_is_no_model(torch, tmp_path):
  moments = {"optimizer": {"m.w": torch.zeros(3)}, "step": torch.tensor(3)}
  with pytest.raises(errors.UserError, match="no state dict in it"):
    read(torch, {"epoch": 1, "optimizer": moments}, tmp_path)
  names, value, _ = read(torch, moments | {"net": tensors(torch)}, tmp_path)
  assert (names, value) == (NAMES, 1.0)


WRAPPERS = ("module.", "_orig_mod.", "_forward_module.", "backbone.", "model.")


def stripped(names):
  notes = []
  return state_dicts.strip(names, notes.append), notes


def test_prefixes_nest_in_any_order():
  cases = [
    "".join(order)
    for count in (1, 2, 3)
    for order in itertools.permutations(WRAPPERS, count)
  ]
  assert len(cases) == 85
  for prefix in cases:
    found, notes = stripped([prefix + name for name in NAMES])
    assert found == {name: prefix + name for name in NAMES}
    assert notes


def test_wrappers_inside_of_names():
  """Of FSDP, activation checkpointing, and compiled blocks."""
  draw = random.Random(0)
  parts = ("module", "_orig_mod", "_fsdp_wrapped_module")
  parts += ("_checkpoint_wrapped_module",)
  for _ in range(50):
    wrapped = {}
    for name in NAMES:
      words = name.split(".")
      for _ in range(draw.randrange(4)):
        words.insert(draw.randrange(len(words)), draw.choice(parts))
      wrapped[name] = ".".join(words)
    assert stripped(wrapped.values())[0] == wrapped


def test_names_that_become_one_are_refused():
  names = ["encoder.module.a.w", "encoder._orig_mod.a.w"]
  with pytest.raises(errors.UserError, match=r"encoder\.a\.w"):
    stripped(names)


def test_a_module_that_holds_the_model(torch, tmp_path):
  """Lightning's: under any attribute, beside a loss and metrics."""
  names = [f"my_vit.{name}" for name in NAMES]
  found, notes = stripped([*names, "loss.weight", "metric.count"])
  assert found == dict(zip(NAMES, names, strict=True))
  assert "left out: loss, metric" in " ".join(notes)
  content = {
    "state_dict": {
      f"{holder}{name}": torch.full((2, 3), value)
      for holder, value in (("net.", 1.0), ("ema_net.module.", 2.0))
      for name in NAMES
    },
    "pytorch-lightning_version": "2.0",
  }
  assert read(torch, content, tmp_path)[:2] == (NAMES, 1.0)
  found = read(torch, content, tmp_path, weights="average")
  assert found[:2] == (NAMES, 2.0)
  with pytest.raises(errors.UserError, match=r"2 models in it: one\., two\."):
    stripped(
      [f"{holder}.{name}" for holder in ("one", "two") for name in NAMES]
    )


def test_a_models_own_names_stay():
  """What all of an encoder's names begin with is no wrapper's."""
  names = [name for name in NAMES if name.startswith("encoder.")]
  assert stripped(names)[0] == {name: name for name in names}
  hub = ["videomae.embeddings.patch_embeddings.projection.weight", "head.bias"]
  assert stripped(hub)[0] == {name: name for name in hub}


def test_harmless_values_beside_the_weights(torch, tmp_path):
  settings = argparse.Namespace(
    folder=pathlib.PurePosixPath("/data"), started=datetime.date(2024, 1, 2)
  )
  content = {
    "model": tensors(torch),
    "best": np.float64(0.7),
    "curve": np.arange(3.0),
    "names": {"a", "b"},
    "frozen": frozenset({1}),
    "dtype": torch.bfloat16,
    "kind": np.dtype("float32"),
    "args": settings,
    "path": pathlib.Path("here"),
    "counts": collections.Counter("aab"),
    "per_class": collections.defaultdict(list, {1: [2]}),
    "random": np.random.default_rng(0),
    "generator": np.random.RandomState(0).get_state(),
    "torch_random": torch.get_rng_state(),
  }
  names, value, notes = read(torch, content, tmp_path)
  assert (names, value) == (NAMES, 1.0)
  assert "per_class" in notes[0]


def test_parameters_with_attributes(torch, tmp_path):
  """Optimisers' groups are marked so; PyTorch stores them by another call."""
  content = tensors(torch)
  marked = torch.nn.Parameter(content[WEIGHT].clone())
  marked.no_decay = True
  content[WEIGHT] = marked
  assert read(torch, content, tmp_path)[:2] == (NAMES, 1.0)
  plain = content[NAMES[1]].clone()
  plain.note = "x"
  content[NAMES[1]] = plain
  assert read(torch, content, tmp_path)[:2] == (NAMES, 1.0)


def test_a_file_that_contains_itself():
  content = {}
  content["again"] = {"more": content}
  content["model"] = {"a.b": 1.0, "up": content}
  found = state_dicts.find(
    content, lambda value: isinstance(value, float), lambda line: None
  )
  assert found == {"a.b": 1.0}
