"""Prototypes in a tree: the tiled loss against a plain writing in NumPy."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.losses import assignment, levels, plans, sinkhorn, tiled
from sigma_jax.train import mesh as mesh_lib

CLIPS, TUBES, WIDTH, COUNTS = 8, 10, 6, (3, 6, 24)
BASE = {"epsilon": 0.05, "rounds": 4, "temperature": 0.1, "labels": "hard"}
SHARES, WEIGHTS = (0.2, 0.3, 0.5), (0.5, 0.3, 0.2)


def arrays(seed=0, clips=CLIPS):
  """Both sides' features and unit nodes of all levels, float32."""
  rng = np.random.default_rng(seed)
  video, target = rng.normal(size=(2, clips, TUBES, WIDTH))
  nodes = rng.normal(size=(sum(COUNTS), WIDTH))
  nodes /= np.linalg.norm(nodes, axis=1, keepdims=True)
  return tuple(jnp.asarray(x, jnp.float32) for x in (video, target, nodes))


def plan(tiles=4, kernels="keep", devices=1, count=COUNTS[-1], **options):
  tree = {"groups": COUNTS[:-1], "weights": WEIGHTS}
  made = plans.make(
    num_tubes=CLIPS * TUBES,
    num_devices=devices,
    num_prototypes=count,
    platform="cpu",
    kernels=kernels,
    dtype="float32",
    **BASE | options,
    **tree if count == COUNTS[-1] else {},
  )
  return made._replace(tiles=tiles)


def gradients(loss):
  """Jitted: ((loss, labels), gradients by all three arguments)."""
  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))


def of_leaves(made, spread=None, shares=SHARES):
  def loss(video, target, nodes):
    split = levels.split(nodes, COUNTS)
    return levels.of_leaves(video, target, split, shares, made, spread)

  return gradients(loss)


