"""PyTorch's files without PyTorch: read, written, and malice refused."""

import argparse
import collections
import os
import pathlib
import pickle
import warnings
import zipfile

import ml_dtypes
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.interop import inert_pickle, torch_pickle, torch_writer

TENSORS = {
  "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
  "half": np.array([1.5, -2.0], np.float16),
  "brain": np.array([1.5, -2.0], ml_dtypes.bfloat16),
  "count": np.array(7, np.int64),
  "flags": np.array([True, False]),
  "none": np.zeros((0, 3), np.float32),
}


def _same(got, want):
  assert list(got) == list(want)
  for name, tensor in want.items():
    assert got[name].dtype == tensor.dtype
    np.testing.assert_array_equal(got[name], tensor)


def _archive(path, data: bytes):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", data)
    archive.writestr("archive/version", "3\n")
  return path


def _torch():
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return pytest.importorskip("torch", reason="compares with real PyTorch")


def test_what_is_written_is_read(tmp_path):
  torch_writer.save(tmp_path / "x.pth", TENSORS)
  _same(torch_pickle.load(tmp_path / "x.pth"), TENSORS)


def test_torch_reads_what_is_written(tmp_path):
  torch = _torch()
  torch_writer.save(tmp_path / "x.pth", TENSORS)
  got = torch.load(tmp_path / "x.pth", weights_only=True)
  assert list(got) == list(TENSORS)
  assert got["brain"].dtype == torch.bfloat16
  for name, tensor in TENSORS.items():
    assert got[name].shape == tensor.shape
    np.testing.assert_array_equal(
      got[name].double().numpy(), tensor.astype(np.float64)
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_training_checkpoint_of_torch(tmp_path, zipped):
  torch = _torch()
  base = torch.arange(24.0).reshape(4, 6)
  state = collections.OrderedDict(
    {
      "module.t": base.T,  # not contiguous
      "module.slice": base[1:3, ::2],
      "module.bf16": base.bfloat16(),
      "module.f16": base.half(),
      "module.i64": torch.tensor([3, 4]),
      "module.parameter": torch.nn.Parameter(base[0]),
    }
  )
  content = {
    "model": state,
    "optimizer": {"state": {0: {"exp_avg": base}}, "param_groups": [{"lr": 1}]},
    "epoch": 5,
    "args": argparse.Namespace(lr=1e-3, name="run", betas=[0.9, 0.95]),
  }
  path = tmp_path / "x.pth"
  torch.save(content, path, _use_new_zipfile_serialization=zipped)
  notes = []
  got = torch_pickle.load(path, notes.append)
  assert notes == [
    "state dict found under 'model'; left out: optimizer, epoch, args",
    "prefix 'module.' stripped from all names",
  ]
  assert list(got) == [name.removeprefix("module.") for name in state]
  for name, tensor in state.items():
    array = got[name.removeprefix("module.")]
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(
      array.astype(np.float64), tensor.detach().double().numpy()
    )
  assert got["bf16"].dtype == ml_dtypes.bfloat16
  assert got["i64"].dtype == np.int64


class _Malice:
  def __init__(self, call, *args):
    self.call, self.args = call, args

  def __reduce__(self):
    return self.call, self.args


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["top", "args"])
def test_malicious_pickle_is_refused_and_not_run(tmp_path, zipped, where):
  mark = tmp_path / "ran"
  bad = _Malice(os.system, f"touch {mark}")
  data = pickle.dumps(bad if where == "top" else {"model": {}, "args": bad}, 2)
  path = tmp_path / "x.pth"
  if zipped:
    _archive(path, data)
  else:
    path.write_bytes(data)
  with pytest.raises(errors.UserError, match=r"(posix|nt)\.system"):
    torch_pickle.load(path)
  assert not mark.exists()


@pytest.mark.parametrize(
  "call, args, name",
  [
    (eval, ("1+1",), "__builtin__.eval"),
    (getattr, ("x", "upper"), "__builtin__.getattr"),
    (pathlib.Path.touch, (pathlib.Path("x"),), "__builtin__.getattr"),
  ],
)
def test_other_globals_are_named(tmp_path, call, args, name):
  path = _archive(tmp_path / "x.pth", pickle.dumps(_Malice(call, *args), 2))
  with pytest.raises(errors.UserError, match=name):
    torch_pickle.load(path)


@pytest.mark.parametrize(
  "module, name",
  [
    ("collections", "OrderedDict.__init__"),
    ("torch._utils", "os"),
    ("torch", "load"),
    ("argparse", "os.system"),
  ],
)
def test_dotted_and_neighbouring_globals(tmp_path, module, name):
  data = b"\x80\x04" + b"".join(
    b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name)
  )
  path = _archive(tmp_path / "x.pth", data + b"\x93.")
  with pytest.raises(errors.UserError, match="refused"):
    torch_pickle.load(path)


# Names `file.pth` can use to change the process: each is made, given a state,
# called, filled. `N}X...` is a state for BUILD: (None, {"x": 1}).
_STATE = b"N}X\x01\x00\x00\x00xK\x01s\x86b"
_CHANGES = {
  "a function's attribute": b"ctorch._utils\n_rebuild_tensor_v2\n" + _STATE,
  "a class's attribute": b"ccollections\nOrderedDict\n" + _STATE,
  # What makes every bfloat16 of the process 1000 bytes long.
  "a type's size": b"ctorch\nBFloat16Storage\n"
  b"(K\x03X\x01\x00\x00\x00<NNNM\xe8\x03M\xe8\x03K\x00tb",
  "a new type's size": b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R"
  b"(K\x03X\x01\x00\x00\x00<NNNM\xe8\x03M\xe8\x03K\x00tb",
}


