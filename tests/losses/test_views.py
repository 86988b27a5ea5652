"""SwAV's and DINO's losses: what holds whatever the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.losses import assignment, distilled, swapped
from sigma_jax.train import mesh as mesh_lib

B, P, K, Q = 16, 6, 10, 24


def drawn(*shape, seed=0):
  return jax.random.normal(jax.random.key(seed), shape)


def views(count=3, seed=1):
  return [drawn(B, P, seed=seed + n) for n in range(count)]


PROTOTYPES = assignment.normalize(drawn(K, P))
QUEUE = assignment.normalize(drawn(2, Q, P, seed=9))


def by_swapped(embeddings, queue=None, prototypes=PROTOTYPES):
  return swapped.loss(embeddings, prototypes, queue)


def on_eight(tree):
  mesh = mesh_lib.make(settings_lib.Mesh())
  assert mesh.size == 8
  return jax.device_put(tree, mesh_lib.batch_sharding(mesh))


@pytest.mark.parametrize("queue", [None, QUEUE], ids=["alone", "queue"])
def test_swapped_of_eight_devices_is_that_of_one(queue):
  def run(embeddings):
    found = by_swapped(embeddings, queue)
    return found.loss, found

  run = jax.jit(jax.value_and_grad(run, has_aux=True))
  one, eight = run(views()), run(on_eight(views()))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), *(one, eight)
  )


def test_distilled_of_eight_devices_is_that_of_one():
  @jax.jit
  def run(student, teacher):
    def loss(student):
      return distilled.loss(
        student, teacher, jnp.ones(P), teacher_temperature=0.04
      )

    centre = distilled.moved_centre(jnp.ones(P), teacher)
    return jax.value_and_grad(loss)(student), centre

  one = run(views(), views(2, 5))
  eight = run(on_eight(views()), on_eight(views(2, 5)))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), *(one, eight)
  )


def test_order_of_clips_does_not_matter():
  order = np.random.RandomState(0).permutation(B)
  turned = [each[order] for each in views()]
  ours, theirs = by_swapped(views(), QUEUE), by_swapped(turned, QUEUE)
  np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-5)
  np.testing.assert_allclose(ours.codes[:, order], theirs.codes, atol=1e-5)


def test_a_full_queue_solves_the_longer_batch():
  first, *rest = views()
  longer = jnp.concatenate([first, QUEUE[0]])
  others = [jnp.concatenate([each, QUEUE[1]]) for each in rest]
  expected = by_swapped([longer, *others]).codes[0, :B]
  ours = by_swapped(views(), QUEUE).codes[0]
  np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_queue_that_is_not_full_changes_no_code():
  part = QUEUE.at[:, -1].set(0.0)
  found = by_swapped(views(), part)
  np.testing.assert_allclose(found.codes, by_swapped(views()).codes, atol=1e-6)
  unit = assignment.normalize(jnp.stack(views()[:2]))
  np.testing.assert_array_equal(found.queue[:, :B], unit)
  np.testing.assert_array_equal(found.queue[:, B:], part[:, : Q - B])


def test_prototypes_learn_from_views_without_codes():
  def gradient(embeddings):
    return jax.grad(lambda c: by_swapped(embeddings, prototypes=c).loss)(
      PROTOTYPES
    )

  local = views()
  local[2] = local[2] + 1.0
  assert np.abs(gradient(views()) - gradient(local)).max() > 1e-3


def test_codes_are_balanced_and_take_no_gradient():
  found = swapped.loss(views(), PROTOTYPES, rounds=30)
  mass = np.asarray(found.codes.sum(axis=1))
  np.testing.assert_allclose(mass, B / K, rtol=0.05)
  gradient = jax.grad(
    lambda each: swapped.codes(each @ PROTOTYPES.T, PROTOTYPES, None, 0.05, 3)[
      0, 0
    ]
  )(views()[0])
  assert not np.asarray(gradient).any()


def test_teacher_takes_no_gradient():
  def loss(teacher):
    return distilled.loss(
      views(), teacher, jnp.zeros(P), teacher_temperature=0.04
    )

  assert not np.asarray(jnp.stack(jax.grad(loss)(views(2, 5)))).any()


def test_a_view_is_not_its_own_target():
  one = views(1)
  with pytest.raises(ValueError, match="another"):
    distilled.loss(one, one, jnp.zeros(P), teacher_temperature=0.04)
  with pytest.raises(ValueError, match="predicted by the others"):
    swapped.loss(one, PROTOTYPES, assigned=1)


def test_centre_after_two_steps():
  ones = [jnp.ones((B, 2)), 3 * jnp.ones((B, 2))]
  centre = distilled.moved_centre(jnp.zeros(2), ones, 0.9)
  centre = distilled.moved_centre(centre, ones, 0.9)
  np.testing.assert_allclose(centre, 2 * (1 - 0.81), rtol=1e-6)


def test_teacher_temperature_without_a_rise():
  assert distilled.teacher_temperature(0, 0.04, 0.07, 0) == np.float32(0.07)
  assert distilled.teacher_temperature(0, 0.04, 0.07, 1) == np.float32(0.04)
