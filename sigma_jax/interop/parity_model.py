"""Our model on a golden case: every quantity that the case may hold."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import masking
from sigma_jax.interop import golden_case, published
from sigma_jax.interop import layout as layout_lib
from sigma_jax.losses import assignment, sinkhorn
from sigma_jax.models import heads, targets, vit

Case = golden_case.Case


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
    found[side] = np.asarray(solved.labels)
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
    teacher = jnp.asarray(case.arrays["teacher_features"], jnp.float32)
    projected = vit.gather_tokens(targets.standardize(teacher), mask.masked)
    normalised = projected
  else:
    projected = normalised
  first = len(case.arrays.get("target_first", ()))
  return {
    "enc_out": encoded,
    "decoder_out": decoded,
    # The case holds the batch's first few masked tubes, clip after clip.
    "target_first": normalised.reshape(-1, normalised.shape[-1])[:first],
    "proj": projected,
  }


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
  judged = {
    "epsilon": epsilon(case),
    "temperature": float(case.options.get("temperature", 0.1)),
  }
  judge = functools.partial(
    assignment.loss,
    features["decoder_out"],
    features["proj"],
    params["prototypes"],
    rounds=int(case.options.get("sinkhorn_iterations", 10)),
    **judged,
  )
  loss, (by_video, by_target) = judge(labels="hard")
  if labels:
    fixed_video, fixed_target = (
      side._replace(labels=jnp.asarray(labels.get(name, side.labels)))
      for name, side in (("video", by_video), ("proj", by_target))
    )
    judged["labels"] = "hard"
    loss = assignment.cross_entropy(by_target.scores, fixed_video, **judged)
    loss += assignment.cross_entropy(by_video.scores, fixed_target, **judged)
  forward = features | {"loss_soft": judge(labels="soft")[0]}
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
