"""The assembled model: shapes, initial values, precision, constant clips."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sigma_jax import masking
from sigma_jax import settings as settings_lib
from sigma_jax.methods import masked
from sigma_jax.models import layers, sigma
from sigma_jax.train import steps


@functools.cache
def params_of(settings):
  make = jax.jit(lambda: sigma.init_params(settings, jax.random.key(0)))
  return masked.project_prototypes(make())


@functools.cache
def compiled(settings):
  """(params, video) -> ((loss, metrics), gradients)."""
  gradient = jax.value_and_grad(steps.pretrain_loss, has_aux=True)
  return jax.jit(
    lambda params, video: gradient(
      params, {}, settings, video, jax.random.key(1)
    )
  )


def run(settings, video, params=None):
  params = params_of(settings) if params is None else params
  (loss, _), grads = compiled(settings)(params, video)
  return loss, grads


def flat(tree):
  return {
    jax.tree_util.keystr(path): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def test_abstract_is_the_shape_of_the_parameters(tiny):
  abstract = sigma.abstract(tiny)
  params = params_of(tiny)
  assert jax.tree.structure(abstract.params) == jax.tree.structure(params)
  for a, b in zip(
    jax.tree.leaves(abstract.params), jax.tree.leaves(params), strict=True
  ):
    assert isinstance(a, jax.ShapeDtypeStruct)
    assert (a.shape, a.dtype) == (b.shape, b.dtype) == (b.shape, jnp.float32)
  assert not jax.tree.leaves(abstract.frozen)


def test_initial_values(tiny):
  params = sigma.init_params(tiny, jax.random.key(0))
  for name, leaf in flat(params).items():
    if "['stack']" in name and name.endswith("bias']"):
      assert not leaf.any(), name
    if name.endswith("scale']"):
      assert (leaf == 1).all(), name
  assert not params["decoder"]["head"]["bias"].any()
  assert 0.5 < jnp.std(params["prototypes"]) < 1.5
  other = sigma.init_params(tiny, jax.random.key(1))
  assert (other["prototypes"] != params["prototypes"]).all()


def test_initial_values_are_the_published_ones(change):
  # Read off the published constructor, ViT-B and the mlp target: deviation of
  # the weights, largest bias.
  published = {
    "['target']['layers'][0]": (0.0147, 0.0255),
    "['target']['layers'][3]": (0.0255, 0.0441),
    "['encoder']['embed']": (0.0147, 0.0255),
    "['decoder']['embed']": (0.0209, None),
  }
  settings = change(
    settings_lib.Settings(), model__encoder_depth=1, model__decoder_depth=1
  )
  make = jax.jit(lambda: sigma.init_params(settings, jax.random.key(0)))
  values = flat(make())
  for name, (deviation, largest) in published.items():
    kernel = values[f"{name}['kernel']"]
    np.testing.assert_allclose(kernel.std(), deviation, atol=1e-4, err_msg=name)
    # Uniform: the largest is the square root of 3 deviations.
    np.testing.assert_allclose(np.abs(kernel).max(), deviation * 3**0.5, 6e-3)
    if largest is None:
      assert f"{name}['bias']" not in values
      continue
    bias = np.abs(values[f"{name}['bias']"])
    assert 0.95 * largest < bias.max() < largest + 1e-4, name
  # Inside blocks and in the decoder's head: xavier, no biases.
  kernel = values["['decoder']['head']['kernel']"]
  np.testing.assert_allclose(kernel.std(), (2 / (384 + 256)) ** 0.5, rtol=0.02)
  # A normal of deviation .02 cut at one deviation.
  token = np.abs(values["['decoder']['mask_token']"])
  assert 0.019 < token.max() <= 0.02
  np.testing.assert_allclose(token.mean(), 0.02 * 0.4598, rtol=0.1)


def test_initial_values_by_xavier(tiny, change):
  settings = change(tiny, model__init="xavier")
  params = sigma.init_params(settings, jax.random.key(0))
  for name, leaf in flat(params).items():
    if name.endswith("bias']"):
      assert not leaf.any(), name
  kernel = params["target"]["layers"][0]["kernel"]  # 96 to 24
  np.testing.assert_allclose(kernel.std(), (2 / (96 + 24)) ** 0.5, rtol=0.05)
  assert 0.03 < jnp.abs(params["decoder"]["mask_token"]).max() <= 0.046


def test_prediction_does_not_see_masked_pixels(tiny, tiny_video):
  video = tiny_video[:2]
  mask = masking.sample(
    jax.random.key(0), 2, kind="tube", grid=tiny.grid, ratio=0.75
  )
  hidden = np.asarray(masking.to_bool(mask)).reshape(2, 2, 4, 4)
  hidden = hidden.repeat(2, 1).repeat(4, 2).repeat(4, 3)[..., None]
  graph, params = sigma.abstract(tiny).graph, params_of(tiny)
  features = jax.jit(lambda v: sigma.merge(graph, params)(v, mask))
  before = features(video)
  after = features(np.where(hidden, 255 - video, video))
  assert before.video.shape == before.target.shape == (2, 24, 16)
  np.testing.assert_array_equal(before.video, after.video)
  assert (np.asarray(before.target) != np.asarray(after.target)).any()
  # And the target sees nothing else.
  after = features(np.where(hidden, video, 255 - video))
  np.testing.assert_array_equal(before.target, after.target)
  assert (np.asarray(before.video) != np.asarray(after.video)).any()


@pytest.mark.parametrize("policy", ["light", "dots", "full"])
def test_rematerialising_changes_no_number(tiny, tiny_video, change, policy):
  params = params_of(tiny)
  loss, grads = run(change(tiny, model__remat="none"), tiny_video, params)
  remat = change(tiny, model__remat=policy)
  again, regrads = run(remat, tiny_video, params)
  np.testing.assert_allclose(again, loss, rtol=1e-6)
  grads, regrads = flat(grads), flat(regrads)
  for name in grads:
    scale = np.abs(grads[name]).max()
    np.testing.assert_allclose(
      regrads[name], grads[name], atol=1e-5 * scale, err_msg=name
    )


def test_rematerialising_happens(tiny, tiny_video, change):
  params = params_of(tiny)

  def rematerialised(settings):
    graph = sigma.abstract(settings).graph
    encode = jax.make_jaxpr(lambda p, v: sigma.merge(graph, p).encode(v))
    return str(encode(params, tiny_video[:1])).count("= remat2[")

  # The scanned block itself, beside what parts of it do on their own.
  full = rematerialised(change(tiny, model__remat="full"))
  assert full == rematerialised(change(tiny, model__remat="none")) + 1


def test_policies_save_less_and_less():
  """Activations that the backward pass of four blocks keeps."""

  def kept(policy):
    stack = layers.Stack(
      4,
      remat=policy,
      rngs=nnx.Rngs(0),
      dim=16,
      heads=2,
      mlp_ratio=4,
      norm_epsilon=1e-6,
      dtype=jnp.float32,
    )
    graph, params = nnx.split(stack)
    x = jax.ShapeDtypeStruct((8, 32, 16), jnp.float32)
    _, pull = jax.eval_shape(
      lambda params, x: jax.vjp(nnx.merge(graph, params), x), params, x
    )
    return sum(leaf.size for leaf in jax.tree.leaves(pull))

  none, light, dots, full = map(kept, ("none", "light", "dots", "full"))
  assert none > 1.3 * light and none > 1.3 * dots, (none, light, dots)
  assert min(light, dots) > 2 * full, (light, dots, full)


def test_bfloat16_keeps_weights_and_outputs_in_float32(
  tiny, tiny_video, change, usual_promotion
):
  half = change(tiny, model__dtype="bfloat16")
  params = params_of(half)
  loss, grads = run(half, tiny_video)
  assert loss.dtype == jnp.float32
  for name, leaf in (flat(params) | flat(grads)).items():
    assert leaf.dtype == np.float32, name
  mask = masking.sample(
    jax.random.key(0), 8, kind="tube", grid=tiny.grid, ratio=0.75
  )

  def features(settings):
    graph = sigma.abstract(settings).graph
    return jax.jit(sigma.merge(graph, params))(tiny_video, mask)

  for wide, narrow in zip(features(tiny), features(half), strict=True):
    assert narrow.dtype == jnp.float32
    error = jnp.linalg.norm(narrow - wide) / jnp.linalg.norm(wide)
    assert 1e-4 < error < 3e-2


@pytest.mark.parametrize("target", ["mlp", "pixel", "l2 on mlp"])
@pytest.mark.parametrize("dark", ["all", "half", "letterbox"])
def test_constant_tubes_keep_everything_finite(
  tiny, tiny_video, change, target, dark
):
  settings = tiny
  if target != "mlp":
    kind = "pixel" if target == "pixel" else "mlp"
    settings = change(tiny, target__kind=kind, loss__kind="l2")
  video = tiny_video.copy()
  if dark == "all":
    video[:] = 0
  elif dark == "half":
    video[:4] = 0
  else:
    video[:, :, :8] = 0
  # Fresh biases are zero, so the target of a constant tube is exactly zero.
  loss, grads = run(settings, video)
  assert np.isfinite(loss)
  for name, grad in flat(grads).items():
    assert np.isfinite(grad).all(), name


@pytest.mark.parametrize("kind", ["assignment", "l2"])
def test_every_parameter_learns(tiny, tiny_video, change, kind):
  settings = change(tiny, loss__kind=kind)
  _, grads = run(settings, tiny_video)
  assert ("['prototypes']" in flat(grads)) == (kind == "assignment")
  for name, grad in flat(grads).items():
    assert np.abs(grad).max() > 1e-8, name
