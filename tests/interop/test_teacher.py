"""Loading teacher weights: two naming schemes, four formats, strict errors."""

import dataclasses
import warnings

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.interop import teacher
from sigma_jax.models import image_vit, layers, sigma, variants

FAMILIES = ["dino_vits16", "dinov2_vits14", "dinov2_vits14_reg"]
FLOAT32 = np.dtype(np.float32)


def make_tiny(name: str) -> variants.ImageModel:
  model = variants.IMAGE_MODELS[name]
  grid = 3 if model.grid else 0
  return dataclasses.replace(model, dim=8, depth=2, heads=2, patch=2, grid=grid)


def published(name: str) -> dict[str, np.ndarray]:
  """Random weights under the names of the release, for `make_tiny(name)`."""
  shapes = {
    "cls_token": (1, 1, 8),
    "patch_embed.proj.weight": (8, 3, 2, 2),
    "patch_embed.proj.bias": (8,),
    "norm.weight": (8,),
    "norm.bias": (8,),
  }
  if not name.startswith("dinov3"):
    shapes["pos_embed"] = (1, 10, 8)
  if name.endswith("_reg"):
    shapes["register_tokens"] = (1, 4, 8)
  if not name.startswith("dino_"):
    shapes["mask_token"] = (1, 8)
  for i in range(2):
    block = {"norm1.weight": (8,), "norm1.bias": (8,)}
    block |= {"norm2.weight": (8,), "norm2.bias": (8,)}
    block |= {"attn.qkv.weight": (24, 8), "attn.qkv.bias": (24,)}
    block |= {"attn.proj.weight": (8, 8), "attn.proj.bias": (8,)}
    block |= {"mlp.fc1.weight": (32, 8), "mlp.fc1.bias": (32,)}
    block |= {"mlp.fc2.weight": (8, 32), "mlp.fc2.bias": (8,)}
    if not name.startswith("dino_"):
      block |= {"ls1.gamma": (8,), "ls2.gamma": (8,)}
    if name.startswith("dinov3"):
      block["attn.qkv.bias_mask"] = (24,)
    shapes |= {f"blocks.{i}.{key}": shape for key, shape in block.items()}
  if name.startswith("dinov3"):
    shapes |= {"storage_tokens": (1, 4, 8), "rope_embed.periods": (1,)}
  rng = np.random.default_rng(0)
  return {
    key: rng.standard_normal(shape).astype(np.float32)
    for key, shape in shapes.items()
  }


