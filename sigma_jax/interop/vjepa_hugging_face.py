"""V-JEPA 2 in Hugging Face's transformers: its encoder, config and weights.

Source: transformers/models/vjepa2 (5.x). Predictors, poolers and classifiers
in a folder are left out, with a note.
"""

import pathlib

from sigma_jax import errors, settings
from sigma_jax.interop import (
  foreign,
  hugging_face,
  tensor_files,
  unstated,
  vjepa,
)
from sigma_jax.interop.model import Note

_TYPE, _CLASS = "vjepa2", "VJEPA2Model"
# What an option means where config.json does not name it.
_DEFAULTS = {
  "patch_size": 16,
  "crop_size": 256,
  "frames_per_clip": 64,
  "tubelet_size": 2,
  "hidden_size": 1024,
  "num_attention_heads": 16,
  "num_hidden_layers": 24,
  "layer_norm_eps": 1e-6,
  "qkv_bias": True,
  "hidden_act": "gelu",
  "in_chans": 3,
}


def is_folder(folder: str | pathlib.Path) -> bool:
  """Whether a folder of transformers holds a V-JEPA 2."""
  config = foreign.read_json(pathlib.Path(folder) / hugging_face.CONFIG)
  return config.get("model_type") == _TYPE


def read(
  folder: str | pathlib.Path, note: Note
) -> tuple[vjepa.Tensors, unstated.Facts]:
  """The encoder's tensors by the releases' names, and what config.json says.

  Raises:
    UserError: an option that our models lack, weights that are not finite, or
      no encoder.
  """
  folder = pathlib.Path(folder)
  file = folder / hugging_face.CONFIG
  config = _DEFAULTS | foreign.read_json(file)
  problems = [
    f"{key} is {config[key]!r}, not {_DEFAULTS[key]!r}"
    for key in ("qkv_bias", "hidden_act", "in_chans")
    if config[key] != _DEFAULTS[key]
  ]
  for key in ("crop_size", "frames_per_clip", "num_attention_heads"):
    if type(config[key]) is not int or config[key] <= 0:
      problems.append(f"{key} is {config[key]!r}, not a positive number")
  if problems:
    raise errors.UserError(f"{file}: {'; '.join(problems)}")
  tensors = tensor_files.read_folder(folder, note)
  tensor_files.check_finite(tensors.items(), folder)
  found = vjepa.from_transformers(tensors)
  if not vjepa.is_encoder(found):
    raise errors.UserError(
      f"{folder}: no encoder of V-JEPA 2 in it; it has "
      f"{', '.join(sorted(tensors)[:4])}, ..."
    )
  left = {name.split("encoder.")[0].split(".")[0] for name in tensors}
  if left := sorted(left - {"", "encoder", _TYPE}):
    note(f"left out of {folder}: {', '.join(left)}")
  return found, unstated.Facts(
    num_frames=config["frames_per_clip"],
    size=config["crop_size"],
    encoder_heads=config["num_attention_heads"],
    norm_epsilon=float(config["layer_norm_eps"]),
  )


def write(
  folder: str | pathlib.Path, tensors: vjepa.Tensors, run: settings.Settings
) -> str:
  """Writes an encoder's published tensors for `VJEPA2Model.from_pretrained`.

  The model's predictor, which is not there, is drawn anew by transformers.

  Returns:
    Name of the transformers class.

  Raises:
    UserError: positions that transformers' model does not have.
  """
  model = run.model
  if model.positions != "rotary":
    raise errors.UserError(
      "transformers has V-JEPA 2 alone, whose positions are rotary; this "
      f"encoder's are {model.positions!r}: export it with --format=pth"
    )
  mlp = model.encoder_mlp_dim or model.mlp_ratio * model.encoder_dim
  config = _DEFAULTS | {
    "model_type": _TYPE,
    "architectures": [_CLASS],
    "patch_size": model.patch,
    "tubelet_size": model.tubelet,
    "crop_size": run.data.size,
    "frames_per_clip": run.data.num_frames,
    "hidden_size": model.encoder_dim,
    "num_attention_heads": model.encoder_heads,
    "num_hidden_layers": model.encoder_depth,
    "mlp_ratio": mlp / model.encoder_dim,
    "layer_norm_eps": model.norm_epsilon,
  }
  folder = pathlib.Path(folder)
  hugging_face.write_folder(
    folder, vjepa.to_transformers(tensors), {hugging_face.CONFIG: config}
  )
  return _CLASS
