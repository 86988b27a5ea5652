"""The dino target: published numbers, which frames it sees, no gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sigma_jax import masking
from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import features as features_lib
from sigma_jax.methods import masked
from sigma_jax.models import layers, sigma, targets, variants, vit
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import optimizer, state, steps


def small_model(**changes) -> variants.ImageModel:
  options = {"dim": 24, "depth": 1, "heads": 2, "patch": 4, "grid": 4}
  return variants.ImageModel(**options, file="", hub="", **changes)


def add_teacher(monkeypatch, model: variants.ImageModel) -> None:
  """Makes `model` known as "small"."""
  monkeypatch.setitem(variants.IMAGE_MODELS, "small", model)
  names = (*settings_lib.TEACHERS, "small")
  monkeypatch.setattr(settings_lib.model, "TEACHERS", names)


@pytest.fixture(name="small")
def small_fixture(monkeypatch, tiny, change) -> settings_lib.Settings:
  """The tiny run with a dino teacher of width 24."""
  add_teacher(monkeypatch, small_model())
  return change(tiny, target__kind="dino", target__variant="small")


def random_frozen(settings: settings_lib.Settings) -> dict:
  """Frozen weights as loaded ones would be, drawn with deviation 0.2."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: (0.2 * rng.standard_normal(x.shape)).astype(x.dtype),
    sigma.abstract(settings).frozen,
  )


def merged(settings: settings_lib.Settings, frozen: dict):
  """The target alone, with its weights."""
  shapes = jax.eval_shape(lambda: targets.build(settings, rngs=nnx.Rngs(0)))
  return nnx.merge(nnx.split(shapes, layers.Frozen)[0], frozen["target"])


def test_standardised_features_are_the_published_targets(golden):
  arrays = golden("pretrain_dino").arrays
  got = targets.standardize(jnp.asarray(arrays["teacher_features"]))
  masked = np.stack([got[b, mask] for b, mask in enumerate(arrays["mask"])])
  np.testing.assert_allclose(masked, arrays["proj"], atol=1e-5)
  np.testing.assert_allclose(masked[0, :2], arrays["target_first"], atol=1e-5)


def _linear(weights: dict, name: str) -> dict:
  out = {"kernel": weights[f"{name}.weight"].T}
  if f"{name}.bias" in weights:
    out["bias"] = weights[f"{name}.bias"]
  return out


def _norm(weights: dict, name: str) -> dict:
  return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}


def _blocks(weights: dict, name: str, depth: int) -> dict:
  def block(prefix: str) -> dict:
    attention = {
      "qkv": _linear(weights, f"{prefix}.attn.qkv"),
      "q_bias": weights[f"{prefix}.attn.q_bias"],
      "v_bias": weights[f"{prefix}.attn.v_bias"],
      "proj": _linear(weights, f"{prefix}.attn.proj"),
    }
    fcs = {fc: _linear(weights, f"{prefix}.mlp.{fc}") for fc in ("fc1", "fc2")}
    norms = {n: _norm(weights, f"{prefix}.{n}") for n in ("norm1", "norm2")}
    return {"attn": attention, "mlp": fcs, **norms}

  stacked = [block(f"{name}.blocks.{i}") for i in range(depth)]
  return {"blocks": jax.tree.map(lambda *x: np.stack(x), *stacked)}


def published_params(weights: dict) -> dict:
  """The golden dino case's parameters in our tree."""
  embed = weights["encoder.patch_embed.proj.weight"]
  return {
    "encoder": {
      "embed": {
        "kernel": embed.transpose(2, 3, 4, 1, 0).reshape(-1, len(embed)),
        "bias": weights["encoder.patch_embed.proj.bias"],
      },
      "stack": _blocks(weights, "encoder", 2),
      "norm": _norm(weights, "encoder.norm"),
    },
    "decoder": {
      "embed": _linear(weights, "encoder_to_decoder"),
      "mask_token": weights["mask_token"][0, 0],
      "stack": _blocks(weights, "decoder", 1),
      "norm": _norm(weights, "decoder.norm"),
      "head": _linear(weights, "decoder.head"),
    },
    "prototypes": weights["prototypes"],
  }


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_loss_is_the_published_one(golden, monkeypatch, change, labels):
  case = golden("pretrain_dino")
  add_teacher(monkeypatch, small_model())
  monkeypatch.setattr(
    targets.DinoTarget,
    "features",
    lambda self, tubes: jnp.asarray(case.arrays["teacher_features"]),
  )
  mask = masking.from_bool(jnp.asarray(case.arrays["mask"]), 96)
  monkeypatch.setattr(masking, "sample", lambda *_, **__: mask)
  settings = change(
    settings_lib.Settings(),
    data__size=64,
    model__encoder_dim=48,
    model__encoder_depth=2,
    model__encoder_heads=3,
    model__decoder_dim=32,
    model__decoder_depth=1,
    model__decoder_heads=2,
    target__kind="dino",
    target__variant="small",
    loss__num_prototypes=20,
    loss__epsilon=0.03,
    loss__labels=labels,
  )
  abstract = sigma.abstract(settings)
  params = published_params(case.weights)
  assert jax.tree.structure(params) == jax.tree.structure(abstract.params)
  loss, _ = steps.pretrain_loss(
    masked.project_prototypes(params),
    random_frozen(settings),
    settings,
    case.arrays["video"],
    jax.random.key(0),
  )
  np.testing.assert_allclose(loss, case.arrays[f"loss_{labels}"], atol=1e-5)