def hugging_face(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Published DINOv2 weights under the names of the hub's checkpoints."""
  out = {}
  for name, value in arrays.items():
    if "attn.qkv" in name:
      _, i, _, _, kind = name.split(".")
      prefix = f"encoder.layer.{i}.attention.attention"
      for part, piece in zip(
        ("query", "key", "value"), np.split(value, 3), strict=True
      ):
        out[f"{prefix}.{part}.{kind}"] = piece
      continue
    if name.startswith("blocks"):
      name = name.replace("blocks", "encoder.layer")
      name = name.replace("attn.proj", "attention.output.dense")
      name = name.replace("ls1.gamma", "layer_scale1.lambda1")
      name = name.replace("ls2.gamma", "layer_scale2.lambda1")
    elif name.startswith("patch_embed.proj"):
      name = name.replace(
        "patch_embed.proj", "embeddings.patch_embeddings.projection"
      )
    elif name.startswith("norm"):
      name = name.replace("norm", "layernorm")
    else:
      name = "embeddings." + name.replace("pos_embed", "position_embeddings")
    out[name] = value
  return out


@pytest.fixture(name="config")
def config_fixture(monkeypatch, tiny, change):
  """weights path -> settings with the tiny DINOv2 as teacher."""
  model = make_tiny("dinov2_vits14")
  monkeypatch.setitem(variants.IMAGE_MODELS, "tiny", model)
  monkeypatch.setattr(settings_lib.model, "TEACHERS", ("tiny", "dino_vitb16"))

  def make(weights, **changes):
    return change(
      tiny,
      target__kind="dino",
      target__variant="tiny",
      target__weights=str(weights),
      **changes,
    )

  return make


@pytest.mark.parametrize("name", [*FAMILIES, "dinov3_vits16"])
def test_tree_fits_the_model(name):
  model = make_tiny(name)
  tree = teacher.convert(published(name), model, FLOAT32)
  shapes = jax.eval_shape(lambda: image_vit.ImageViT(model, dtype=FLOAT32))
  want = nnx.to_pure_dict(nnx.split(shapes, layers.Frozen)[1])
  as_shape = lambda x: (x.shape, x.dtype)  # noqa: E731
  assert jax.tree.map(as_shape, tree) == jax.tree.map(as_shape, want)


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov2_vits14_reg"])
def test_both_naming_schemes_give_the_same(name):
  arrays = published(name)
  ours = teacher.convert(arrays, make_tiny(name), FLOAT32)
  theirs = teacher.convert(hugging_face(arrays), make_tiny(name), FLOAT32)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_layout_of_kernels():
  arrays = published("dinov2_vits14")
  tree = teacher.convert(arrays, make_tiny("dinov2_vits14"), FLOAT32)
  np.testing.assert_array_equal(
    tree["blocks"]["mlp"]["fc1"]["kernel"][1],
    arrays["blocks.1.mlp.fc1.weight"].T,
  )
  # Row (row 1, column 0, channel 2) of the patch embedding.
  np.testing.assert_array_equal(
    tree["embed"]["kernel"][1 * 6 + 0 * 3 + 2],
    arrays["patch_embed.proj.weight"][:, 2, 1, 0],
  )


def test_rotary_models_have_no_key_bias():
  arrays = published("dinov3_vits16")
  tree = teacher.convert(arrays, make_tiny("dinov3_vits16"), FLOAT32)
  bias = tree["blocks"]["attn"]["qkv"]["bias"][0]
  want = arrays["blocks.0.attn.qkv.bias"]
  np.testing.assert_array_equal(bias[8:16], 0)
  np.testing.assert_array_equal(bias[:8], want[:8])
  np.testing.assert_array_equal(bias[16:], want[16:])


@pytest.mark.parametrize("form", ["npz", "file", "folder", "pth"])
def test_every_format_loads(config, tmp_path, form):
  arrays = published("dinov2_vits14")
  path = {
    "npz": tmp_path / "weights.npz",
    "file": tmp_path / "weights.safetensors",
    "folder": tmp_path,
    "pth": tmp_path / "weights.pth",
  }[form]
  if form == "npz":
    np.savez(path, **arrays)
  elif form == "pth":
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      torch = pytest.importorskip("torch", reason="writes the .pth file")
    torch.save({k: torch.from_numpy(v) for k, v in arrays.items()}, path)
  else:
    file = path / "model.safetensors" if form == "folder" else path
    safetensors.numpy.save_file(arrays, file)
  loaded = teacher.load(config(path))
  want = teacher.convert(arrays, make_tiny("dinov2_vits14"), FLOAT32)
  jax.tree.map(
    np.testing.assert_array_equal, loaded, {"target": {"teacher": want}}
  )


def test_loaded_weights_have_the_target_dtype(config, tmp_path):
  arrays = published("dinov2_vits14")
  path = tmp_path / "half.npz"
  np.savez(path, **{k: v.astype(np.float16) for k, v in arrays.items()})
  settings = config(path, target__dtype="bfloat16")
  loaded = teacher.load(settings)
  shapes = sigma.abstract(settings).frozen
  for leaf, shape in zip(
    jax.tree.leaves(loaded), jax.tree.leaves(shapes), strict=True
  ):
    assert leaf.dtype == shape.dtype == ml_dtypes.bfloat16
    assert leaf.shape == shape.shape


def test_other_targets_load_nothing(tiny):
  assert teacher.load(tiny) == {}


@pytest.mark.parametrize(
  "name, part",
  [
    ("", "target.weights is not set"),
    ("absent.pth", "target.weights: no file"),
    ("notes.txt", "must end in one of"),
  ],
)
def test_unusable_path_says_what_to_fetch(tmp_path, change, name, part):
  (tmp_path / "notes.txt").write_text("no weights")
  settings = change(
    settings_lib.Settings(),
    target__kind="dino",
    target__variant="dinov2_vits14_reg",
    target__weights=str(tmp_path / name) if name else "",
  )
  with pytest.raises(errors.UserError) as info:
    teacher.load(settings)
  message = str(info.value)
  assert part in message
  assert "dinov2_vits14_reg4_pretrain.pth" in message
  assert "facebook/dinov2-with-registers-small" in message


@pytest.mark.parametrize("name", ["broken.npz", "broken.safetensors"])
def test_damaged_file_is_a_user_error(config, tmp_path, name):
  path = tmp_path / name
  path.write_bytes(b"not a weights file")
  with pytest.raises(errors.UserError, match=name):
    teacher.load(config(path))


def test_every_wrong_entry_is_listed(config, tmp_path):
  arrays = published("dinov2_vits14")
  del arrays["blocks.1.attn.proj.bias"]
  arrays["head.weight"] = np.zeros((3, 8), np.float32)
  arrays["norm.bias"] = np.zeros((9,), np.float32)
  np.savez(tmp_path / "weights.npz", **arrays)
  with pytest.raises(errors.UserError) as info:
    teacher.load(config(tmp_path / "weights.npz"))
  message = str(info.value)
  assert message.startswith("target.weights: ")
  assert "missing blocks.1.attn.proj.bias" in message
  assert "unexpected head.weight" in message
  assert "norm.bias has shape (9,), not (8,)" in message


def test_weights_of_another_variant_are_refused(config, tmp_path):
  np.savez(tmp_path / "weights.npz", **published("dinov2_vits14_reg"))
  with pytest.raises(errors.UserError, match="unexpected register_tokens"):
    teacher.load(config(tmp_path / "weights.npz"))
  with pytest.raises(ValueError, match=r"missing blocks\.\*\.ls1\.gamma"):
    teacher.convert(
      published("dino_vits16"), make_tiny("dinov2_vits14"), FLOAT32
    )


def test_a_training_checkpoint_of_dino(config, tmp_path):
  """Its teacher is what DINO publishes; heads and the student are left."""
  torch = pytest.importorskip("torch", reason="writes the file")
  arrays = published("dino_vits16")
  content = {
    "student": {
      f"module.backbone.{name}": torch.zeros(value.shape)
      for name, value in arrays.items()
    }
    | {"module.head.mlp.0.weight": torch.zeros(3)},
    "teacher": {
      f"backbone.{name}": torch.tensor(value) for name, value in arrays.items()
    }
    | {"head.mlp.0.weight": torch.zeros(3)},
    "epoch": 100,
    "dino_loss": {"center": torch.zeros(1, 3)},
  }
  path = tmp_path / "checkpoint.pth"
  torch.save(content, path)
  found = teacher.read(str(path), "dino_vits16")
  assert found.keys() == arrays.keys()
  for name, value in arrays.items():
    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("name", ["dino_vits16", "dinov3_vits16"])
def test_weights_that_are_not_finite(name):
  """But for those that are masked: of DINOv3's keys, whose bias is none."""
  arrays = published(name)
  if name.startswith("dinov3"):
    arrays["blocks.1.attn.qkv.bias_mask"][:] = np.nan
    arrays["blocks.1.attn.qkv.bias"][8:16] = np.nan
  teacher.convert(arrays, make_tiny(name), FLOAT32)
  arrays["norm.bias"][3] = np.nan
  with pytest.raises(errors.UserError, match=r"norm\.bias \(1 of 8\)"):
    teacher.convert(arrays, make_tiny(name), FLOAT32)