def oracle(video, target, nodes, **options):
  """The same from the definition: score by score, level by level."""
  options = BASE | options
  epsilon, temperature = options["epsilon"], options["temperature"]

  def solve(features, nodes):
    unit = assignment.normalize(features)
    scores = []
    for level in levels.split(nodes, COUNTS):
      each = jnp.einsum("bmp,kp->bmk", unit, level)
      scores.append(jnp.repeat(each, COUNTS[-1] // level.shape[0], axis=-1))
    total = sum(a * s for a, s in zip(SHARES, scores, strict=True))
    log_u = sinkhorn.potential(total, epsilon, options["rounds"])
    shares = jax.lax.stop_gradient(sinkhorn.assign(total, log_u, epsilon))
    label = jnp.argmax(shares, axis=-1)
    if options["labels"] == "hard":
      shares = jax.nn.one_hot(label, COUNTS[-1], dtype=jnp.float32)
    return total, shares, label.astype(jnp.int32)

  def entropy(scores, shares):
    found = []
    for count in COUNTS:
      shape = (*scores.shape[:-1], count, -1)
      sums = jax.nn.logsumexp(
        jax.nn.log_softmax(scores / temperature).reshape(shape), axis=-1
      )
      wanted = jnp.sum(shares.reshape(shape), axis=-1)
      found.append(-jnp.mean(jnp.sum(wanted * sums, axis=-1)))
    return sum(w * x for w, x in zip(WEIGHTS, found, strict=True))

  def loss(video, target, nodes):
    by_video = solve(video, jax.lax.stop_gradient(nodes))
    by_target = solve(target, nodes)
    total = entropy(by_target[0], by_video[1])
    total += entropy(by_video[0], by_target[1])
    labels = [
      (by_video[2] // (COUNTS[-1] // n), by_target[2] // (COUNTS[-1] // n))
      for n in COUNTS
    ]
    return total, labels

  return gradients(loss)(video, target, nodes)


def assert_same(found, wanted, rtol=2e-5):
  np.testing.assert_allclose(found[0][0], wanted[0][0], rtol=rtol)
  jax.tree.map(np.testing.assert_array_equal, found[0][1], wanted[0][1])
  for a, b in zip(found[1], wanted[1], strict=True):
    np.testing.assert_allclose(a, b, atol=rtol * float(jnp.abs(b).max()))


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("kernels", ["keep", "recompute"])
@pytest.mark.parametrize("epsilon", [0.05, 0.01], ids=["numbers", "logs"])
def test_loss_labels_and_gradients(labels, kernels, epsilon):
  """7 tiles of 80 tubes leave the last one partly empty."""
  options = {"labels": labels, "epsilon": epsilon}
  made = plan(7, kernels, **options)
  assert made.log_space == (epsilon == 0.01)
  assert_same(of_leaves(made)(*arrays()), oracle(*arrays(), **options))


def test_gradients_are_those_of_finite_differences():
  """Of soft labels, held fixed by the plan's own stop: through the target."""
  video, target, nodes = arrays()
  made = plan(labels="soft", rounds=1)
  found = of_leaves(made)(video, target, nodes)[1][2]
  # By hand, in float64: the labels of both sides stay as they are.
  with jax.enable_x64(True):
    fixed = [np.asarray(x, np.float64) for x in (video, target, nodes)]

    def solve(features, nodes):
      unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
      parts = np.split(nodes, np.cumsum(COUNTS)[:-1])
      rows = [np.repeat(x, COUNTS[-1] // len(x), axis=0) for x in parts]
      mean = sum(a * x for a, x in zip(SHARES, rows, strict=True))
      return (unit @ mean.T).reshape(-1, COUNTS[-1])

    def shares(scores):
      kernel = np.exp(scores / BASE["epsilon"])
      kernel = kernel / kernel.sum(axis=0)
      return kernel / kernel.sum(axis=1, keepdims=True)

    by_video = shares(solve(fixed[0], fixed[2]))

    def predicted(nodes):
      logits = np.exp(solve(fixed[1], nodes) / BASE["temperature"])
      total = 0.0
      for count, weight in zip(COUNTS, WEIGHTS, strict=True):
        p = logits.reshape(len(logits), count, -1).sum(-1)
        q = by_video.reshape(len(logits), count, -1).sum(-1)
        total -= weight * np.mean(np.sum(q * np.log(p / p.sum(1)[:, None]), 1))
      return total

    for node, axis in ((0, 1), (4, 0), (20, 3)):
      step = np.zeros_like(fixed[2])
      step[node, axis] = 1e-5
      slope = predicted(fixed[2] + step) - predicted(fixed[2] - step)
      np.testing.assert_allclose(found[node, axis], slope / 2e-5, rtol=2e-3)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_one_level_is_the_flat_loss_bitwise(labels):
  video, target, nodes = arrays()
  leaves = nodes[-COUNTS[-1] :]
  flat = plan(labels=labels)._replace(groups=(), weights=(1.0,))

  def one(video, target, leaves):
    return levels.of_leaves(video, target, [leaves], (1.0,), flat)

  (loss, (labels_,)), grads = gradients(one)(video, target, leaves)
  plain = gradients(lambda *x: tiled.loss(*x, flat))(video, target, leaves)
  jax.tree.map(np.testing.assert_array_equal, ((loss, labels_), grads), plain)


def test_levels_without_weight_change_nothing():
  """The leaves alone count: the flat loss, and no gradient above them."""
  video, target, nodes = arrays()
  made = plan()._replace(weights=(0.0, 0.0, 1.0))
  (loss, found), grads = of_leaves(made, shares=(0.0, 0.0, 1.0))(
    video, target, nodes
  )
  flat = made._replace(groups=(), weights=(1.0,))
  leaves = nodes[-COUNTS[-1] :]
  wanted = gradients(lambda *x: tiled.loss(*x, flat))(video, target, leaves)
  np.testing.assert_allclose(loss, wanted[0][0], rtol=1e-6)
  jax.tree.map(np.testing.assert_array_equal, found[-1], wanted[0][1])
  np.testing.assert_array_equal(grads[2][: -COUNTS[-1]], 0)
  np.testing.assert_allclose(grads[2][-COUNTS[-1] :], wanted[1][2], atol=1e-6)


@pytest.mark.parametrize(("rounds", "apart"), [(3, 0.5), (10, 0.03)])
def test_every_level_is_balanced_and_children_sum_to_parents(rounds, apart):
  """4000 tubes in 25 uneven groups under 10 x 6 random nodes."""
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(25, 16))
  chosen = rng.choice(25, 4000, p=rng.dirichlet(np.ones(25)))
  tubes = jnp.asarray(
    centres[chosen] + 0.5 * rng.normal(size=(4000, 16)), jnp.float32
  )
  nodes = [
    assignment.normalize(jnp.asarray(rng.normal(size=(n, 16)), jnp.float32))
    for n in (10, 60)
  ]
  mean = levels.composed(nodes, (0.5, 0.5))
  scores = assignment.normalize(tubes) @ mean.T
  log_u = sinkhorn.potential(scores, 0.05, rounds)
  leaves = np.asarray(sinkhorn.assign(scores, log_u, 0.05), np.float64)
  parents = leaves.reshape(4000, 10, 6).sum(axis=-1)
  off = [
    np.abs(shares.sum(axis=0) * shares.shape[1] / 4000 - 1).max()
    for shares in (leaves, parents)
  ]
  # A parent's is the mean of its leaves'.
  assert off[1] <= off[0] < apart
  np.testing.assert_allclose(parents.sum(axis=1), 1, atol=1e-6)


@functools.cache
def spread_over(data, fsdp, **options):
  """The loss on eight devices: inputs on them, and the compiled function."""
  mesh = mesh_lib.make(settings_lib.Mesh(data, fsdp))
  run = of_leaves(plan(2, devices=8, **options), mesh_lib.over_batch(mesh))
  split = mesh_lib.batch_sharding(mesh)
  places = (split, split, mesh_lib.replicated(mesh))
  placed = jax.device_put(arrays(), places)
  return placed, run.lower(*placed).compile()


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_eight_devices_compute_what_one_does(labels):
  placed, run = spread_over(2, 4, labels=labels)
  assert_same(run(*placed), oracle(*arrays(), labels=labels))


def test_only_sums_of_the_leaves_size_cross_devices():
  _, run = spread_over(8, 1)
  text = run.as_text()
  assert not re.search(r"all-gather|all-to-all|collective-permute", text)
  sums = re.findall(r"= (.*?) all-reduce\(", text)
  shapes = {s for line in sums for s in re.findall(r"f32\[([\d,]*)\]", line)}
  assert sums and shapes <= {"", f"{COUNTS[-1]}", f"{COUNTS[-1]},{WIDTH}"}


def test_recomputing_takes_no_memory_that_grows_with_the_tubes():
  def scratch(clips):
    made = plan(tiles=clips * TUBES // 20, kernels="recompute")
    compiled = of_leaves(made).lower(*arrays(clips=clips)).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  # Two labels of every level and a weight for every tube.
  more = 48 * TUBES
  assert scratch(64) - scratch(16) <= 4 * (2 * len(COUNTS) + 2) * more


def test_independent_levels_are_flat_losses_side_by_side():
  video, target, nodes = arrays()
  made = [plan(count=n)._replace(groups=(), weights=(1.0,)) for n in COUNTS]

  def loss(video, target, nodes):
    split = levels.split(nodes, COUNTS)
    return levels.independent(video, target, split, WEIGHTS, made)

  (total, labels), grads = gradients(loss)(video, target, nodes)
  parts = levels.split(nodes, COUNTS)
  wanted = [
    gradients(lambda *x, p=p: tiled.loss(*x, p))(video, target, part)
    for p, part in zip(made, parts, strict=True)
  ]
  sums = sum(w * float(x[0][0]) for w, x in zip(WEIGHTS, wanted, strict=True))
  np.testing.assert_allclose(total, sums, rtol=1e-6)
  for found, one in zip(labels, wanted, strict=True):
    jax.tree.map(np.testing.assert_array_equal, found, one[0][1])
  for place, weight in enumerate(WEIGHTS):
    mine = levels.split(grads[2], COUNTS)[place]
    np.testing.assert_allclose(mine, weight * wanted[place][1][2], atol=1e-7)