@pytest.mark.parametrize("what", _CHANGES)
def test_no_state_of_the_process_is_set(tmp_path, what):
  """Neither by a file that is rejected nor by one that is read."""
  before = process_state()
  path = _archive(tmp_path / "x.pth", b"\x80\x02" + _CHANGES[what] + b".")
  with pytest.raises(errors.UserError, match="no state dict"):
    torch_pickle.load(path)
  assert process_state() == before
  torch_writer.save(path, TENSORS)
  with zipfile.ZipFile(path) as archive:
    entries = {name: archive.read(name) for name in archive.namelist()}
  tensors = entries["archive/data.pkl"].removeprefix(b"\x80\x02")
  entries["archive/data.pkl"] = b"\x80\x02" + _CHANGES[what] + b"0" + tensors
  with zipfile.ZipFile(path, "w") as archive:
    for name, data in entries.items():
      archive.writestr(name, data)
  _same(torch_pickle.load(path), TENSORS)
  assert process_state() == before


def process_state():
  """What a pickle could have changed of the types and tables in use."""
  types = (*torch_pickle.STORAGES.values(), np.dtype(ml_dtypes.bfloat16))
  return (
    [(str(t), t.itemsize, t.alignment, t.fields, t.byteorder) for t in types],
    dict(vars(collections.OrderedDict)),
    vars(inert_pickle.Global).keys(),
    vars(torch_pickle).copy(),
  )


def test_what_training_scripts_keep_beside_the_weights_is_passed_over(tmp_path):
  beside = {
    "args": argparse.Namespace(lr=1e-3, out=pathlib.PurePosixPath("runs")),
    "best": np.float64(71.5),
    "history": np.arange(5.0),
    "seen": {1, 2},
    "frozen": frozenset("ab"),
    "dtype": np.dtype("float16"),
    "counts": collections.defaultdict(int, {"a": 1}),
  }
  for protocol in (2, 4, 5):
    path = tmp_path / f"{protocol}.pth"
    torch_writer.save(path, TENSORS)
    with zipfile.ZipFile(path) as archive:
      entries = {name: archive.read(name) for name in archive.namelist()}
    model = entries["archive/data.pkl"].removeprefix(b"\x80\x02")[:-1]
    whole = pickle.dumps(beside, protocol)[:-1]
    # {**beside, "model": the state dict}
    name = b"X\x05\x00\x00\x00model"
    entries["archive/data.pkl"] = whole + name + model + b"s."
    with zipfile.ZipFile(path, "w") as archive:
      for entry, data in entries.items():
        archive.writestr(entry, data)
    notes = []
    _same(torch_pickle.load(path, notes.append), TENSORS)
    assert notes == [
      f"state dict found under 'model'; left out: {', '.join(beside)}"
    ]


def tensor(shape, strides, offset, size=6):
  """A tensor's call as a pickle records it, of a float32 storage."""
  storage = inert_pickle.Persistent(
    ("storage", inert_pickle.Global("torch", "FloatStorage"), "0", "cpu", size)
  )
  function = inert_pickle.Global("torch._utils", "_rebuild_tensor_v2")
  return inert_pickle.Call(function, (storage, offset, shape, strides))


@pytest.mark.parametrize(
  "shape, strides, offset",
  [
    ((9,), (1,), 0),
    ((2,), (7,), 0),
    ((2,), (1,), 6),
    ((1 << 40,), (0,), 0),
    ((1 << 32, 1 << 32), (0, 0), 0),
    ((0,), (1,), 7),
  ],
)
def test_tensors_stay_inside_their_storage(shape, strides, offset):
  with pytest.raises(errors.UserError, match="exceeds its storage"):
    torch_pickle._tensor(tensor(shape, strides, offset))


@pytest.mark.parametrize(
  "shape, strides, offset, message",
  [
    ((2,), (-1,), 3, "out of all range"),
    ((1 << 61, 0), (1, 1), 0, "out of all range"),
    ((2.0,), (1,), 0, "out of all range"),
    ((1,) * 33, (1,) * 33, 0, "33 dimensions"),
    ((2, 2), (1,), 0, "2 dimensions"),
  ],
)
def test_shapes_that_are_none(shape, strides, offset, message):
  with pytest.raises(errors.UserError, match=message):
    torch_pickle._tensor(tensor(shape, strides, offset))


@pytest.mark.parametrize(
  "content, message",
  [
    (b"not a checkpoint", "not a .pth"),
    (b"", "not a .pth"),
    (b"\x80\x02]q\x00.", "not one of PyTorch's"),
    (b"\x80\x02broken", "torch.save"),
  ],
)
def test_other_files(tmp_path, content, message):
  path = tmp_path / "x.pth"
  path.write_bytes(content)
  with pytest.raises(errors.UserError, match=message):
    torch_pickle.load(path)


def test_no_state_dict_in_it(tmp_path):
  path = _archive(tmp_path / "x.pth", pickle.dumps({"epoch": 3}, 2))
  with pytest.raises(errors.UserError, match="no state dict"):
    torch_pickle.load(path)


def test_cut_off_archive(tmp_path):
  path = tmp_path / "x.pth"
  torch_writer.save(path, TENSORS)
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(errors.UserError):
    torch_pickle.load(path)
  with pytest.raises(errors.UserError, match="no such file"):
    torch_pickle.load(tmp_path / "y.pth")


def test_unknown_dtype_is_not_written(tmp_path):
  with pytest.raises(ValueError, match="complex64"):
    torch_writer.save(tmp_path / "x.pth", {"x": np.zeros(2, np.complex64)})
