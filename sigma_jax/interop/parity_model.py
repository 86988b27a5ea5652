"""Our model on a golden case: every quantity that the case may hold.

What trains is what is compared: hard labels, both losses and all gradients are
those of `losses.tiled`, cut into several tiles; where a case has the weights of
an image teacher, the target is our own image ViT's. Scores and plans, which
that loss never keeps, are from its plain writing, `losses.assignment`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import masking
from sigma_jax.interop import golden_case, published, teacher
from sigma_jax.interop import layout as layout_lib
from sigma_jax.losses import assignment, plans, sinkhorn, tiled
from sigma_jax.models import heads, modules, targets, vit

Case = golden_case.Case
# Of the loss: a case's few tubes would be one tile.
_TILES = 3


class Outputs(NamedTuple):
  """forward: by the case's names. labels: int32 [b, m] by side ("proj" is the
  target's, "video" the decoder's). gradients: under the hard loss, float32 in
  PyTorch's layout by published name."""

  forward: dict[str, np.ndarray]
  labels: dict[str, np.ndarray]
  gradients: dict[str, np.ndarray]


def epsilon(case: Case) -> float:
  """Entropy regularisation of the case's transport problem."""
  return float(case.options.get("eps", 0.05))


def pretrain(case: Case, labels: dict[str, np.ndarray] | None = None):
  """Outputs of a pre-training case.

  Args:
    case: of kind "pretrain".
    labels: hard labels to put in place of ours, by side.
  """
  params = case.params
  if "prototypes" not in params:
    features = jax.jit(functools.partial(_features, case))(params)
    forward = {name: np.asarray(value) for name, value in features.items()}
    return Outputs(forward, {}, {})
  # As the published step: prototypes go to the sphere before the forward
  # pass, so their gradient is that of the unit rows.
  unit = assignment.normalize(jnp.asarray(params["prototypes"]))
  params = {**params, "prototypes": unit}
  gradient = jax.value_and_grad(
    functools.partial(_loss, case, labels or {}), has_aux=True
  )
  (loss, (forward, sides)), gradients = jax.jit(gradient)(params)
  forward = dict(forward) | {"loss_hard": loss}
  found = {}
  for side, solved in sides.items():
    forward[f"scores_{side}"] = solved.scores
    plan = sinkhorn.assign(solved.scores, solved.log_u, epsilon(case))
    forward[f"q_{side}"] = plan
    found[side] = np.asarray(forward.pop(f"labels_{side}"))
  forward = {name: np.asarray(value) for name, value in forward.items()}
  gradients = published.from_params(gradients, case.layout)
  return Outputs(forward, found, gradients)


def _features(case: Case, params: dict) -> dict[str, jax.Array]:
  """Encoder, decoder and target outputs under the case's mask."""
  layout, grid = case.layout, golden_case.grid(case)
  model = layout.model
  given = jnp.asarray(case.arrays["mask"].astype(bool))
  mask = masking.from_bool(given, int(case.arrays["mask"][0].sum()))
  pixels = vit.split_tubes(
    jnp.asarray(case.arrays["video"]), model.tubelet, model.patch
  )
  encoder = layout_lib.assemble(params["encoder"], vit.Encoder, model, grid)
  decoder = layout_lib.assemble(
    params["decoder"], vit.Decoder, model, grid, layout.target_dim
  )
  encoded = encoder(pixels, mask.visible)
  decoded = decoder(encoded, mask.visible, mask.masked)
  normalised = targets.normalize_tubes(vit.gather_tokens(pixels, mask.masked))
  if layout.kind == "mlp":
    projected = _project(case, params["target"], pixels, mask.masked)
  elif layout.kind == "dino":
    given = _teacher_features(case, pixels)
    projected = vit.gather_tokens(targets.standardize(given), mask.masked)
    normalised = projected
  else:
    projected = normalised
  first = len(case.arrays.get("target_first", ()))
  seen = {"teacher_features": given} if "teacher" in case.options else {}
  return seen | {
    "enc_out": encoded,
    "decoder_out": decoded,
    # The case holds the batch's first few masked tubes, clip after clip.
    "target_first": normalised.reshape(-1, normalised.shape[-1])[:first],
    "proj": projected,
  }


