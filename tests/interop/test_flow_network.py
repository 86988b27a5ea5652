"""RAFT-small: unseen cases beside PyTorch, its files, and what is refused."""

import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest
import safetensors.numpy

from sigma_jax import errors
from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import flow_network, golden_case, parity, torch_writer
from sigma_jax.models import correlations
from sigma_jax.models import raft as raft_lib


@pytest.fixture(scope="module", name="sizes")
def sizes_fixture(golden_dir):
  """Princeton's names and shapes, of the golden case."""
  options = json.loads((golden_dir / "mgmae" / "raft_small.json").read_text())
  return {n: tuple(shape) for n, shape in options["state_dict"].items()}


@pytest.fixture(scope="module", name="weights")
def weights_fixture(sizes):
  return {n: golden_case.weight(n, shape) for n, shape in sizes.items()}


@pytest.fixture(scope="module", name="torchvision")
def torchvision_fixture(golden_dir):
  """torchvision's names -> Princeton's."""
  path = golden_dir / "mgmae" / "raft_small_torchvision_names.json"
  return json.loads(path.read_text())


@pytest.fixture(scope="module", name="raft")
def raft_fixture(reference):
  """The module raft_reference."""
  assert reference.torch
  path = pathlib.Path(__file__).with_name("raft_reference.py")
  spec = importlib.util.spec_from_file_location("raft_reference", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize(
  ("shape", "iterations", "batch"),
  [((128, 128), 1, 0), ((136, 184), 4, 2), ((200, 128), 8, 0)],
)
def test_cases_of_other_sizes(raft, sizes, tmp_path, shape, iterations, batch):
  raft.write_case(tmp_path / "case", sizes, shape, iterations, batch=batch)
  result = parity.compare(golden_case.load(tmp_path / "case"))
  rows = {row.quantity: row for row in result.rows}
  low = {f"flow_low_it{i + 1}" for i in range(iterations)}
  beside = {"features_first", "features_second", "context", "flow"}
  assert set(rows) == low | beside
  assert not [row for row in result.rows if not row.passed]


def test_the_reference_is_the_published_code(raft, weights, golden_dir):
  """What judges other sizes gives the golden case's numbers itself."""
  arrays = dict(np.load(golden_dir / "mgmae" / "raft_small.npz"))
  network = raft.Raft(weights)
  with raft.torch.no_grad():
    found = network(arrays["first"][None], arrays["second"][None], 6)
  for name in set(arrays) & set(found):
    scale = np.abs(arrays[name]).max()
    error = np.abs(found[name][0] - arrays[name]).max() / scale
    assert error < 1e-5, name


def change_case(golden_dir, tmp_path, change):
  """The golden case with something else in it, as a command's argument."""
  source = golden_dir / "mgmae" / "raft_small"
  arrays = dict(np.load(f"{source}.npz"))
  options = json.loads(source.with_suffix(".json").read_text())
  change(arrays, options)
  np.savez(tmp_path / "case.npz", **arrays)
  (tmp_path / "case.json").write_text(json.dumps(options))
  return str(tmp_path / "case")


def test_a_case_under_torchvisions_names(raft, sizes, torchvision, tmp_path):
  """Weights are made from the names that the case has."""
  named = {new: sizes[old] for new, old in torchvision.items()}
  names = dict(torchvision)
  raft.write_case(tmp_path / "case", named, (128, 136), 2, names=names)
  result = parity.compare(golden_case.load(tmp_path / "case"))
  assert len(result.rows) == 6
  assert not [row for row in result.rows if not row.passed]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      lambda a, o: a.update(first=a["first"][:112, :112]),
      "multiples of 8 from 128 up, got 112 x 112",
    ),
    (lambda a, o: a.pop("second"), "'second' is missing"),
    (
      lambda a, o: o["state_dict"].pop("cnet.conv2.bias"),
      "missing cnet.conv2.bias",
    ),
    (
      lambda a, o: a.update(flow=a["flow"][:64]),
      "flow: shape [64, 128, 2] in the case, [128, 128, 2] computed",
    ),
  ],
)
def test_malformed_cases(golden_dir, tmp_path, change, message, capsys):
  path = change_case(golden_dir, tmp_path, change)
  assert cli.main(["parity", path]) != 0
  told = capsys.readouterr()
  lines = (told.out + told.err).strip().splitlines()
  assert len(lines) == 1
  assert message in lines[0]
  assert "case" in lines[0]


def failed(path):
  rows = parity.compare(golden_case.load(path)).rows
  return {row.quantity for row in rows if not row.passed}


def test_a_difference_is_found(golden_dir, tmp_path):
  def change(arrays, options):
    arrays["flow"] = arrays["flow"] * np.float32(1.0001)
    arrays["context"] = arrays["context"] + np.float32(1e-3)

  path = change_case(golden_dir, tmp_path, change)
  assert failed(path) == {"flow", "context"}


