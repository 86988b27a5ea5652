"""Cases of published numbers: what README.md of tests/golden describes.

A case is NAME.npz with inputs and outputs and, for models, NAME.json beside it
with options, names and shapes. Weights are made from their names.
"""

import pathlib
import zlib
from typing import NamedTuple

import numpy as np

from sigma_jax import errors
from sigma_jax.interop import foreign, published
from sigma_jax.interop import layout as layout_lib


class Case(NamedTuple):
  """One case, checked.

  Attributes:
    name: of the files, without suffix.
    kind: pretrain, finetune, sinkhorn or schedule; or "jepa ...", of
      `parity_jepa.RUN`; or "motion ...", of `parity_motion.RUN`; or "mme ...".
    options: the JSON, or {}.
    arrays: of the npz.
    weights: float32 by published name; {} for sinkhorn and schedule.
    params: the weights as our nested dict, strictly converted; or {}.
    layout: of the weights, or None.
  """

  name: str
  kind: str
  options: dict
  arrays: dict[str, np.ndarray]
  weights: dict[str, np.ndarray]
  params: dict
  layout: layout_lib.Layout | None


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """The float32 weight of a published name, a function of name and shape."""
  random = np.random.RandomState(zlib.crc32(name.encode()))
  w = random.standard_normal(tuple(shape)).astype(np.float32)
  if "norm" in name and name.endswith("weight"):
    return np.float32(1) + np.float32(0.1) * w
  if name.endswith("bias"):
    return np.float32(0.02) * w
  return w if name == "prototypes" else np.float32(0.05) * w


def load(path: str | pathlib.Path) -> Case:
  """Reads a case given as NAME.json, NAME.npz or NAME.

  Raises:
    UserError: files are missing or not of this form; one line.
  """
  path = pathlib.Path(path)
  base = path.with_suffix("") if path.suffix in (".json", ".npz") else path
  source, data = base.with_name(base.name + ".json"), base.name + ".npz"
  arrays = _read_arrays(base.with_name(data))
  options = _read_options(source) if source.is_file() else {}
  name = base.name
  # Which make their weights here.
  from sigma_jax.interop import parity_jepa, parity_mme, parity_motion

  if kind := parity_mme.kind(options, arrays):
    return Case(name, f"mme {kind}", options, arrays, {}, {}, None)
  if kind := parity_motion.kind(options, arrays):
    return Case(name, f"motion {kind}", options, arrays, {}, {}, None)
  if kind := parity_jepa.kind(options, arrays):
    return Case(name, f"jepa {kind}", options, arrays, {}, {}, None)
  if "lr" in arrays:
    return Case(name, "schedule", options, arrays, {}, {}, None)
  if "scores" in arrays and "video" not in arrays:
    return Case(name, "sinkhorn", options, arrays, {}, {}, None)
  if "kind" in options:  # such as an optical flow network
    raise errors.UserError(
      f"case {base}: nothing here computes cases of kind {options['kind']!r}"
    )
  if not isinstance(options.get("state_dict"), dict):
    raise errors.UserError(f"case {base}: no {source.name} with a state_dict")
  _finite(base, arrays)
  try:
    weights = {n: weight(n, s) for n, s in options["state_dict"].items()}
    layout = layout_of(options, weights)
    kind = "finetune" if layout.num_classes else "pretrain"
    params = published.to_params(weights, layout)
    _check_video(arrays, layout)
    if kind == "pretrain":
      _check_mask(arrays, layout)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    what = f"{error} is missing" if isinstance(error, KeyError) else error
    raise errors.UserError(f"case {base}: {what}") from error
  return Case(name, kind, options, arrays, weights, params, layout)


def _read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  if not path.is_file():
    raise errors.UserError(f"case {path}: no such file")
  try:
    return foreign.read_npz(path)
  except errors.UserError as error:
    raise errors.UserError(f"case {error}") from error


def _read_options(path: pathlib.Path) -> dict:
  try:
    return foreign.read_json(path)
  except errors.UserError as error:
    raise errors.UserError(f"case {error}") from error


def _finite(base: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  for name, array in arrays.items():
    if array.dtype.kind not in "fbiu":
      raise errors.UserError(f"case {base}: {name} holds {array.dtype}")
    if not np.isfinite(array).all():
      raise errors.UserError(
        f"case {base}: {name} holds values that are not finite; there is "
        "nothing to agree with"
      )


def layout_of(options: dict, weights: dict) -> layout_lib.Layout:
  """Sizes by the shapes, heads by the options, which must agree."""
  encoder = options.get("encoder", options)
  decoder = options.get("decoder", {})
  layout = layout_lib.infer(
    weights,
    encoder_heads=encoder["heads"],
    decoder_heads=decoder.get("heads", 0),
    norm_epsilon=options.get("layer_norm_eps", 1e-6),
  )
  model = layout.model
  for section, side in ((encoder, "encoder"), (decoder, "decoder")):
    for key in ("dim", "depth"):
      found = getattr(model, f"{side}_{key}")
      if section.get(key, found) != found:
        raise ValueError(
          f"{side}.{key} is {section[key]}, its state_dict has {found}"
        )
  for key in ("tubelet", "patch"):
    if options.get(key, getattr(model, key)) != getattr(model, key):
      raise ValueError(f"{key} does not fit patch_embed.proj.weight")
  return layout


def _check_video(arrays: dict, layout: layout_lib.Layout) -> None:
  video, model = arrays["video"], layout.model
  if video.dtype != np.uint8 or video.ndim != 5 or video.shape[-1] != 3:
    raise ValueError("video must be uint8 [b, t, h, w, 3]")
  sides = (model.tubelet, model.patch, model.patch)
  if any(n % k for n, k in zip(video.shape[1:4], sides, strict=True)):
    raise ValueError(f"video {video.shape} does not divide into tubes {sides}")


def grid(case: Case) -> tuple[int, int, int]:
  """Tubes along time, height and width of the case's clips."""
  model = case.layout.model
  _, time, height, width, _ = case.arrays["video"].shape
  return time // model.tubelet, height // model.patch, width // model.patch


def _check_mask(arrays: dict, layout: layout_lib.Layout) -> None:
  mask = arrays["mask"]
  batch, time, height, width, _ = arrays["video"].shape
  tubes = time // layout.model.tubelet * (height * width)
  tubes //= layout.model.patch**2
  if mask.shape != (batch, tubes):
    raise ValueError(f"mask has shape {mask.shape}, not {(batch, tubes)}")
  counts = set(mask.astype(bool).sum(axis=1).tolist())
  if len(counts) != 1 or not 0 < min(counts) < tubes:
    raise ValueError(
      f"every clip needs the same number of masked tubes, in 1 .. {tubes - 1}, "
      f"got {sorted(counts)}"
    )
  if layout.kind == "dino":
    shape = arrays["teacher_features"].shape
    if shape != (batch, tubes, layout.target_dim):
      raise ValueError(f"teacher_features have shape {shape}")