def _teacher_features(case: Case, pixels) -> jax.Array:
  """Our image ViT's, where the case has its weights; else what it gives."""
  options = case.options.get("teacher")
  if options is None:
    return jnp.asarray(case.arrays["teacher_features"], jnp.float32)
  weights = {
    name: golden_case.weight(name, tuple(shape))
    for name, shape in options["state_dict"].items()
  }
  model = teacher.tiny(weights, options["variant"], int(options["heads"]))
  tree = teacher.convert(weights, model, jnp.dtype("float32"))
  made = modules.abstract(
    lambda _: targets.DinoTarget(
      model,
      tubelet=case.layout.model.tubelet,
      patch=case.layout.model.patch,
      grid=golden_case.grid(case),
      dtype=jnp.float32,
    )
  )
  target = modules.merge(made.graph, {}, {"teacher": tree})
  return target.features(pixels)


def _plan(case: Case, features: dict, labels: str) -> plans.Plan:
  """As a run on CPU makes it, but of several tiles."""
  batch, masked, _ = features["decoder_out"].shape
  made = plans.make(
    num_tubes=batch * masked,
    num_devices=1,
    num_prototypes=len(case.params["prototypes"]),
    platform="cpu",
    epsilon=epsilon(case),
    rounds=int(case.options.get("sinkhorn_iterations", 10)),
    temperature=float(case.options.get("temperature", 0.1)),
    labels=labels,
    kernels="auto",
    dtype="float32",
  )
  return made._replace(tiles=min(_TILES, batch * masked))


def _project(case: Case, params: dict, pixels, masked) -> jax.Array:
  """SIGMA's mlp on the masked tubes."""
  layout = case.layout
  target = layout_lib.assemble(
    params,
    targets.MlpTarget,
    pixels.shape[-1],
    layout.hidden,
    layout.target_dim,
    init=layout.model.init,
    dtype=jnp.float32,
  )
  return target(pixels, masked)


def _loss(case: Case, labels: dict, params: dict):
  """The hard loss, and (forward quantities, both sides' assignments)."""
  features = _features(case, params)
  sides = features["decoder_out"], features["proj"], params["prototypes"]
  judged = {
    "epsilon": epsilon(case),
    "temperature": float(case.options.get("temperature", 0.1)),
  }
  _, (by_video, by_target) = assignment.loss(
    *sides,
    rounds=int(case.options.get("sinkhorn_iterations", 10)),
    labels="hard",
    **judged,
  )
  loss, found = tiled.loss(*sides, _plan(case, features, "hard"))
  if labels:  # which the tiled loss cannot be given
    fixed_video, fixed_target = (
      side._replace(labels=jnp.asarray(labels.get(name, side.labels)))
      for name, side in (("video", by_video), ("proj", by_target))
    )
    judged["labels"] = "hard"
    loss = assignment.cross_entropy(by_target.scores, fixed_video, **judged)
    loss += assignment.cross_entropy(by_video.scores, fixed_target, **judged)
  forward = features | {
    "loss_soft": tiled.loss(*sides, _plan(case, features, "soft"))[0],
    "labels_video": found[0],
    "labels_proj": found[1],
  }
  return loss, (forward, {"proj": by_target, "video": by_video})


def finetune(case: Case) -> dict[str, np.ndarray]:
  """Logits and features of a fine-tuning case."""
  layout = case.layout

  @jax.jit
  def forward(params):
    model = layout_lib.assemble(
      params,
      heads.Classifier,
      layout.model,
      golden_case.grid(case),
      layout.num_classes,
    )
    video = jnp.asarray(case.arrays["video"])
    return {"logits": model(video), "features": model.features(video)}

  return {name: np.asarray(x) for name, x in forward(case.params).items()}
