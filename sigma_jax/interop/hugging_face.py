"""The VideoMAE layout of Hugging Face's transformers: config and weights.

`VideoMAEForPreTraining` can hold models that predict pixels; of SIGMA's others
it can hold the encoder (`VideoMAEModel`), and of fine-tuned ones all
(`VideoMAEForVideoClassification`). Two norms of theirs have a fixed epsilon of
1e-5, `fc_norm` and the decoder's, where ours and the published models have
1e-6: features are the same, logits almost (below 1e-4, tested).

Source: transformers/models/videomae (4.x and 5.x).
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any

from sigma_jax import errors, files, full_disk, settings
from sigma_jax.interop import (
  foreign,
  published,
  tensor_files,
  transformers_names,
)
from sigma_jax.interop import layout as layout_lib
from sigma_jax.models import vit

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# How clips are made to fit; without it transformers takes other colours' means.
PREPROCESSOR = "preprocessor_config.json"
Note = Callable[[str], None]

_ARCHITECTURES = {
  "finetune": "VideoMAEForVideoClassification",
  "pixel": "VideoMAEForPreTraining",
  "encoder": "VideoMAEModel",
}
_OURS = {
  "hidden_size": "encoder_dim",
  "num_hidden_layers": "encoder_depth",
  "num_attention_heads": "encoder_heads",
  "decoder_hidden_size": "decoder_dim",
  "decoder_num_hidden_layers": "decoder_depth",
  "decoder_num_attention_heads": "decoder_heads",
  "tubelet_size": "tubelet",
  "patch_size": "patch",
  "layer_norm_eps": "norm_epsilon",
}

_SIDES = ("image_size", "patch_size")


def is_folder(path: str | pathlib.Path) -> bool:
  """Whether `path` is a folder that transformers would load a model from.

  Raises:
    UserError: its config.json is not JSON.
  """
  config = pathlib.Path(path) / CONFIG
  return config.is_file() and "model_type" in foreign.read_json(config)


def write(
  folder: str | pathlib.Path,
  params: dict,
  layout: published.Layout,
  *,
  num_frames: int,
  size: int,
  class_names: tuple[str, ...] = (),
) -> str:
  """Writes config.json, preprocessor_config.json and model.safetensors.

  Args:
    folder: for `from_pretrained(folder)`; made if missing.
    params: of the layout; of SIGMA's targets only the encoder is written.
    layout: what params are.
    num_frames, size: clip geometry; fixes the position table.
    class_names: of a fine-tuned model; (): LABEL_0 and so on.

  Returns:
    Name of the transformers class that the folder holds.
  """
  if layout.kind not in _ARCHITECTURES:
    layout = published.Layout(layout.model)
    params = {"encoder": params["encoder"]}
  tensors = transformers_names.from_published(
    published.from_params(params, layout), layout
  )
  folder = pathlib.Path(folder)
  config = _config(layout, num_frames, size, class_names)
  write_folder(
    folder, tensors, {PREPROCESSOR: _preprocessor(size), CONFIG: config}
  )
  return config["architectures"][0]


def write_folder(folder: pathlib.Path, tensors: dict, about: dict) -> None:
  """Writes model.safetensors, and then the JSON files, in their order.

  The last should be config.json, which makes the folder a model's.
  """
  from safetensors.numpy import save_file

  folder.mkdir(parents=True, exist_ok=True)
  partial = folder / (WEIGHTS + ".tmp")
  try:
    with full_disk.naming(folder / WEIGHTS):
      save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(folder / WEIGHTS)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
  for name, content in about.items():
    _write_json(folder / name, content)


def read(
  folder: str | pathlib.Path, note: Note = lambda line: None
) -> tuple[dict, published.Layout, dict[str, int]]:
  """Reads a folder as `write` or transformers makes it.

  Args:
    folder: its weights may be safetensors or PyTorch's, whole or in shards.
    note: gets a line for whatever is not taken as it stands.

  Returns:
    Our params, their layout, and {"num_frames", "size"}.

  Raises:
    UserError: not VideoMAE's, an option that our models lack, weights that are
      not finite, or tensors that do not fit, all of them listed.
  """
  folder = pathlib.Path(folder)
  config = _read_config(folder)
  tensors = tensor_files.read_folder(folder, note)
  tensor_files.check_finite(tensors.items(), folder)
  tensors = transformers_names.to_published(tensors)
  if "head.weight" in tensors and not config["use_mean_pooling"]:
    raise errors.UserError(
      f"{folder / CONFIG}: it classifies by its first token, not by the mean"
    )
  layout = layout_lib.infer(
    tensors,
    encoder_heads=config["num_attention_heads"],
    decoder_heads=config["decoder_num_attention_heads"],
    norm_epsilon=float(config["layer_norm_eps"]),
    normalized=config["norm_pix_loss"],
  )
  if not layout.num_classes and _ends_without_norm(tensors, config):
    if layout.target_dim:
      note(
        "decoder left out: it reads tokens without a last LayerNorm "
        "(use_mean_pooling), which our pre-trained models have"
      )
    layout = published.Layout(layout.model, final_norm=False)
    names = [name for name in tensors if name.startswith("encoder.")]
    tensors = {name: tensors[name] for name in names}
  params = published.to_params(tensors, layout)
  geometry = {"num_frames": config["num_frames"], "size": config["image_size"]}
  return params, layout, geometry


def _ends_without_norm(tensors: dict, config: dict) -> bool:
  """As transformers makes a model that is not told otherwise."""
  named = any(name.startswith("encoder.norm.") for name in tensors)
  return config["use_mean_pooling"] is True and not named


def class_names(
  folder: str | pathlib.Path, num_classes: int, note: Note
) -> tuple[str, ...]:
  """What config.json calls the classes; () where they are only numbered."""
  config = foreign.read_json(pathlib.Path(folder) / CONFIG)
  found = config.get("id2label")
  if not found and isinstance(config.get("label2id"), dict):
    found = {index: name for name, index in config["label2id"].items()}
  if not isinstance(found, dict):
    return ()
  by_index = {str(index): str(name) for index, name in found.items()}
  wanted = [str(index) for index in range(num_classes)]
  if set(by_index) != set(wanted):
    note(
      f"class names of {CONFIG} left out: it has {len(by_index)}, the "
      f"classifier {num_classes}"
    )
    return ()
  names = tuple(by_index[index] for index in wanted)
  return () if names == _numbered(num_classes) else names


def _numbered(count: int) -> tuple[str, ...]:
  """What transformers calls classes without names."""
  return tuple(f"LABEL_{i}" for i in range(count))


def _config(
  layout: published.Layout,
  num_frames: int,
  size: int,
  class_names: tuple[str, ...] = (),
) -> dict:
  model = layout.model
  config = {
    "model_type": "videomae",
    "architectures": [_ARCHITECTURES[layout.kind]],
    "image_size": size,
    "num_frames": num_frames,
    "num_channels": 3,
    "hidden_act": "gelu",
    "qkv_bias": True,
    # With mean pooling there is no last norm: fine-tuned models alone.
    "use_mean_pooling": layout.kind == "finetune" or not layout.final_norm,
    "norm_pix_loss": layout.normalized,
    "intermediate_size": model.mlp_ratio * model.encoder_dim,
    "decoder_intermediate_size": model.mlp_ratio * model.decoder_dim,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
  }
  config |= {theirs: getattr(model, ours) for theirs, ours in _OURS.items()}
  if layout.num_classes:
    names = class_names or _numbered(layout.num_classes)
    config["id2label"] = dict(enumerate(names))
    config["label2id"] = {name: i for i, name in enumerate(names)}
  return config


def _preprocessor(size: int) -> dict:
  """How our evaluations make a clip of a frame, in transformers' words."""
  return {
    "image_processor_type": "VideoMAEImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": size},
    "resample": 2,  # bilinear
    "do_center_crop": True,
    "crop_size": {"height": size, "width": size},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(vit.IMAGE_MEAN),
    "image_std": list(vit.IMAGE_STD),
  }


