"""DINO's loss: a student's distribution beside a slow teacher's, centred.

https://arxiv.org/abs/2104.14294, algorithm 1; main_dino.py of its code. Means
are over the global batch, wherever its clips lie.
"""

import jax
import jax.numpy as jnp


def loss(
  student: list[jax.Array],
  teacher: list[jax.Array],
  centre: jax.Array,
  *,
  teacher_temperature: jax.typing.ArrayLike,
  student_temperature: float = 0.1,
) -> jax.Array:
  """Mean cross-entropy over the pairs of different views, float32 scalar.

  Args:
    student: float [b, k] of each view.
    teacher: float [b, k] of the first views; no gradient goes into it.
    centre: float32 [k], as it was before this batch.
    teacher_temperature, student_temperature: what outputs are divided by.

  Raises:
    ValueError: there is no pair of different views.
  """
  if not teacher or len(student) < 2:
    raise ValueError("a teacher's view needs a student's that is another")
  predicted = [
    jax.nn.log_softmax(each.astype(jnp.float32) / student_temperature)
    for each in student
  ]
  errors = []
  for place, each in enumerate(teacher):
    target = probabilities(each, centre, teacher_temperature)
    errors += [
      -jnp.mean(jnp.sum(target * other, axis=-1))
      for number, other in enumerate(predicted)
      if number != place
    ]
  return sum(errors) / len(errors)


def probabilities(
  teacher: jax.Array, centre: jax.Array, temperature: jax.typing.ArrayLike
) -> jax.Array:
  """The teacher's distribution, float32 [b, k], without gradient."""
  logits = jax.lax.stop_gradient(teacher.astype(jnp.float32)) - centre
  return jax.nn.softmax(logits / temperature)


def moved_centre(
  centre: jax.Array, teacher: list[jax.Array], momentum: float = 0.9
) -> jax.Array:
  """The centre after a batch: a moving average of the teacher's mean output.

  Args:
    centre: float32 [k], which this batch's loss was computed with.
    teacher: float [b, k] of each of its views.
    momentum: share that stays.
  """
  means = [jnp.mean(each.astype(jnp.float32), axis=0) for each in teacher]
  mean = jax.lax.stop_gradient(sum(means) / len(means))
  return momentum * centre + (1 - momentum) * mean


def teacher_temperature(
  epoch: jax.typing.ArrayLike, start: float, end: float, epochs: int
) -> jax.Array:
  """Linear from `start` in epoch 0 to `end` in epoch `epochs` - 1, then that.

  Args:
    epoch: that the step lies in, a whole number from 0.
    start, end: temperatures; above 0.07 training is unstable.
    epochs: how many it rises over, both ends counted; 0: `end` from the first.
  """
  share = jnp.asarray(epoch, jnp.float32) / max(epochs - 1, 1)
  rising = start + (end - start) * jnp.clip(share, 0.0, 1.0)
  return jnp.where(jnp.asarray(epoch) < epochs, rising, end)
