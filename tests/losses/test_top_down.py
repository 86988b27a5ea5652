"""Assignment from the top of a tree: the tiled loss against its definition."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.losses import assignment, levels, plans, tiled, top_down
from sigma_jax.train import mesh as mesh_lib

CLIPS, TUBES, WIDTH, COUNTS = 8, 10, 6, (3, 6, 24)
BASE = {"epsilon": 0.05, "rounds": 4, "temperature": 0.1, "labels": "hard"}
WEIGHTS = (1.0, 0.7, 0.4)


def arrays(seed=0, clips=CLIPS):
  """Both sides' features and unit nodes of all levels, float32."""
  rng = np.random.default_rng(seed)
  video, target = rng.normal(size=(2, clips, TUBES, WIDTH))
  nodes = rng.normal(size=(sum(COUNTS), WIDTH))
  nodes /= np.linalg.norm(nodes, axis=1, keepdims=True)
  return tuple(jnp.asarray(x, jnp.float32) for x in (video, target, nodes))


def plan(tiles=4, kernels="keep", devices=1, weights=WEIGHTS, **options):
  made = plans.make(
    num_tubes=CLIPS * TUBES,
    num_devices=devices,
    num_prototypes=sum(COUNTS),
    platform="cpu",
    kernels=kernels,
    dtype="float32",
    groups=COUNTS[:-1],
    weights=weights,
    **BASE | options,
  )
  return made._replace(tiles=tiles)


def gradients(loss):
  """Jitted: ((loss, labels), gradients by all three arguments)."""
  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))


def tiles_of(made, spread=None):
  def loss(video, target, nodes):
    split = levels.split(nodes, COUNTS)
    return top_down.loss(video, target, split, made, spread)

  return gradients(loss)


def solve(features, parts, epsilon, rounds):
  """Shares of every level, [n, k_l], by plain numbers."""
  unit = assignment.normalize(features).reshape(-1, features.shape[-1])
  parent, found = None, []
  for nodes in parts:
    kernel = jnp.exp((unit @ nodes.T - 1) / epsilon)
    u = jnp.ones(len(nodes), jnp.float32)
    if parent is None:
      u = 1 / kernel.sum(axis=0)
    for number in range(rounds + 1):
      scaled = (kernel * u).reshape(
        len(unit), 1 if parent is None else parent.shape[1], -1
      )
      shares = scaled / scaled.sum(axis=-1, keepdims=True)
      if parent is not None:
        shares *= parent[..., None]
      shares = shares.reshape(kernel.shape)
      if number < rounds - (parent is None):
        u /= shares.sum(axis=0) * len(nodes) / len(unit)
      else:
        break
    parent = shares
    found.append(shares)
  return found


