"""State dicts in files and folders: shards, DeepSpeed's, and what is NaN."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from sigma_jax import errors
from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import hugging_face, store, tensor_files, torch_writer


def silent(line):
  del line


def same(left, right):
  assert list(left) == list(right)
  for name, tensor in right.items():
    np.testing.assert_array_equal(left[name], tensor)


def save(path, tensors):
  (save_file if path.suffix == ".safetensors" else _save_pth)(tensors, path)


def _save_pth(tensors, path):
  torch_writer.save(path, tensors)


def shards(folder, tensors, stem, suffix, count=3):
  """Files of a third of the tensors each, and the index that names them."""
  names, where = sorted(tensors), {}
  for i in range(count):
    file = f"{stem}-{i + 1:05d}-of-{count:05d}{suffix}"
    part = {name: tensors[name] for name in names[i::count]}
    save(folder / file, part)
    where |= dict.fromkeys(part, file)
  index = folder / f"{stem}{suffix}.index.json"
  index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
  return index


@pytest.mark.parametrize(
  "stem, suffix", [("model", ".safetensors"), ("pytorch_model", ".bin")]
)
@pytest.mark.parametrize("sharded", [False, True])
def test_weights_of_a_transformers_folder(
  classifier, tmp_path, stem, suffix, sharded
):
  """All that save_pretrained() of any version writes is the same model."""
  layout = classifier.layout
  hugging_face.write(tmp_path, classifier.params, layout, num_frames=4, size=16)
  whole = tmp_path / "model.safetensors"
  tensors = tensor_files.read(whole, silent)
  whole.unlink()
  if sharded:
    shards(tmp_path, tensors, stem, suffix)
  else:
    save(tmp_path / f"{stem}{suffix}", tensors)
  model = store.read(tmp_path)
  assert model.layout.kind == "finetune"
  same(
    store.published.from_params(model.params, model.layout),
    classifier.tensors,
  )


def test_a_folder_of_shards_without_a_config(small, tmp_path):
  """What DeepSpeed's zero_to_fp32.py leaves, under published names."""
  shards(tmp_path, small.tensors, "pytorch_model", ".bin")
  model = store.read(tmp_path, **small.options)
  same(store.published.from_params(model.params, model.layout), small.tensors)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"a.b": "../x.safetensors"}, "no file beside it"),
    ({"a.b": "/etc/passwd"}, "no file beside it"),
    ({"a.b": 3}, "no file beside it"),
    ({"a.b": "model-00009.safetensors"}, "which is not in"),
    ({"a.b": "model-00001-of-00003.safetensors"}, r"no shard has: a\.b"),
  ],
)
def test_an_index_that_lies(small, tmp_path, change, message):
  index = shards(tmp_path, small.tensors, "model", ".safetensors")
  content = json.loads(index.read_text())
  content["weight_map"] |= change
  index.write_text(json.dumps(content))
  with pytest.raises(errors.UserError, match=message):
    tensor_files.read_folder(tmp_path, silent)


def test_an_index_of_another_kind(tmp_path):
  for content in ("{}", "[]", '{"weight_map": [1]}', "x"):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(errors.UserError, match=r"index\.json"):
      tensor_files.read_folder(tmp_path, silent)


def test_prefixes_in_safetensors(small, tmp_path):
  """Of torch.compile, which accelerate saves with the names."""
  path = tmp_path / "x.safetensors"
  save(path, {f"_orig_mod.{n}": t for n, t in small.tensors.items()})
  notes = []
  model = store.read(path, **small.options, note=notes.append)
  same(store.published.from_params(model.params, model.layout), small.tensors)
  assert "_orig_mod" in " ".join(notes)


def diverged(tensors):
  tensors = {name: tensor.copy() for name, tensor in tensors.items()}
  name = next(name for name in tensors if name.endswith("mlp.fc1.weight"))
  tensors[name][0, 0] = np.nan
  other = next(name for name in tensors if name.endswith("norm.bias"))
  tensors[other][1] = -np.inf
  return tensors, (name, other)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_not_finite(small, tmp_path, capsys, suffix):
  tensors, names = diverged(small.tensors)
  path, run = tmp_path / f"x{suffix}", tmp_path / "run"
  save(path, tensors)
  heads = ["--encoder-heads=3", "--decoder-heads=2", "--frames=4", "--size=16"]
  assert cli.main(["import", str(path), str(run), *heads]) == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1
  for part in (path.name, *names, "(1 of"):
    assert part in error
  assert not run.exists()