def test_only_the_first_frame_of_a_tube_is_seen(small, tiny_video):
  target = merged(small, random_frozen(small))

  def features(video):
    return np.asarray(target.features(vit.split_tubes(video, 2, 4)))

  before = features(tiny_video)
  odd, even = tiny_video.copy(), tiny_video.copy()
  odd[:, 1::2] = 0
  even[:, 2] = 0
  np.testing.assert_array_equal(features(odd), before)
  changed = np.abs(features(even) - before).max(axis=(0, 2)) > 0
  np.testing.assert_array_equal(changed, np.arange(32) >= 16)


def test_features_are_tokens_of_frames_in_tube_order(small, tiny_video):
  target = merged(small, random_frozen(small))
  got = target.features(vit.split_tubes(tiny_video, 2, 4))
  frames = vit.normalize_pixels(jnp.asarray(tiny_video[:, 2]))
  np.testing.assert_allclose(got[:, 16:], target.teacher(frames), atol=1e-5)


@pytest.mark.parametrize("patch, side", [(2, 8), (7, 4), (8, 4)])
def test_other_patches_are_brought_to_the_tubes(
  small, tiny_video, monkeypatch, patch, side
):
  """2: finer, its map is resized; 7 and 8: the frame is resized first."""
  model = small_model(antialias=True)
  model = dataclasses.replace(model, patch=patch)
  monkeypatch.setitem(variants.IMAGE_MODELS, "small", model)
  target = merged(small, random_frozen(small))
  seen = []
  call = type(target.teacher).__call__
  monkeypatch.setattr(
    type(target.teacher),
    "__call__",
    lambda self, x: seen.append(x.shape) or call(self, x),
  )
  got = target.features(vit.split_tubes(tiny_video, 2, 4))
  assert seen == [(16, side * patch, side * patch, 3)]
  assert got.shape == (8, 32, 24)
  assert np.isfinite(got).all()


def test_standardised_channels_and_constant_ones():
  x = np.random.default_rng(0).standard_normal((2, 32, 5)).astype(np.float32)
  x[0, :, 3] = 2.0
  got = np.asarray(targets.standardize(jnp.asarray(3 * x + 1)))
  np.testing.assert_allclose(got.mean(axis=1), 0, atol=1e-5)
  np.testing.assert_allclose(got[1].std(axis=0, ddof=1), 1, atol=1e-4)
  np.testing.assert_array_equal(got[0, :, 3], 0)


def test_teacher_gets_no_gradient(small, tiny_video):
  params = sigma.init_params(small, jax.random.key(0))
  frozen = random_frozen(small)

  def loss(params, frozen):
    return steps.pretrain_loss(
      masked.project_prototypes(params),
      frozen,
      small,
      tiny_video,
      jax.random.key(1),
    )[0]

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
  by_params, by_frozen = gradient(params, frozen)
  assert "target" not in params
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(by_params))
  assert all(not np.any(x) for x in jax.tree.leaves(by_frozen))


def test_teacher_stays_out_of_the_state_and_the_evaluation(small, tiny_video):
  tx, schedule = optimizer.make(
    small.optimizer, batch_size=8, total_steps=6, steps_per_epoch=6
  )
  mesh = mesh_lib.make(small.mesh)
  train_state = state.create(small, tx, mesh)
  names = str(jax.tree.map(lambda x: 0, train_state))
  assert "teacher" not in names and "cls_token" not in names
  frozen = jax.device_put(random_frozen(small), mesh_lib.replicated(mesh))
  batch = mesh_lib.put_batch({"video": tiny_video}, mesh)
  step = jax.jit(steps.pretrain_step(small, tx, schedule))
  after, metrics = step(train_state, frozen, batch)
  assert np.isfinite(metrics["loss"]) and metrics["target_std"] > 0
  # Evaluation needs the video model only: no teacher weights.
  batches = [
    {
      "video": tiny_video,
      "index": np.arange(8, dtype=np.int32),
      "valid": np.ones(8, bool),
    }
  ]
  encoders = {"one": after.params["encoder"]}
  pooled = features_lib.extract(small, encoders, batches, mesh)["one"]
  assert pooled.features.shape == (8, 32)


def test_width_follows_from_the_variant(change):
  settings = change(
    settings_lib.Settings(),
    target__kind="dino",
    target__variant="dinov2_vitl14_reg",
    target__dim=64,
  )
  shapes = sigma.abstract(settings)
  assert shapes.params["prototypes"].shape == (3000, 1024)
  assert shapes.params["decoder"]["head"]["bias"].shape == (1024,)
  teacher = shapes.frozen["target"]["teacher"]
  assert teacher["registers"].shape == (4, 1024)
  assert teacher["blocks"]["attn"]["qkv"]["kernel"].shape == (24, 1024, 3072)


def test_misspelt_variant_names_the_nearest(change):
  with pytest.raises(ValueError, match=r"target\.variant.*'dinov2_vits14_reg'"):
    change(settings_lib.Settings(), target__variant="dinov2_vits14_regs")
