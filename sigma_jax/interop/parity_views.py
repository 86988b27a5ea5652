"""SwAV's and DINO's losses, state, head and schedules on golden cases.

A case's kind is told by what it holds. Not compared, though cases hold them:
LARC and SwAV's rate.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax.interop import golden_case, parity_dino_step
from sigma_jax.interop import layout as layout_lib
from sigma_jax.losses import distilled, sinkhorn, swapped
from sigma_jax.models import projection
from sigma_jax.train import optimizer

Arrays = dict[str, np.ndarray]


class Found(NamedTuple):
  """Ours beside theirs, by quantity.

  forward: to be equal within the tolerance of forward quantities. exact: how
  many values differ, none may. gradients: published name -> ours, theirs being
  the case's `grads`. after: the same after one step, theirs `step.after`.
  by_array: gradients that the case holds whole, to be equal within the
  tolerance of gradients. published: what `gradients` are beside, where that is
  not the case's `grads`; published_after: likewise of `after`.
  """

  forward: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # noqa: RUF012
  exact: dict[str, int] = {}  # noqa: RUF012
  gradients: Arrays = {}  # noqa: RUF012
  after: Arrays = {}  # noqa: RUF012
  by_array: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # noqa: RUF012
  published: dict | None = None
  published_after: dict | None = None


def kind(arrays: Arrays) -> str:
  """Which of the cases below it is; "" of none."""
  if "plain_loss" in arrays and "embeddings" in arrays:
    return "swav"
  if "student" in arrays and "teacher" in arrays:
    return "dino"
  if "dino_teacher_temp" in arrays:
    return "view_schedules"
  return ""


def swav(options: dict, arrays: Arrays) -> Found:
  """Codes, and losses, gradients and queues of calls one after another."""
  forward, by_array = {}, {}
  for name, theirs in arrays.items():
    if name.startswith("q_eps"):
      epsilon, rounds = name.removeprefix("q_eps").split("_it")
      scores = jnp.asarray(arrays["unit_scores"])
      log_u = sinkhorn.potential(scores, float(epsilon), int(rounds))
      forward[name] = sinkhorn.assign(scores, log_u, float(epsilon)), theirs
  for which in ("plain", "queue"):
    calls = _swav_calls(options, arrays, queued=which == "queue")
    for what, ours in calls.items():
      place = by_array if what.endswith("grad") else forward
      place[f"{which}_{what}"] = ours, arrays[f"{which}_{what}"]
  return Found(forward, by_array=by_array)


def _swav_calls(options: dict, arrays: Arrays, *, queued: bool) -> Arrays:
  sizes = options["options"]
  assigned = len(options["crops_for_assign"])
  raw = jnp.asarray(arrays["prototypes"])
  prototypes = raw / jnp.linalg.norm(raw, axis=1, keepdims=True)
  queue = jnp.zeros((assigned, sizes["queue"], sizes["D"])) if queued else None

  @jax.jit
  def call(embeddings, prototypes, queue):
    def judged(embeddings, prototypes):
      views = jnp.split(embeddings, len(embeddings) // sizes["B"])
      found = swapped.loss(
        views,
        prototypes,
        queue,
        assigned=assigned,
        epsilon=options["epsilon"],
        rounds=options["iterations"],
        temperature=options["temperature"],
      )
      return found.loss, found.queue

    gradient = jax.value_and_grad(judged, argnums=(0, 1), has_aux=True)
    return gradient(embeddings, prototypes)

  found = {"loss": [], "embedding_grad": [], "prototype_grad": []}
  queues = []
  for embeddings in arrays["embeddings"]:
    (loss, queue), grads = call(jnp.asarray(embeddings), prototypes, queue)
    for name, value in zip(found, (loss, *grads), strict=True):
      found[name].append(value)
    queues.append(queue)
  if queued:
    found["queue"] = queues
  return {name: np.stack(values) for name, values in found.items()}


def dino(options: dict, arrays: Arrays) -> Found:
  """Losses, gradients and centres of calls, the head, and a whole step."""
  given = options["loss"]
  centre = jnp.zeros(arrays["student"].shape[-1])
  found = {"loss": [], "center": [], "student_grad": []}
  places = zip(
    given["epochs"], arrays["student"], arrays["teacher"], strict=True
  )
  for epoch, student, teacher in places:
    temperature = distilled.teacher_temperature(
      epoch, given["wtt"], given["tt"], given["wte"]
    )
    teachers = jnp.split(jnp.asarray(teacher), len(teacher) // given["B"])

    def loss(
      student, teachers=teachers, centre=centre, temperature=temperature
    ):
      return distilled.loss(
        jnp.split(student, given["crops"]),
        teachers,
        centre,
        teacher_temperature=temperature,
        student_temperature=given["student_temp"],
      )

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(student))
    centre = distilled.moved_centre(centre, teachers, given["center_momentum"])
    for name, each in zip(found, (value, centre, gradient), strict=True):
      found[name].append(each)
  ours = {name: np.stack(values) for name, values in found.items()}
  gradient = {"student_grad": (ours["student_grad"], arrays["student_grad"])}
  forward = {name: (ours[name], arrays[name]) for name in ("loss", "center")}
  gradients, published, after, published_after = {}, {}, {}, {}
  if "head_in" in arrays:
    output, by_input, gradients = _head(options["head"], arrays)
    forward["head_out"] = output, arrays["head_out"]
    gradient["head_in_grad"] = by_input, arrays["head_in_grad"]
    published = options["head"]["grads"]
  if "step_loss" in arrays:
    step = parity_dino_step.Step(options["step"], arrays)
    forward |= step.forward
    gradients = gradients | step.gradients
    published = published | options["step"]["grads"]
    after, published_after = step.after, options["step"]["step"]["after"]
  # The last layer's lengths are constants here, and have none there.
  return Found(
    forward,
    gradients=gradients,
    after=after,
    by_array=gradient,
    published={k: v for k, v in published.items() if v},
    published_after={
      name: value
      for name, value in published_after.items()
      if not name.endswith("weight_g")
    },
  )


_MAPS = {"fc1": "mlp.0", "fc2": "mlp.2", "fc3": "mlp.4"}
_LAST = "head.last_layer.weight_v"


def _head(given: dict, arrays: Arrays) -> tuple[jax.Array, jax.Array, Arrays]:
  """Outputs, gradient by the inputs, and by the weights by published name."""
  tensors = {
    name: jnp.asarray(golden_case.weight(name, shape))
    for name, shape in given["state_dict"].items()
  }

  def run(tensors, x):
    params = {
      ours: {
        "kernel": tensors[f"head.{theirs}.weight"].T,
        "bias": tensors[f"head.{theirs}.bias"],
      }
      for ours, theirs in _MAPS.items()
    }
    sizes = given["inp"], given["hidden"], given["bottle"]
    short = layout_lib.assemble(params, projection.Bottleneck, *sizes)(x)
    last = {"directions": tensors[_LAST]}
    return layout_lib.assemble(
      last, projection.UnitRows, given["bottle"], given["K"]
    )(short)

  output, pull = jax.vjp(run, tensors, jnp.asarray(arrays["head_in"]))
  gradients, by_input = pull(jnp.asarray(arrays["head_cotangent"]))
  return output, by_input, {k: np.asarray(v) for k, v in gradients.items()}


def schedules(options: dict, arrays: Arrays) -> Found:
  """DINO's rate, decay, momentum and teacher temperature."""
  given = options["dino"]
  total = given["epochs"] * given["n"]
  steps = jnp.arange(total, dtype=jnp.int32)
  warmup = given["warmup"] * given["n"]
  ours = {
    "lr": optimizer.cosine_schedule(
      given["lr"], given["min_lr"], total, warmup
    ),
    "wd": optimizer.cosine_schedule(given["wd"], given["wd_end"], total, 0),
    "momentum": optimizer.cosine_schedule(given["m"], 1.0, total, 0),
  }
  forward = {
    f"dino_{name}": (np.asarray(jax.vmap(curve)(steps)), arrays[f"dino_{name}"])
    for name, curve in ours.items()
  }
  temperature = distilled.teacher_temperature(
    jnp.arange(given["epochs"]), given["wtt"], given["tt"], given["wte"]
  )
  theirs = arrays["dino_teacher_temp"]
  return Found(forward | {"dino_teacher_temp": (temperature, theirs)})


RUN = {"swav": swav, "dino": dino, "view_schedules": schedules}
