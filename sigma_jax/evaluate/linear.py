"""Linear probe: multinomial logistic regression on cached features.

The problem is convex, so it is solved and not only trained: by full-batch
L-BFGS, for all penalties at once. The penalty is chosen on clips held out from
the training split. Test clips choose nothing.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sigma_jax import precision

_ITERATIONS = 100


def predict(
  train: np.ndarray,
  labels: np.ndarray,
  test: np.ndarray,
  *,
  num_classes: int,
  penalties: tuple[float, ...],
  groups: np.ndarray,
  seed: int = 0,
) -> tuple[np.ndarray, float]:
  """Fits on `train`, predicts `test`.

  Args:
    train: float32 [n, d], standardised.
    labels: int [n].
    test: float32 [j, d], standardised with the same numbers.
    num_classes: c.
    penalties: candidates for the weight of the squared norm.
    groups: int [n], the video of each row; all of a video's clips are held
      out together.
    seed: of the held-out fifth.

  Returns:
    Class probabilities float32 [j, c] and the penalty chosen.
  """
  videos = np.unique(groups)
  order = np.random.default_rng(seed).permutation(videos)
  held = np.isin(groups, order[: max(1, len(order) // 5)])
  chosen = penalties[0]
  if len(penalties) > 1 and not held.all():
    weights = _fit(train[~held], labels[~held], num_classes, penalties)
    scores = np.einsum("nd,rdc->rnc", train[held], weights[0])
    predicted = np.argmax(scores + weights[1][:, None], axis=-1)
    accuracy = (predicted == labels[held]).mean(axis=1)
    chosen = penalties[int(np.argmax(accuracy))]
  weights = _fit(train, labels, num_classes, (chosen,))
  logits = test @ weights[0][0] + weights[1][0]
  return np.asarray(jax.nn.softmax(logits, axis=-1)), chosen


def _fit(
  x: np.ndarray, y: np.ndarray, num_classes: int, penalties: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
  """Weights [r, d, c] and biases [r, c], one for each of r penalties."""
  weights, biases = _solve(
    jnp.asarray(x, jnp.float32),
    jnp.asarray(y, jnp.int32),
    jnp.asarray(penalties, jnp.float32),
    num_classes,
  )
  return np.asarray(weights), np.asarray(biases)


# At module level: both encoders of a probe share the compiled solver.
@functools.partial(jax.jit, static_argnums=3)
def _solve(x, y, penalties, num_classes):
  start = (
    jnp.zeros((x.shape[1], num_classes), jnp.float32),
    jnp.zeros((num_classes,), jnp.float32),
  )

  def solve_one(penalty):
    def objective(weights):
      logits = x @ weights[0] + weights[1]
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
      return jnp.mean(losses) + penalty * jnp.sum(jnp.square(weights[0]))

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def iterate(_, carry):
      weights, state = carry
      value, grad = value_and_grad(weights, state=state)
      updates, state = solver.update(
        grad, state, weights, value=value, grad=grad, value_fn=objective
      )
      return optax.apply_updates(weights, updates), state

    carry = (start, solver.init(start))
    return jax.lax.fori_loop(0, _ITERATIONS, iterate, carry)[0]

  with precision.default(jnp.float32):  # optax's own products too
    return jax.lax.map(solve_one, penalties)
