"""JSON, safetensors and .npz files that lie: one line, and little memory."""

import io
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from sigma_jax import errors, settings
from sigma_jax.interop import foreign, hugging_face, layout, teacher


def refused(read, path, match):
  """Reading fails with this word and the file's name, in little memory."""
  tracemalloc.start()
  with pytest.raises(errors.UserError, match=match) as error:
    read(path)
  assert tracemalloc.get_traced_memory()[1] < 2**22 + 30 * path.stat().st_size
  tracemalloc.stop()
  assert str(path) in str(error.value)
  assert len(str(error.value)) < 600


def test_an_npz_that_unpacks_to_a_thousand_times_its_size(tmp_path):
  path = tmp_path / "x.npz"
  np.savez_compressed(path, a=np.zeros(2**25, np.float32))
  refused(foreign.read_npz, path, "far more than the file")


def test_compressed_weights_are_read(tmp_path):
  path = tmp_path / "x.npz"
  wanted = np.random.default_rng(0).normal(size=(50, 60))
  np.savez_compressed(path, a=wanted)
  np.testing.assert_array_equal(foreign.read_npz(path)["a"], wanted)


@pytest.mark.parametrize("shape", ["(9223372036854775807,)", "(-1,)", "(9,)"])
def test_an_npz_whose_header_lies(tmp_path, shape):
  path = tmp_path / "x.npz"
  header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n"
  head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("a.npy", head + header.encode() + bytes(8))
  refused(foreign.read_npz, path, "not a readable .npz")


def test_other_files_as_npz(tmp_path):
  path = tmp_path / "x.npz"
  for content in (b"", b"no archive", npy(np.zeros(3)), pickled()):
    path.write_bytes(content)
    refused(foreign.read_npz, path, "not a readable .npz")


def npy(array):
  file = io.BytesIO()
  np.save(file, array)
  return file.getvalue()


def pickled():
  file = io.BytesIO()
  np.savez(file, a=np.array([{}], object))
  return file.getvalue()


@pytest.mark.parametrize(
  "entry",
  [
    {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]},
    {"dtype": "F32", "shape": [2**63, 4], "data_offsets": [0, 8]},
    {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**40]},
    {"dtype": "F7", "shape": [2], "data_offsets": [0, 8]},
    {"dtype": "F8_E5M2", "shape": [8], "data_offsets": [0, 8]},
  ],
)
def test_safetensors_whose_header_lies(tmp_path, entry):
  path = tmp_path / "x.safetensors"
  header = json.dumps({"a": entry}).encode()
  path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
  refused(foreign.read_safetensors, path, "Error")


def test_teachers_name_the_setting(tmp_path):
  for name in ("x.safetensors", "x.npz", "x.pth"):
    path = tmp_path / name
    path.write_bytes(b"nothing")
    with pytest.raises(errors.UserError, match=r"target\.weights: .*x\."):
      teacher.read(str(path), settings.Target().variant)


@pytest.mark.parametrize(
  "text, match",
  [
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[]", "not a JSON object"),
    ('{"a": ' + "9" * 10_000 + "}", "not JSON"),
  ],
)
def test_configs_that_are_none(tmp_path, text, match):
  path = tmp_path / hugging_face.CONFIG
  path.write_text(text)
  refused(lambda path: hugging_face.is_folder(path.parent), path, match)


@pytest.mark.parametrize("key", ["num_frames", "num_attention_heads"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "12", None, [16]])
def test_config_values_of_another_kind(tmp_path, key, value):
  config = {"model_type": "videomae", "architectures": None, key: value}
  (tmp_path / hugging_face.CONFIG).write_text(json.dumps(config))
  with pytest.raises(errors.UserError, match=f"{key} is "):
    hugging_face.read(tmp_path)


@pytest.mark.parametrize(
  "name", ["encoder.blocks.{}.norm1.weight", "decoder.blocks.{}.norm1.weight"]
)
def test_a_block_of_an_absurd_number(name):
  """Its depth would become the length of a list."""
  tensors = {
    "encoder.patch_embed.proj.weight": np.zeros((64, 3, 2, 4, 4), np.float32),
    name.format(10**8): np.zeros(64, np.float32),
  }
  with pytest.raises(errors.UserError, match=r"blocks\.100000000"):
    layout.infer(tensors)