def _read_config(folder: pathlib.Path) -> dict:
  """config.json with every option, as our models mean them.

  Raises:
    UserError: an option that our models lack.
  """
  run = settings.Settings()
  # What an option means where config.json does not name it. "architectures" is
  # null where no model has been saved with it, and has no reader.
  config = _config(published.Layout(run.model), 16, 224)
  config |= {"use_mean_pooling": True, "layer_norm_eps": 1e-12}
  config |= foreign.read_json(folder / CONFIG)
  for key in _SIDES:
    config[key] = _side(config[key])
  _check(config, folder)
  return config


def _side(value: Any) -> Any:
  """[16, 16], height and width, is 16."""
  if isinstance(value, list) and len(set(map(str, value))) == 1:
    return value[0]
  return value


def _check(config: dict, folder: pathlib.Path) -> None:
  """Refuses what our models cannot compute."""
  problems = []
  if config["model_type"] != "videomae":
    problems.append(f"model_type is {config['model_type']!r}, not 'videomae'")
  if config["hidden_act"] != "gelu":
    problems.append(f"hidden_act is {config['hidden_act']!r}, not 'gelu'")
  if not config.get("qv_bias", config["qkv_bias"]):
    problems.append("it has no query and value biases")
  for key in _SIDES:
    if isinstance(config[key], list):
      problems.append(f"{key} is {config[key]}; only squares are supported")
  for key in ("image_size", "num_frames", *_OURS):
    kinds = (int, float) if key == "layer_norm_eps" else int
    wrong = isinstance(config[key], bool) or not isinstance(config[key], kinds)
    if key in _SIDES and isinstance(config[key], list):
      continue
    if wrong or config[key] <= 0:
      problems.append(f"{key} is {config[key]!r}, not a positive number")
  if not isinstance(config["norm_pix_loss"], bool):
    problems.append(f"norm_pix_loss is {config['norm_pix_loss']!r}")
  if problems:
    raise errors.UserError(f"{folder / CONFIG}: {'; '.join(problems)}")


def _write_json(file: pathlib.Path, content: dict) -> None:
  files.write_whole(file, json.dumps(content, indent=1) + "\n")