def test_folders_and_workdirs_that_are_not_finite(classifier, tmp_path):
  broken = {**classifier.params}
  broken["head"] = {"kernel": broken["head"]["kernel"].copy()}
  broken["head"]["bias"] = np.full(3, np.nan, np.float32)
  folder = tmp_path / "hf"
  hugging_face.write(folder, broken, classifier.layout, num_frames=4, size=16)
  with pytest.raises(errors.UserError, match=r"classifier\.bias \(3 of 3\)"):
    store.read(folder)


def test_a_workdir_that_is_not_finite(small, tmp_path):
  path, run = tmp_path / "x.pth", tmp_path / "run"
  save(path, small.tensors)
  model = store.read(path, **small.options)
  model.params["prototypes"][3, 4] = np.inf
  store.write_workdir(run, model, str(path), silent)
  with pytest.raises(errors.UserError, match=r"prototypes \(1 of 240\)"):
    store.read(run)


def test_numbers_too_large_for_float32(small, tmp_path):
  tensors = {name: t.astype(np.float64) for name, t in small.tensors.items()}
  save(tmp_path / "x.pth", tensors)
  store.read(tmp_path / "x.pth", **small.options)
  tensors["prototypes"][0, 0] = 1e300
  save(tmp_path / "x.pth", tensors)
  with pytest.raises(errors.UserError, match="prototypes"):
    store.read(tmp_path / "x.pth", **small.options)


def test_whole_numbers_are_no_weights(small, tmp_path):
  """A quantised file's integers mean something only with their scales."""
  tensors = {**small.tensors, "prototypes": np.ones((10, 24), np.int8)}
  save(tmp_path / "x.pth", tensors)
  with pytest.raises(errors.UserError, match="prototypes holds int8"):
    store.read(tmp_path / "x.pth", **small.options)


def deepspeed(torch, tensors, path, **more):
  """A file as DeepSpeed's engine saves it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  content = {
    "module": {name: torch.tensor(t) for name, t in tensors.items()},
    "buffer_names": [],
    "optimizer": None,
    "param_shapes": [
      {name: torch.Size(t.shape) for name, t in tensors.items()}
    ],
    "sparse_tensor_module_names": set(),
    "skipped_steps": 0,
    "global_steps": 9,
    "dp_world_size": 8,
    "ds_version": "0.7",
    "ds_config": {"fp16": {"enabled": True}},
  }
  torch.save(content | more, path)
  return path


def test_deepspeeds_files_and_folders(small, torch, tmp_path):
  run = tmp_path / "output"
  for tag, scale in (("checkpoint-9", 1), ("checkpoint-19", 2)):
    tensors = {name: scale * t for name, t in small.tensors.items()}
    file = run / tag / "mp_rank_00_model_states.pt"
    deepspeed(torch, tensors, file)
  first = run / "checkpoint-9"
  for source in (first, first / "mp_rank_00_model_states.pt"):
    model = store.read(source, **small.options)
    same(store.published.from_params(model.params, model.layout), small.tensors)
  with pytest.raises(errors.UserError, match="2 checkpoints of DeepSpeed"):
    store.read(run)
  (run / "latest").write_text("checkpoint-19\n")
  found = store.read(run, **small.options).params["prototypes"]
  np.testing.assert_array_equal(found, 2 * small.params["prototypes"])
  (run / "latest").write_text("../..")
  with pytest.raises(errors.UserError, match="no folder beside it"):
    store.read(run)


def test_deepspeeds_parts_are_named(small, torch, tmp_path):
  empty = {name: t.reshape(-1)[:0] for name, t in small.tensors.items()}
  part = tmp_path / "three" / "zero_pp_rank_0_mp_rank_00_model_states.pt"
  deepspeed(torch, empty, part)
  for source in (part, part.parent):
    with pytest.raises(errors.UserError, match=r"zero_to_fp32\.py"):
      store.read(source)
  for rank in (0, 1):
    file = tmp_path / "two" / f"mp_rank_0{rank}_model_states.pt"
    deepspeed(torch, small.tensors, file)
  with pytest.raises(errors.UserError, match="cut over 2 devices"):
    store.read(tmp_path / "two")


def test_a_folder_of_something_else(tmp_path):
  (tmp_path / "notes.txt").write_text("x")
  with pytest.raises(errors.UserError, match=r"no config\.json"):
    store.read(tmp_path)