def oracle(video, target, nodes, **options):
  options = BASE | options

  def loss(video, target, nodes):
    stopped = levels.split(jax.lax.stop_gradient(nodes), COUNTS)
    learnt = levels.split(nodes, COUNTS)
    total, labels = 0.0, []
    sides = []
    for features in (video, target):
      shares = jax.lax.stop_gradient(
        solve(features, stopped, options["epsilon"], options["rounds"])
      )
      label = jnp.argmax(shares[-1], axis=-1)
      if options["labels"] == "hard":
        shares = [
          jax.nn.one_hot(label // (COUNTS[-1] // n), n, dtype=jnp.float32)
          for n in COUNTS
        ]
      sides.append((shares, label.astype(jnp.int32).reshape(video.shape[:2])))
    for features, parts, (shares, _) in (
      (target, learnt, sides[0]),
      (video, stopped, sides[1]),
    ):
      unit = assignment.normalize(features).reshape(-1, WIDTH)
      above = 1
      for part, share, weight in zip(parts, shares, WEIGHTS, strict=True):
        logits = (unit @ part.T / options["temperature"]).reshape(
          len(unit), above, -1
        )
        log_p = jax.nn.log_softmax(logits, axis=-1).reshape(share.shape)
        total -= weight * jnp.mean(jnp.sum(share * log_p, axis=-1))
        above = len(part)
    labels = [
      tuple(label // (COUNTS[-1] // n) for _, label in sides) for n in COUNTS
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
@pytest.mark.parametrize("log_space", [False, True], ids=["numbers", "logs"])
def test_loss_labels_and_gradients(labels, kernels, log_space):
  """7 tiles of 80 tubes leave the last one partly empty."""
  made = plan(7, kernels, labels=labels)
  assert not made.log_space
  found = tiles_of(made._replace(log_space=log_space))(*arrays())
  assert_same(found, oracle(*arrays(), labels=labels))


def test_a_small_epsilon_stays_finite():
  found = tiles_of(plan(epsilon=0.001, temperature=0.001))(*arrays())
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


def test_with_equal_weights_it_is_the_entropy_of_the_leaves():
  """Of the product of conditional predictions, level by level."""
  video, target, nodes = arrays()
  (total, _), _ = tiles_of(plan(labels="soft", weights=(1.0,) * 3))(
    video, target, nodes
  )
  parts, wanted = levels.split(nodes, COUNTS), 0.0
  for features, other in ((video, target), (target, video)):
    unit = assignment.normalize(features).reshape(-1, WIDTH)
    p = jnp.ones((len(unit), 1), jnp.float32)
    for part in parts:
      logits = (unit @ part.T / 0.1).reshape(len(unit), p.shape[1], -1)
      p = (p[..., None] * jax.nn.softmax(logits, axis=-1)).reshape(
        len(unit), -1
      )
    q = solve(other, parts, 0.05, 4)[-1]
    wanted -= np.mean(np.sum(q * np.log(p), axis=1))
  np.testing.assert_allclose(total, wanted, rtol=1e-5)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_one_level_is_the_flat_loss(labels):
  """Potentials are logarithms, hence not bitwise; a run calls the flat one."""
  video, target, nodes = arrays()
  leaves = nodes[-COUNTS[-1] :]
  made = plan(labels=labels)._replace(groups=(), weights=(1.0,))
  flat = gradients(lambda *x: tiled.loss(*x, made))(video, target, leaves)

  def one(video, target, leaves):
    total, (found,) = top_down.loss(video, target, [leaves], made)
    return total, found

  found = gradients(one)(video, target, leaves)
  assert_same(found, flat)


def test_every_level_is_balanced_and_children_sum_to_parents():
  """As of the definition, 80 tubes; lower levels need more rounds."""
  video, _, nodes = arrays()
  parts = levels.split(nodes, COUNTS)
  found = solve(video, parts, 0.1, 60)
  for share, count in zip(found, COUNTS, strict=True):
    np.testing.assert_allclose(share.sum(axis=0) * count / 80, 1, atol=0.02)
  for above, below in itertools.pairwise(found):
    sums = below.reshape(*above.shape, -1).sum(axis=-1)
    np.testing.assert_allclose(sums, above, atol=1e-6)


@functools.cache
def spread_over(data, fsdp, **options):
  mesh = mesh_lib.make(settings_lib.Mesh(data, fsdp))
  run = tiles_of(plan(2, devices=8, **options), mesh_lib.over_batch(mesh))
  split = mesh_lib.batch_sharding(mesh)
  places = (split, split, mesh_lib.replicated(mesh))
  placed = jax.device_put(arrays(), places)
  return placed, run.lower(*placed).compile()


def test_eight_devices_compute_what_one_does():
  placed, run = spread_over(2, 4, labels="soft")
  assert_same(run(*placed), oracle(*arrays(), labels="soft"))
  text = run.as_text()
  assert not re.search(r"all-gather|all-to-all|collective-permute", text)
  sums = re.findall(r"= (.*?) all-reduce\(", text)
  shapes = {s for line in sums for s in re.findall(r"f32\[([\d,]*)\]", line)}
  sizes = {int(np.prod([int(n) for n in s.split(",") if n])) for s in shapes}
  # Both sides' masses of a level at most, and the nodes' gradient.
  assert sizes <= {1, *COUNTS, *(2 * n for n in COUNTS), sum(COUNTS) * WIDTH}


def test_recomputing_takes_no_memory_that_grows_with_the_tubes():
  def scratch(clips):
    made = plan(tiles=clips * TUBES // 20, kernels="recompute")
    compiled = tiles_of(made).lower(*arrays(clips=clips)).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  more = 48 * TUBES
  assert scratch(64) - scratch(16) <= 4 * (2 * len(COUNTS) + 2) * more
