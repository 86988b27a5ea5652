"""Float32 products are float32 products, in everything that is computed."""

import functools
import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.extend import core

from sigma_jax import precision
from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import features, knn, linear
from sigma_jax.evaluate.segmentation import kmeans, pca
from sigma_jax.interop import layout
from sigma_jax.models import attention, image_vit, sigma, targets, variants
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps, supervised

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
FULL_SIZE = [
  path
  for path in sorted(CONFIGS.rglob("*.py"))
  if "toy" not in path.stem and path.parent.name != "ablations"
]
# What JAX's own attention gives the products of its bfloat16 backward pass.
BY_NAME = jax.lax.DotAlgorithmPreset.BF16_BF16_F32
HIGHEST = (jax.lax.Precision.HIGHEST,) * 2


def products(jaxpr):
  """All dot_general and convolution equations, however deep."""
  for equation in jaxpr.eqns:
    if equation.primitive.name in ("dot_general", "conv_general_dilated"):
      yield equation
    for value in jax.tree.leaves(
      equation.params,
      is_leaf=lambda x: isinstance(x, (core.Jaxpr, core.ClosedJaxpr)),
    ):
      if isinstance(value, core.ClosedJaxpr):
        yield from products(value.jaxpr)
      elif isinstance(value, core.Jaxpr):
        yield from products(value)


def traced(function, *args):
  return list(products(jax.make_jaxpr(function)(*args).jaxpr))


def exact(equation) -> bool:
  """Whether it has a float32 operand, unless it asks for bfloat16 by name."""
  if equation.params["precision"] == BY_NAME:
    return False
  return any(var.aval.dtype == jnp.float32 for var in equation.invars)


def assert_highest(function, *args):
  """Every product with a float32 operand has the highest precision."""
  found = traced(function, *args)
  assert found
  loose = [e for e in found if exact(e) and e.params["precision"] != HIGHEST]
  assert not loose, "\n".join(str(e)[:200] for e in loose)
  return found


def pretraining(settings, platform):
  """The traced step's products: forward, backward and update."""
  tx = optax.adamw(1e-3)
  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
  step = steps.pretrain_step(settings, tx, lambda step: jnp.float32(0.1), None)
  state = state_lib.abstract(settings, tx, mesh)
  size, frames = settings.data.size, settings.data.num_frames
  video = jax.ShapeDtypeStruct((8, frames, size, size, 3), jnp.uint8)
  frozen = sigma.abstract(settings).frozen
  original, steps.platform_of = steps.platform_of, lambda mesh: platform
  try:
    return assert_highest(step, state, frozen, {"video": video})
  finally:
    steps.platform_of = original


@pytest.fixture(name="small")
def small_fixture(monkeypatch):
  """A tiny image teacher of every kind of parts, known as "small"."""
  options = {"dim": 24, "depth": 1, "heads": 2, "patch": 4, "grid": 4}
  model = variants.ImageModel(**options, file="", hub="")
  monkeypatch.setitem(variants.IMAGE_MODELS, "small", model)
  names = (*settings_lib.TEACHERS, "small")
  monkeypatch.setattr(settings_lib.model, "TEACHERS", names)
  return model


@pytest.mark.parametrize("platform", ["tpu", "cpu"])
@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"loss__labels": "soft", "loss__epsilon": 0.005, "train__accumulate": 2},
    {"loss__kind": "l2", "target__kind": "pixel", "model__remat": "none"},
    {"loss__kernels": "recompute", "target__kind": "dino"}
    | {"target__variant": "small"},
  ],
  ids=["mlp", "soft", "pixel", "dino"],
)
def test_pretraining_in_float32(tiny, change, small, platform, changes):
  found = pretraining(change(tiny, **changes), platform)
  assert all(exact(equation) for equation in found)


def test_pretraining_in_bfloat16(tiny, change):
  """What reads a weight or makes a score is one pass of bfloat16."""
  with jax.numpy_dtype_promotion("standard"):  # for JAX's own attention
    found = pretraining(change(tiny, model__dtype="bfloat16"), "tpu")
  fast = [equation for equation in found if not exact(equation)]
  assert len(fast) > 20
  assert all(e.params["precision"] != HIGHEST for e in fast)
  # The rest are products of a matrix and a vector: Sinkhorn's, norms.
  for equation in found:
    if exact(equation):
      assert min(var.aval.ndim for var in equation.invars) <= 1, equation


