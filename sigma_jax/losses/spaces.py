"""What the tiled assignment loss does to one tile of tubes, in two spaces.

`Numbers` keeps kernels exp((score - 1) / epsilon), masses and potentials as
they are: a Sinkhorn round is then two matrix-vector products. `Logarithms`
keeps the logarithms of all three, for an epsilon or a temperature at which
float32 might not hold the numbers. Both have the same functions:

- kernel(scores [rows, k], plan) -> [rows, k];
- no_mass(k), unscaled(weight [rows]): where the sums begin;
- scale(kernel, potential [k], weight) -> [rows], that makes each row's mass 1;
- add(mass [k], kernel, scale) -> [k], with the prototypes' mass of these rows;
- potential(masses, axes): both sides' potentials, summed over mesh axes;
- scaled(kernel, potential): the plan's rows, not normalised, and their sums;
- logits(kernel, plan): score / temperature, but for a number that may differ
  from row to row; prediction(kernel, plan): exp of them;
- picked(kernel, prediction, label, plan): one of each row's logits, [rows];
- inside(kernel, prediction, count, plan): of `count` groups of equally many
  neighbouring prototypes, the logarithms of the sums of exp(logit), [rows,
  count], and the shares of their members, [rows, count, k / count].

All arrays are float32; a row of weight 0 is no tube.
"""

import functools

import jax
import jax.numpy as jnp

from sigma_jax import precision


class Numbers:
  """Kernels exp((score - 1) / epsilon), masses and potentials as they are."""

  @staticmethod
  def no_mass(k):
    return jnp.zeros((k,), jnp.float32)

  @staticmethod
  def kernel(scores, plan):
    return jnp.exp((scores - 1.0) * (1.0 / plan.epsilon))

  @staticmethod
  def unscaled(weight):
    return weight

  @staticmethod
  def scale(kernel, potential, weight):
    """What makes each row's mass 1: float32 [rows]."""
    return weight / times(kernel, potential)

  @staticmethod
  def add(mass, kernel, scale):
    return mass + jax.lax.dot(
      scale, kernel, precision=precision.of(kernel.dtype)
    )

  @staticmethod
  def potential(masses, axes):
    masses = sum_over(masses, axes)
    return tuple(jnp.min(m) / m for m in masses)  # at most 1: see `plans.fits`

  @staticmethod
  def scaled(kernel, potential):
    """The plan's rows, not normalised; and their sums, [rows, 1]."""
    return kernel * potential, times(kernel, potential)[:, None]

  @staticmethod
  def prediction(kernel, plan):
    """exp((score - 1) / temperature), and its logarithm if asked for."""
    power = plan.epsilon / plan.temperature
    if power == 0.5:
      return jnp.sqrt(kernel)
    return jnp.exp(power * jnp.log(kernel))

  @staticmethod
  def logits(kernel, plan):
    return jnp.log(kernel) * (plan.epsilon / plan.temperature)

  @staticmethod
  def picked(kernel, prediction, label, plan):
    del kernel, plan
    return jnp.log(_at(prediction, label))

  @staticmethod
  def inside(kernel, prediction, count, plan):
    del kernel, plan
    members = prediction.reshape(prediction.shape[0], count, -1)
    sums = jnp.sum(members, axis=-1)
    return jnp.log(sums), members / sums[..., None]


class Logarithms:
  """The same in logarithms, slower and never out of range.

  Whatever epsilon and temperature: predictions are relative to each row's
  largest, and what is picked is a logit, since its exponential can be 0.
  """

  @staticmethod
  def no_mass(k):
    return jnp.full((k,), -jnp.inf, jnp.float32)

  @staticmethod
  def kernel(scores, plan):
    return (scores - 1.0) * (1.0 / plan.epsilon)

  @staticmethod
  def unscaled(weight):
    return jnp.log(weight)

  @staticmethod
  def scale(kernel, potential, weight):
    rows = jax.nn.logsumexp(kernel + potential, axis=-1)
    return jnp.log(weight) - rows

  @staticmethod
  def add(mass, kernel, scale):
    tile = jax.nn.logsumexp(kernel + scale[:, None], axis=0)
    return jnp.logaddexp(mass, tile)

  @staticmethod
  def potential(masses, axes):
    if axes:
      tops = jax.lax.pmax(masses, axes)
      sums = [jnp.exp(m - top) for m, top in zip(masses, tops, strict=True)]
      sums = sum_over(sums, axes)
      masses = [t + jnp.log(s) for t, s in zip(tops, sums, strict=True)]
    return tuple(jnp.min(m) - m for m in masses)

  @staticmethod
  def scaled(kernel, potential):
    logits = kernel + potential
    plan = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    return plan, jnp.sum(plan, axis=-1, keepdims=True)

  @classmethod
  def prediction(cls, kernel, plan):
    return jnp.exp(cls.logits(kernel, plan))

  @staticmethod
  def logits(kernel, plan):
    logits = kernel * (plan.epsilon / plan.temperature)
    return logits - jnp.max(logits, axis=-1, keepdims=True)

  @classmethod
  def picked(cls, kernel, prediction, label, plan):
    del prediction
    return _at(cls.logits(kernel, plan), label)

  @classmethod
  def inside(cls, kernel, prediction, count, plan):
    del prediction
    logits = cls.logits(kernel, plan).reshape(kernel.shape[0], count, -1)
    log_sums = jax.nn.logsumexp(logits, axis=-1)
    return log_sums, jnp.exp(logits - log_sums[..., None])


def _at(x, label):
  """[rows, k], int32 [rows] -> [rows]."""
  return jnp.take_along_axis(x, label[:, None], axis=-1)[:, 0]


def argmax(x):
  """First index of each row's largest value, int32 [rows]."""
  plain = functools.partial(jnp.argmax, axis=-1)
  found = jax.lax.platform_dependent(x, cpu=_argmax_by_groups, default=plain)
  return found.astype(jnp.int32)


def _argmax_by_groups(x):
  """The group of columns that holds the maximum first, then where in it.

  XLA on CPU vectorises a maximum but no argmax (measured for 11,264 x 3000,
  both sides: 150 ms at once, 25 ms so).
  """
  rows, k = x.shape
  width = max(n for n in range(1, 65) if k % n == 0)
  groups = x.reshape(rows, k // width, width)
  best = jnp.argmax(jnp.max(groups, axis=-1), axis=-1)
  inside = jnp.take_along_axis(groups, best[:, None, None], axis=1)[:, 0]
  return best * width + jnp.argmax(inside, axis=-1)


def times(matrix, vector):
  """float32 [rows, k] times [k]."""
  return jax.lax.dot(matrix, vector, precision=precision.of(matrix.dtype))


def sum_over(x, axes):
  """Sum over mesh axes of a pytree; itself where there are none."""
  return jax.lax.psum(x, axes) if axes else x