def test_another_network_is_seen(golden_dir, monkeypatch):
  """A window's rows and columns exchanged; an encoder without its norm."""
  path = golden_dir / "mgmae" / "raft_small"
  looked_up = correlations.looked_up

  def exchanged(levels, flow):
    found = looked_up(levels, flow)
    cut = found.reshape(*found.shape[:3], 4, 7, 7)
    return cut.swapaxes(4, 5).reshape(found.shape)

  with monkeypatch.context() as patch:
    patch.setattr(correlations, "looked_up", exchanged)
    assert "flow_low_it1" in failed(path)
  monkeypatch.setattr(raft_lib, "_instance_norm", lambda x: x)
  assert "features_first" in failed(path)


# --- files -------------------------------------------------------------------


def settings_of(tiny, change, path, **changes):
  return change(
    tiny,
    **{
      "data__size": 128,
      "model__patch": 16,
      "masking__kind": "motion",
      "masking__flow": "raft_small",
      "masking__flow_weights": str(path),
      **changes,
    },
  )


def save(path, arrays):
  if path.suffix == ".npz":
    np.savez(path, **arrays)
  elif path.suffix == ".safetensors":
    safetensors.numpy.save_file(arrays, path)
  else:
    torch_writer.save(path, arrays)
  return path


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".npz", ".safetensors"])
@pytest.mark.parametrize("naming", ["module", "plain", "torchvision"])
def test_every_form_gives_the_same_weights(
  tiny, change, weights, torchvision, tmp_path, suffix, naming
):
  named = {
    "plain": weights,
    "module": {f"module.{name}": x for name, x in weights.items()},
    "torchvision": {new: weights[old] for new, old in torchvision.items()},
  }[naming]
  path = save(tmp_path / f"raft{suffix}", named)
  loaded = flow_network.load(settings_of(tiny, change, path))
  want = flow_network.convert(weights, np.dtype(np.float32))
  jax.tree.map(np.testing.assert_array_equal, loaded, {"flow": want})
  # Each entry of the file stands where its layer reads it.
  kernel = loaded["flow"]["fnet"]["blocks"][2]["downsample"]["kernel"]
  np.testing.assert_array_equal(
    kernel[0, 0], weights["fnet.layer2.0.downsample.0.weight"][..., 0, 0].T
  )
  count = sum(leaf.size for leaf in jax.tree.leaves(loaded))
  assert count == 990_162


def test_names_and_shapes_are_the_published_ones(sizes):
  assert flow_network.published_shapes() == sizes


def test_other_masks_and_other_flow_load_nothing(tiny, change):
  for changes in (
    {"masking__kind": "tube"},
    {"masking__flow": "lucas_kanade"},
  ):
    run = settings_of(tiny, change, "none.pth", **changes)
    assert flow_network.load(run) == {}


def test_bfloat16(tiny, change, weights, tmp_path):
  path = save(tmp_path / "raft.npz", weights)
  run = settings_of(tiny, change, path, masking__flow_dtype="bfloat16")
  loaded = flow_network.load(run)
  assert {leaf.dtype.name for leaf in jax.tree.leaves(loaded)} == {"bfloat16"}


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (lambda w: w.pop("fnet.conv1.bias"), "missing fnet.conv1.bias"),
    (
      lambda w: w.update({"fnet.conv9.bias": np.zeros(3, np.float32)}),
      "unexpected fnet.conv9.bias",
    ),
    (
      lambda w: w.update({"fnet.conv2.bias": np.zeros(3, np.float32)}),
      r"fnet.conv2.bias has shape \[3\], not \[128\]",
    ),
    (
      lambda w: w.update({"cnet.conv2.bias": np.full(160, np.nan, "f")}),
      "NaN or infinite",
    ),
    (
      lambda w: w.update({"module.cnet.conv2.bias": w["cnet.conv2.bias"]}),
      "two names",
    ),
    (
      lambda w: w.update(
        {"update_block.mask.0.weight": np.zeros((1, 1, 1, 1), "f")}
      ),
      "it is of the large RAFT, not of RAFT-small",
    ),
    (lambda w: w.clear(), "missing .* and 100 more$"),
  ],
)
def test_wrong_weights(tiny, change, weights, tmp_path, spoil, message):
  spoilt = dict(weights)
  spoil(spoilt)
  path = save(tmp_path / "raft.npz", spoilt)
  with pytest.raises(errors.UserError, match=message) as told:
    flow_network.load(settings_of(tiny, change, path))
  assert str(told.value).startswith("masking.flow_weights: ")
  assert "raft.npz" in str(told.value)
  assert "\n" not in str(told.value)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("", "masking.flow_weights is not set; expected RAFT-small's weights"),
    ("none.pth", "masking.flow_weights: no file .*none.pth"),
    ("raft.h5", "must end in one of .pth"),
  ],
)
def test_no_such_file(tiny, change, tmp_path, name, message):
  (tmp_path / "raft.h5").touch()
  path = tmp_path / name if name else ""
  with pytest.raises(errors.UserError, match=message):
    flow_network.load(settings_of(tiny, change, path))


def test_a_file_of_something_else(tiny, change, tmp_path):
  path = tmp_path / "raft.pth"
  path.write_bytes(b"not a checkpoint at all")
  with pytest.raises(errors.UserError, match=r"masking.flow_weights: .*raft"):
    flow_network.load(settings_of(tiny, change, path))
