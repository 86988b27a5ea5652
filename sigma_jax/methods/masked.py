"""Masked video modelling: VideoMAE, SIGMA, and what lies between.

A masked ViT predicts a target of every hidden tube. Any masks, targets and
losses can be combined. VideoMAE (https://arxiv.org/abs/2203.12602) predicts
pixels. In SIGMA (https://arxiv.org/abs/2407.15447) each side predicts the other
side's prototype assignments, which Sinkhorn balances. MGMAE
(https://arxiv.org/abs/2308.10794) is VideoMAE with masks that follow the
motion; SIGMA's targets go with such masks too. Options are the sections
masking, target and loss.
"""

import jax.numpy as jnp
import numpy as np

from sigma_jax import masking
from sigma_jax import settings as settings_lib
from sigma_jax.losses import assignment, health
from sigma_jax.methods import assigning, guided, method
from sigma_jax.models import sigma
from sigma_jax.motion import volume


class Masked(method.Method):
  """The family; see the module."""

  reads = ("masking", "target", "loss")
  shown = ("agreement", "used", "perplexity", "target_std")

  def __init__(self, settings, length=None):
    super().__init__(settings, length)
    self._assigns = settings.loss.kind == "assignment"
    self._levels = settings.loss.levels if self._assigns else ()
    self.heads = ("prototypes",) if self._assigns else ()
    self.heads += ("coarse_prototypes",) if self._levels else ()

  def module(self, rngs):
    return guided.with_flow(
      sigma.Sigma(self.settings, rngs=rngs), self.settings
    )

  def load(self):
    # Of other people's formats methods know nothing but where to ask.
    from sigma_jax.interop import teacher

    return teacher.load(self.settings) | guided.load_flow(self.settings)

  def project(self, params):
    return project_prototypes(params)

  def optimizer(self):
    return {"decayed": ("coarse_prototypes",)}

  def prepare(self, batch, key, frozen):
    video = batch["video"]
    return video, guided.masks(self.settings, video, key, frozen)

  def features(self, weights, inputs):
    return self.networks(weights.params, weights.frozen)(*inputs)

  def loss(self, heads, features, carry, step, where):
    metrics = {
      "feature_std": health.feature_std(features.video),
      "target_std": health.feature_std(features.target),
    }
    if not self._assigns:
      loss = jnp.mean(jnp.square(features.video - features.target))
      return method.Judged(loss, carry, {"loss": loss, **metrics})
    loss, labels = assigning.loss(self.settings, heads, features, where)
    by_video, by_target = labels[-1]
    metrics |= {
      "loss": loss,
      "agreement": health.agreement(by_video, by_target),
    }
    metrics |= health.prototype_usage(
      by_target, self.settings.loss.num_prototypes
    )
    metrics |= assigning.health_of_levels(self._levels, labels)
    return method.Judged(loss, carry, metrics)

  def plan(self, where):
    run = self.settings
    if not self._assigns:
      return ""
    count = masking.num_masked(run.masking.kind, run.grid, run.masking.ratio)
    made = assigning.plan_of(run, (run.train.batch_size, count, 1), where)
    kernels = "kept" if made.keep else "recomputed"
    space = "logarithms" if made.log_space else "numbers"
    tree = f", levels {', '.join(map(str, made.groups))}" * bool(made.groups)
    return (
      f"{made.tiles} tiles, kernels {kernels}, {space}{tree}, "
      f"for {where.platform}"
    )

  def signs(self, step, first, now):
    found = {}
    std, before = now.get("target_std"), first.get("target_std")
    if std is not None and before is not None and std < 0.1 * before:
      found["std"] = (
        f"the target's features have lost their variation ({std:.3g}, from "
        f"{before:.3g}): all tubes are mapped to one vector. An L2 loss on a "
        "learnt target does this; use loss.kind='assignment'"
      )
    settled = self.length is None or step >= self.length.steps // 10
    if not (self._assigns and settled and "used" in now):
      return found
    k = self.settings.loss.num_prototypes
    if now["used"] < 0.25:
      found["used"] = (
        f"only {100 * now['used']:.0f}% of the {k} prototypes are in use: "
        "lower loss.num_prototypes, raise loss.rounds, or look whether most "
        "tubes of the data are identical"
      )
    if now["perplexity"] < 0.05 * k:
      found["perplexity"] = (
        "assignments concentrate on few prototypes (perplexity "
        f"{now['perplexity']:.1f} of {k}): lower loss.epsilon or "
        "optimizer.base_lr"
      )
    for level, count in enumerate(self._levels, 1):
      if now.get(f"used_{level}", 1.0) < 0.25:
        found[f"used_{level}"] = (
          f"only {100 * now[f'used_{level}']:.0f}% of the {count} nodes of "
          f"level {level} are in use: raise loss.rounds, or choose other "
          "loss.levels"
        )
    return found

  def describe(self):
    run = self.settings
    model, masking_, loss = run.model, run.masking, run.loss
    decoder = f"{model.decoder_depth} blocks, width {model.decoder_dim}"
    words = "mean squared error"
    if self._assigns:
      words = (
        f"{loss.num_prototypes:,} prototypes, ε {loss.epsilon:g}, "
        f"{loss.rounds} rounds, τ {loss.temperature:g}, {loss.labels} labels"
      )
      if self._levels:
        above = " and ".join(f"{count:,}" for count in self._levels)
        words += f", under {above} ({loss.hierarchy})"
    return method.Description(
      _title(run),
      tubes=f"{masking_.ratio:.0%} masked ({guided.kind(masking_)})",
      facts=(("Decoder", decoder), ("Loss", words)),
      charts=_charts(loss if self._assigns else None)
      + assigning.charts_of_levels(self._levels),
      target=run.target.kind.upper(),
      num_prototypes=loss.num_prototypes if self._assigns else None,
    )

  def hidden(self, key, video):
    return guided.hidden(self.settings, key, video)

  def guides(self, key, video):
    run = self.settings
    if run.masking.kind != "motion":
      return {}
    maps, flows = volume.maps(
      key, video, **guided.by(run, guided.load_flow(run))
    )
    held = volume.scores(maps, run.grid).reshape(-1, *run.grid)
    held /= held.max(axis=(1, 2, 3), keepdims=True)
    published = run.masking.direction == "published"
    motion = volume.motion(flows, run.grid, published=published)
    return {
      "the motion found": np.asarray(motion),
      "the map that goes with it": np.asarray(held),
    }