@pytest.mark.parametrize(
  "options",
  [
    {"trains": "all"},
    {"trains": "head", "pooling": "attention", "rates": (1.0, 2.0)},
  ],
  ids=["fine-tuning", "attentive"],
)
def test_training_with_labels(tiny, change, options):
  options = {f"supervised__{key}": value for key, value in options.items()}
  task = supervised.Task(change(tiny, task="supervised", **options), 3)
  tx = optax.sgd(0.1)
  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
  step = supervised.make_step(task, tx, lambda step: jnp.float32(0.1))
  state = state_lib.abstract(
    task.settings, tx, mesh, state_lib.Fresh(task.init_params)
  )
  frozen = {}
  if task.frozen_encoder:
    frozen = {"encoder": jax.eval_shape(task.fresh, jax.random.key(0))}
    frozen = {"encoder": frozen["encoder"]["encoder"]}
  batch = {
    "video": jax.ShapeDtypeStruct((8, 4, 16, 16, 3), jnp.uint8),
    "target": jax.ShapeDtypeStruct((8,), jnp.int32),
  }
  assert_highest(step, state, frozen, batch)
  assert_highest(task.outputs, state.params, frozen, batch["video"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tiled_attention(dtype):
  x = jax.ShapeDtypeStruct((1, 64, 2, 8), dtype)

  def loss(*arrays):
    return jnp.sum(attention.tiled(*arrays).astype(jnp.float32))

  found = assert_highest(jax.grad(loss, argnums=(0, 1, 2)), x, x, x)
  if dtype == "bfloat16":
    assert not any(exact(equation) for equation in found)


def test_teachers(small):
  model = nnx.eval_shape(lambda: image_vit.ImageViT(small, dtype=jnp.float32))
  graph, weights = nnx.split(model)
  frames = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
  assert_highest(lambda w, x: nnx.merge(graph, w)(x), weights, frames)
  assert_highest(
    functools.partial(targets._bilinear, height=6, width=6), frames
  )


def test_frozen_features_and_their_judges(tiny):
  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
  video = jax.ShapeDtypeStruct((8, 4, 16, 16, 3), jnp.uint8)
  params = sigma.abstract(tiny).params["encoder"]
  params = {name: part for name, part in params.items() if name != "norm"}
  pool = features.pooler(tiny, mesh, 0)
  index = jax.ShapeDtypeStruct((8,), jnp.int32)
  valid = jax.ShapeDtypeStruct((8,), jnp.bool_)
  batch = {"video": video, "index": index, "valid": valid}
  assert_highest(pool, params, batch)
  x, one_hot = np.ones((6, 4), np.float32), np.ones((6, 3), np.float32)
  assert_highest(
    functools.partial(knn._vote, k=2), x, x, one_hot, np.float32(0.1)
  )
  rates = np.ones(2, np.float32)
  labels = np.zeros(6, np.int32)
  assert_highest(lambda *a: linear._solve(*a, 3), x, labels, rates)
  assert_highest(functools.partial(pca.project, components=2), x)
  assert_highest(
    functools.partial(kmeans.fit, k=2, iterations=2, restarts=2),
    x,
    jax.random.key(0),
  )


def test_fine_tuned_and_pretrained_encoders(tiny):
  """What `sigma_jax.load` computes with."""
  from sigma_jax.inference import encoder
  from sigma_jax.interop import store

  params = sigma.init_params(tiny, jax.random.key(0))
  model = store.Model(layout.of_settings(tiny), params, tiny)
  made = encoder.VideoEncoder(model)
  video = np.zeros((2, 4, 16, 16, 3), np.uint8)
  assert_highest(made._encoding, params, video)
  assert_highest(made._assignment, params, {}, video)


@pytest.mark.parametrize("path", FULL_SIZE, ids=lambda path: path.stem)
def test_full_size_configs_train_with_fast_products(path):
  config = runpy.run_path(str(path))["get_config"]()
  assert config.task not in ("pretrain", "supervised") or (
    config.model.dtype == "bfloat16"
  )


def test_of_names_the_highest_for_float32_alone():
  assert precision.of("float32") == jax.lax.Precision.HIGHEST
  assert precision.of(jnp.bfloat16) is None
