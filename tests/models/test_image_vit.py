"""The image ViTs against PyTorch and Hugging Face, at random tiny weights."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sigma_jax import settings as settings_lib
from sigma_jax.interop import teacher
from sigma_jax.models import image_vit, layers, resample, variants

PATCH, GRID = 4, 5
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_IMAGES = {"image_size": PATCH * GRID, "patch_size": PATCH}


def tiny(name: str, **changes) -> variants.ImageModel:
  """A published model's facts at width 32, 2 blocks, 5 x 5 positions."""
  model = variants.IMAGE_MODELS[name]
  changes = {"grid": GRID if model.grid else 0, **changes}
  return dataclasses.replace(
    model, dim=32, depth=2, heads=2, patch=PATCH, **changes
  )


@pytest.fixture(scope="module", name="hub")
def hub_fixture():
  """(torch, transformers), or a skip; their imports warn, ours must not."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch", reason="parity needs PyTorch")
    transformers = pytest.importorskip(
      "transformers", reason="parity needs transformers"
    )
  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()
  return torch, transformers


def test_every_teacher_has_its_facts():
  assert set(variants.IMAGE_MODELS) == set(settings_lib.TEACHERS)


def build(transformers, name: str):
  """Their model of the same family and size, without dropout."""
  if name.startswith("dino_"):
    config = transformers.ViTConfig(
      intermediate_size=128, layer_norm_eps=1e-6, **_SIZES, **_IMAGES
    )
    return transformers.ViTModel(config, add_pooling_layer=False)
  if name.startswith("dinov3_"):
    config = transformers.DINOv3ViTConfig(
      intermediate_size=128, num_register_tokens=4, **_SIZES, **_IMAGES
    )
    return transformers.DINOv3ViTModel(config)
  if name.endswith("_reg"):
    config = transformers.Dinov2WithRegistersConfig(**_SIZES, **_IMAGES)
    return transformers.Dinov2WithRegistersModel(config)
  config = transformers.Dinov2Config(**_SIZES, **_IMAGES)
  return transformers.Dinov2Model(config)


def run(model: variants.ImageModel, weights: dict, frames) -> np.ndarray:
  """All normed tokens, float32 [b, 1 + registers + h * w, 32]."""
  dtype = weights["cls_token"].dtype
  shapes = jax.eval_shape(lambda: image_vit.ImageViT(model, dtype=dtype))
  graph, _ = nnx.split(shapes, layers.Frozen)
  call = jax.jit(lambda weights, x: nnx.merge(graph, weights).tokens(x))
  return np.asarray(call(weights, frames))


@pytest.mark.filterwarnings("ignore")  # transformers' own
@pytest.mark.parametrize("size", [(20, 20), (28, 12)])
@pytest.mark.parametrize(
  "name", ["dino_vits16", "dinov2_vits14", "dinov2_vits14_reg", "dinov3_vits16"]
)
def test_tokens_match_transformers(hub, tmp_path, name, size):
  torch, transformers = hub
  theirs = build(transformers, name).eval()
  generator = torch.Generator().manual_seed(1)
  with torch.no_grad():
    for key, value in theirs.named_parameters():
      noise = 0.2 * torch.randn(value.shape, generator=generator)
      value.copy_(1 + noise if "norm" in key and "weight" in key else noise)
  theirs.save_pretrained(tmp_path)
  # transformers resizes positions to the exact size; the releases' offset is
  # held to PyTorch's `interpolate` below.
  model = tiny(name, grid_offset=0.0)
  arrays = teacher.read(str(tmp_path), name)
  weights = teacher.convert(arrays, model, np.dtype(np.float32))

  frames = np.random.default_rng(2).standard_normal((2, *size, 3))
  frames = frames.astype(np.float32)
  options = {"interpolate_pos_encoding": True} if "dino_" in name else {}
  with torch.no_grad():
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    want = theirs(pixels, **options).last_hidden_state.numpy()
  got = run(model, weights, frames)
  assert got.shape == want.shape
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["dino_vits16", "dinov2_vits14_reg"])
@pytest.mark.parametrize("grid", [(5, 3), (3, 9), (14, 7)])
def test_positions_match_interpolate(hub, name, grid):
  torch, _ = hub
  model = tiny(name)
  table = np.random.default_rng(3).standard_normal((GRID**2, 8))
  table = table.astype(np.float32)
  if model.grid_offset:  # as the release calls it
    size = {"scale_factor": tuple((n + 0.1) / GRID for n in grid)}
  else:
    size = {"size": grid, "antialias": True}
  square = torch.from_numpy(table).reshape(1, GRID, GRID, 8)
  want = torch.nn.functional.interpolate(
    square.permute(0, 3, 1, 2), mode="bicubic", **size
  )
  want = want.permute(0, 2, 3, 1).reshape(-1, 8).numpy()
  got = image_vit.fit_positions(jnp.asarray(table), model, grid)
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_positions_on_the_trained_grid_are_the_table():
  table = jnp.arange(GRID**2 * 2, dtype=jnp.float32).reshape(-1, 2)
  for name in ("dino_vits16", "dinov2_vits14_reg"):
    got = image_vit.fit_positions(table, tiny(name), (GRID, GRID))
    np.testing.assert_array_equal(got, table)


@pytest.mark.parametrize("shape", [(4, 6), (7, 3), (16, 14)])
def test_bilinear_matches_interpolate(hub, shape):
  torch, _ = hub
  x = np.random.default_rng(4).standard_normal((2, 8, 5, 3)).astype(np.float32)
  want = torch.nn.functional.interpolate(
    torch.from_numpy(x).permute(0, 3, 1, 2), size=shape, mode="bilinear"
  )
  rows = resample.matrix(8, shape[0], "linear")
  got = resample.resize(
    jnp.asarray(x), rows, resample.matrix(5, shape[1], "linear")
  )
  np.testing.assert_allclose(got, want.permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_resampling_keeps_constants(kernel, antialias):
  for old, new in ((5, 3), (5, 12), (37, 14), (1, 4)):
    weights = resample.matrix(old, new, kernel, antialias=antialias)
    assert weights.shape == (new, old)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_rotation_sees_relative_positions_only():
  cosines, sines = image_vit.rotary_table((1, 8), 16, prefix=2)
  x = np.random.default_rng(5).standard_normal((1, 1, 1, 16))
  x = jnp.broadcast_to(jnp.asarray(x, jnp.float32), (1, 10, 1, 16))
  turned = image_vit.rotate(x, cosines, sines)[0, :, 0]
  np.testing.assert_array_equal(turned[:2], x[0, :2, 0])
  products = np.asarray(turned @ turned.T)[2:, 2:]
  for offset in range(8):
    diagonal = np.diagonal(products, offset)
    np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-4)


def test_bfloat16_is_close_and_returns_float32(usual_promotion):
  model = tiny("dinov2_vits14_reg")
  shapes = jax.eval_shape(lambda: image_vit.ImageViT(model, dtype=jnp.float32))
  _, frozen = nnx.split(shapes, layers.Frozen)
  leaves, tree = jax.tree.flatten(nnx.to_pure_dict(frozen))
  rng = np.random.default_rng(6)
  weights = tree.unflatten(
    [(0.1 * rng.standard_normal(x.shape)).astype(np.float32) for x in leaves]
  )
  weights["norm"]["scale"] += 1
  frames = rng.standard_normal((2, 8, 12, 3)).astype(np.float32)
  full = run(model, weights, frames)
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), weights)
  got = run(model, half, frames)
  assert got.dtype == np.float32
  assert 0 < np.abs(got - full).mean() < 0.05 * full.std()