def project_prototypes(params: dict) -> dict:
  """Parameters with the prototypes put back on the unit sphere."""
  found = [n for n in ("prototypes", "coarse_prototypes") if n in params]
  return params | {name: assignment.normalize(params[name]) for name in found}


def _title(run: settings_lib.Settings) -> str:
  target = run.target.kind
  moves = run.masking.kind == "motion"
  if run.loss.kind == "assignment":
    guided = ", motion-guided masks" if moves else ""
    return f"SIGMA, {target.upper()} target{guided}"
  if target == "pixel":
    return f"{'MGMAE' if moves else 'VideoMAE'}, pixel regression"
  return f"L2 regression of the {target.upper()} target (collapse ablation)"


def _charts(loss: settings_lib.Loss | None) -> tuple[method.Chart, ...]:
  chart = method.Chart
  deviation = chart(
    "Feature deviation",
    "std over tubes",
    {"feature_std": "predicted", "target_std": "target"},
  )
  if loss is None:
    return chart(
      "Loss", "mean squared error", {"loss": ""}, floor=None
    ), deviation
  k, name = loss.num_prototypes, "uniform guess"
  name += "" if loss.levels else ", 2 ln k"
  uniform = (name, assigning.uniform_guess(loss))
  return (
    chart("Loss", "nats, both directions", {"loss": ""}, 1, uniform, None),
    chart(
      "Agreement",
      "% of masked tubes",
      {"agreement": ""},
      100,
      ("chance, 1/k", 100 / k),
    ),
    deviation,
    chart(
      "Perplexity",
      "prototypes",
      {"perplexity": ""},
      1,
      ("all k equally", float(k)),
    ),
    chart("Prototypes in use", "% of k", {"used": ""}, 100),
  )
