"""Our V-JEPA on golden cases: the functions that train, on published numbers.

A case's kind is told by what it holds; docs/PARITY.md says what is compared.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sigma_jax import block_masks
from sigma_jax import settings as settings_lib
from sigma_jax.interop import (
  golden_case,
  parity_masks,
  parity_parts,
  parity_views,
  vjepa_names,
)
from sigma_jax.interop.parity_views import Found
from sigma_jax.losses import latent
from sigma_jax.methods import method, vjepa
from sigma_jax.models import modules, positions, vit
from sigma_jax.train import optimizer

Arrays = dict[str, np.ndarray]


def kind(options: dict, arrays: Arrays) -> str:
  """Which of the cases below it is; "" of none."""
  if views := parity_views.kind(arrays):
    return views
  if any(name.startswith("predicted_") for name in arrays):
    return "pretrain"
  if "cases" in options and options.get("generators") is not None:
    return "mask_options"
  if isinstance(options.get("cases"), list) and any(
    "generators" in case for case in options["cases"]
  ):
    return "masks"
  if any(name.startswith("sincos_") for name in arrays):
    return "parts"
  names = options.get("state_dict")
  names = names if isinstance(names, dict) else {}
  if any(".pooler.query_tokens" in name for name in names):
    return "probe"
  if any(name.endswith("_momentum") for name in arrays) and any(
    "ema" in part for part in options.values() if isinstance(part, dict)
  ):
    return "schedules"
  return ""


def schedules(options: dict, arrays: Arrays) -> Found:
  """Rate, decay and momentum at every step that the case holds."""
  forward = {}
  for name, given in options.items():
    if not isinstance(given, dict):
      continue
    label = name.removesuffix("_published") if name in arrays else name
    for what, curve in _curves(given).items():
      theirs = arrays.get(f"{label}_{what}")
      if theirs is not None:
        steps = arrays.get(f"{label}_steps", np.arange(len(theirs)))
        ours = jax.vmap(curve)(jnp.asarray(steps, jnp.int32))
        forward[f"{label}_{what}"] = np.asarray(ours), theirs
  return Found(forward)


def _curves(given: dict) -> dict:
  """Functions of the step, counted from 0."""
  if "anneal" in given:
    return {
      "lr": optimizer.stable_schedule(
        given["start"],
        given["lr"],
        given["final"],
        warmup=given["warmup"],
        anneal=given["anneal"],
        total=given["total"],
      )
    }
  total = given.get("total_steps", given["ipe"] * given["epochs"])
  run = settings_lib.Optimizer(
    schedule="stretched" if "warmup" in given else "linear",
    start_lr=given.get("start", 0.0),
    base_lr=given["lr"],
    min_lr=given["final"],
    weight_decay=given.get("wd", 0.0),
    weight_decay_end=given.get("fwd", -1.0),
    stretch=given["scale"],
  )
  warmup = given.get("warmup", 0) * given["ipe"]
  rate, decay = optimizer.schedules(run, 256, total, warmup)
  found = {"lr": rate}
  if callable(decay):
    found["wd"] = decay
  if "ema" in given:
    found["momentum"] = vjepa.momentum(*given["ema"], given["scale"] * total)
  return found


def pretrain(options: dict, arrays: Arrays) -> Found:
  """Features, losses, gradients and one step of V-JEPA or V-JEPA 2."""
  case = _Pretrain(options, arrays)
  forward = case.compare_parts()
  params = case.trained
  (loss, _), grads = jax.value_and_grad(case.loss, has_aux=True)(params)
  forward["loss"] = loss, arrays["loss"]
  for name, exponent in (("loss_l2", 2.0),):
    if name in arrays:
      forward[name] = case.loss(params, exponent)[0], arrays[name]
  if "regulariser" in arrays:
    predicted = case.loss(params)[1]["predicted"]
    deviation = sum(map(latent.spread, predicted)) / len(predicted)
    ours = jnp.mean(jax.nn.relu(1 - deviation))
    forward["regulariser"] = ours, arrays["regulariser"]
  exact = {}
  after = case.step(grads) if "step" in options else {}
  return Found(forward, exact, case.published(grads), after)


class _Pretrain:
  """One case with our networks in it."""

  def __init__(self, options: dict, arrays: Arrays):
    given = options["options"]
    self.options, self.arrays = options, arrays
    self.rotary = "pos_embed" not in arrays
    self.tubelet, self.patch = given["tub"], given["patch"]
    uniform = given.get("uniform", True)
    self.model = settings_lib.Model(
      tubelet=given["tub"],
      patch=given["patch"],
      encoder_dim=given["dim"],
      encoder_depth=given["depth"],
      encoder_heads=given["heads"],
      decoder_dim=given["pdim"],
      decoder_depth=given["pdepth"],
      decoder_heads=given.get("pheads", given["heads"]),
      norm_epsilon=options.get("layer_norm_eps", 1e-6),
      positions="rotary"
      if self.rotary
      else ("sine_3d" if uniform else "sine_3d_quarter"),
      key_bias=True,
    )
    weights = {
      name: golden_case.weight(name, shape)
      for name, shape in options["state_dict"].items()
    }

    def part(name, prefix):
      tensors = {
        key.removeprefix(f"{prefix}."): value
        for key, value in weights.items()
        if key.startswith(f"{prefix}.")
      }
      return vjepa_names.to_params(name, tensors)

    self.trained = {
      "encoder": part("encoder", "encoder"),
      "predictor": part("predictor", "predictor"),
    }
    self.slow = part("encoder", "target_encoder")
    # Groups of clips of one length each; V-JEPA has one.
    self.groups = (
      [f"_{i}" for i in range(len(given["b"]))] if self.rotary else [""]
    )

  def _settings(self, group: str) -> settings_lib.Settings:
    _, time, size, _, _ = self.arrays[f"video{group}"].shape
    tokens = len(self.trained["predictor"]["mask_tokens"])
    return settings_lib.Settings(
      data=settings_lib.Data(num_frames=time, size=size),
      model=self.model,
      method=vjepa.Options(blocks=(1,) * tokens, areas=(0.5,) * tokens),
    )

  def _masks(self, group: str) -> list[block_masks.Mask]:
    found, number = [], 0
    while f"context{group}_{number}" in self.arrays:
      found.append(
        block_masks.Mask(
          *(
            jnp.asarray(self.arrays[f"{side}{group}_{number}"], jnp.int32)
            for side in ("context", "targets")
          )
        )
      )
      number += 1
    return found

  def features(self, params: dict, place: int) -> dict:
    """What training compares, of one group of clips."""
    group = self.groups[place]
    run = self._settings(group)
    made = method.of(run).abstract
    networks = modules.merge(made.graph, params)
    slow = modules.merge(made.graph, {**params, "encoder": self.slow}).encoder
    tubes = vit.split_tubes(
      jnp.asarray(self.arrays[f"video{group}"]), self.tubelet, self.patch
    )
    masks = self._masks(group)
    tokens = [place] * len(masks) if self.rotary else range(len(masks))
    return vjepa.features(networks, slow, tubes, masks, list(tokens))

  def loss(self, params: dict, exponent: float = 1.0):
    """The mean over groups and masks, and the features of all of them."""
    found = [self.features(params, place) for place in range(len(self.groups))]
    predicted = [each for group in found for each in group["predicted"]]
    target = [each for group in found for each in group["target"]]
    distances = [
      latent.distance(ours, theirs, exponent)
      for ours, theirs in zip(predicted, target, strict=True)
    ]
    return sum(distances) / len(distances), {
      "predicted": predicted,
      "distances": distances,
    }

  def compare_parts(self) -> dict:
    """Tables, encodings, targets, predictions and each mask's loss."""
    forward, arrays = {}, self.arrays
    for name, dim in (
      ("pos_embed", self.model.encoder_dim),
      ("predictor_pos_embed", self.model.decoder_dim),
    ):
      if name in arrays:
        grid = self._settings("").grid
        table = positions.table(self.model.positions, dim, grid)
        forward[name] = table, arrays[name]
    if "rotate_in" in arrays:
      forward["rotate_out"] = self._rotated(), arrays["rotate_out"]
    for place, group in enumerate(self.groups):
      found = self.features(self.trained, place)
      forward[f"target_all{group}"] = (
        found["slow"],
        arrays[f"target_all{group}"],
      )
      forward[f"target_normed{group}"] = (
        latent.normalize(found["slow"]),
        arrays[f"target_normed{group}"],
      )
      for number, encoded in enumerate(found["encoded"]):
        name = f"{group}_{number}"
        forward[f"encoded{name}"] = encoded, arrays[f"encoded{name}"]
        predicted = found["predicted"][number]
        forward[f"predicted{name}"] = predicted, arrays[f"predicted{name}"]
    for number, distance in enumerate(self.loss(self.trained)[1]["distances"]):
      if f"loss_{number}" in arrays:
        forward[f"loss_{number}"] = distance, arrays[f"loss_{number}"]
    return forward

  def _rotated(self) -> np.ndarray:
    """A rotation alone: theirs is [b, heads, n, d]."""
    places = self.arrays["rotate_positions"]
    x = self.arrays["rotate_in"].transpose(0, 2, 1, 3)
    angles = positions.angles(places, x.shape[-1])[None, :, None]
    turn = positions.Rotation(
      *(jnp.asarray(f(angles), jnp.float32) for f in (np.cos, np.sin))
    )
    return np.asarray(turn(jnp.asarray(x))).transpose(0, 2, 1, 3)

  def published(self, params: dict) -> Arrays:
    """Trained parameters, or gradients by them, by published name."""
    return {
      f"{part}.{name}": value
      for part in ("encoder", "predictor")
      for name, value in vjepa_names.to_published(
        part, params[part], self.tubelet, self.patch
      ).items()
    }

  def step(self, grads: dict) -> Arrays:
    """All networks after one step of AdamW and of the moving average."""
    given = self.options["step"]
    run = settings_lib.Optimizer(
      schedule="stretched",
      base_lr=given["lr"],
      min_lr=given["lr"],
      b2=0.999,
      weight_decay=given["weight_decay"],
      warmup_epochs=0.0,
    )
    tx, _ = optimizer.make(
      run,
      batch_size=1,
      total_steps=100,
      steps_per_epoch=1.0,
      **vjepa.VJepa(self._settings(self.groups[0])).optimizer(),
    )
    params = jax.tree.map(jnp.asarray, self.trained)
    updates, _ = tx.update(grads, tx.init(params), params)
    params = optax.apply_updates(params, updates)
    slow = method.moved(self.slow, params["encoder"], given["momentum"])
    target = vjepa_names.to_published("encoder", slow, self.tubelet, self.patch)
    return self.published(params) | {
      f"target_encoder.{name}": value for name, value in target.items()
    }


RUN = {
  "masks": parity_masks.masks,
  "mask_options": parity_masks.mask_options,
  "parts": parity_parts.parts,
  "probe": parity_parts.probe,
  "schedules": schedules,
  "pretrain": pretrain,
  **parity_views.RUN,
}
