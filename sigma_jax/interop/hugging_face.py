"""The VideoMAE layout of Hugging Face's transformers: config and safetensors.

Theirs are the published tensors under other names, with qkv cut into three.
`VideoMAEForPreTraining` can hold models that predict pixels; of SIGMA's others
it can hold the encoder (`VideoMAEModel`), and of fine-tuned ones all
(`VideoMAEForVideoClassification`). Two norms of theirs have a fixed epsilon of
1e-5, `fc_norm` and the decoder's, where ours and the published models have
1e-6: features are the same, logits almost (below 1e-4, tested).

Source: transformers/models/videomae (4.x and 5.x; biases are stored under the
names of 4.x, which 5.x renames on loading).
"""

import json
import pathlib
import re

import numpy as np

from sigma_jax import errors, files, settings
from sigma_jax.interop import foreign, published
from sigma_jax.interop import layout as layout_lib

CONFIG, WEIGHTS = "config.json", "model.safetensors"
Tensors = dict[str, np.ndarray]

# Published name -> theirs, inside a block.
_BLOCK = {
  "norm1": "layernorm_before",
  "norm2": "layernorm_after",
  "attn.q_bias": "attention.attention.q_bias",
  "attn.v_bias": "attention.attention.v_bias",
  "attn.proj": "attention.output.dense",
  "mlp.fc1": "intermediate.dense",
  "mlp.fc2": "output.dense",
}
_OTHERS = {
  "encoder.patch_embed.proj": "videomae.embeddings.patch_embeddings.projection",
  "encoder.norm": "videomae.layernorm",
  "encoder_to_decoder": "encoder_to_decoder",
  "mask_token": "mask_token",
  "decoder.norm": "decoder.norm",
  "decoder.head": "decoder.head",
}
_FINETUNE = {
  "patch_embed.proj": "videomae.embeddings.patch_embeddings.projection",
  "fc_norm": "fc_norm",
  "head": "classifier",
}
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


def is_folder(path: str | pathlib.Path) -> bool:
  """Whether `path` is a folder that transformers would load VideoMAE from."""
  config = pathlib.Path(path) / CONFIG
  return config.is_file() and "model_type" in foreign.read_json(config)


def write(
  folder: str | pathlib.Path,
  params: dict,
  layout: published.Layout,
  *,
  num_frames: int,
  size: int,
) -> str:
  """Writes config.json and model.safetensors, made if missing.

  Args:
    folder: for `from_pretrained(folder)`.
    params: of the layout; of SIGMA's targets only the encoder is written.
    layout: what params are.
    num_frames, size: clip geometry; fixes the position table.

  Returns:
    Name of the transformers class that the folder holds.
  """
  from safetensors.numpy import save_file

  if layout.kind not in _ARCHITECTURES:
    layout = published.Layout(layout.model)
    params = {"encoder": params["encoder"]}
  tensors = _rename(published.from_params(params, layout), layout)
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  config = _config(layout, num_frames, size)
  partial = folder / (WEIGHTS + ".tmp")
  save_file(tensors, partial, metadata={"format": "pt"})
  partial.replace(folder / WEIGHTS)
  files.write_whole(folder / CONFIG, json.dumps(config, indent=1) + "\n")
  return config["architectures"][0]


def read(
  folder: str | pathlib.Path,
) -> tuple[dict, published.Layout, dict[str, int]]:
  """Reads a folder as `write` or transformers makes it.

  Returns:
    Our params, their layout, and {"num_frames", "size"}.

  Raises:
    UserError: not VideoMAE's, an option that our models lack, or tensors that
      do not fit, all of them listed.
  """
  folder = pathlib.Path(folder)
  config = _defaults() | foreign.read_json(folder / CONFIG)
  _check(config, folder)
  if not (folder / WEIGHTS).is_file():
    raise errors.UserError(
      f"no {WEIGHTS} in {folder}; save_pretrained() of transformers writes it"
    )
  tensors = _published(foreign.read_safetensors(folder / WEIGHTS))
  layout = layout_lib.infer(
    tensors,
    encoder_heads=config["num_attention_heads"],
    decoder_heads=config["decoder_num_attention_heads"],
    norm_epsilon=float(config["layer_norm_eps"]),
  )
  params = published.to_params(tensors, layout)
  geometry = {"num_frames": config["num_frames"], "size": config["image_size"]}
  return params, layout, geometry


def _rename(tensors: Tensors, layout: published.Layout) -> Tensors:
  """Published tensors -> theirs."""
  out = {}
  for name, tensor in tensors.items():
    block = re.fullmatch(r"(decoder\.|encoder\.)?blocks\.(\d+)\.(.+)", name)
    if block is None:
      stem, dot, leaf = name.rpartition(".")
      table = _FINETUNE if layout.num_classes else _OTHERS
      out[table[name] if name in table else table[stem] + dot + leaf] = tensor
      continue
    side = "decoder.decoder_layers" if block[1] == "decoder." else None
    prefix = f"{side or 'videomae.encoder.layer'}.{block[2]}."
    if block[3] == "attn.qkv.weight":
      for part, value in zip(
        ("query", "key", "value"), np.split(tensor, 3), strict=True
      ):
        key = f"{prefix}attention.attention.{part}.weight"
        out[key] = np.ascontiguousarray(value)
    else:
      stem, dot, leaf = block[3].rpartition(".")
      whole = _BLOCK.get(block[3])
      out[prefix + (whole or _BLOCK[stem] + dot + leaf)] = tensor
  return out


def _published(tensors: Tensors) -> Tensors:
  """Theirs -> published names; what is not theirs keeps its name."""
  if not any(name.startswith("videomae.") for name in tensors):
    tensors = {"videomae." + name: t for name, t in tensors.items()}
  finetuned = "classifier.weight" in tensors
  side = "" if finetuned else "encoder."
  blocks = {theirs: ours for ours, theirs in _BLOCK.items()}
  blocks["attention.attention.query.bias"] = "attn.q_bias"
  blocks["attention.attention.value.bias"] = "attn.v_bias"
  table = _FINETUNE if finetuned else _OTHERS
  others = {theirs: ours for ours, theirs in table.items()}
  out, qkv = {}, {}
  pattern = r"(videomae\.encoder\.layer|decoder\.decoder_layers)\.(\d+)\.(.+)"
  for name, tensor in tensors.items():
    block = re.fullmatch(pattern, name)
    stem, dot, leaf = (block[3] if block else name).rpartition(".")
    names = blocks if block else others
    prefix = ""
    if block:
      decoder = block[1].startswith("decoder")
      prefix = f"{'decoder.' if decoder else side}blocks.{block[2]}."
    part = stem.removeprefix("attention.attention.")
    if block and part in ("query", "key", "value") and leaf == "weight":
      qkv.setdefault(prefix + "attn.qkv.weight", {})[part] = tensor
    elif stem + dot + leaf in names:
      out[prefix + names[stem + dot + leaf]] = tensor
    elif stem in names:
      out[prefix + names[stem] + dot + leaf] = tensor
    else:
      out[name] = tensor  # the strict check will list it
  for name, parts in qkv.items():
    if len(parts) == 3:
      order = [parts[part] for part in ("query", "key", "value")]
      out[name] = np.concatenate(order)
  return out


def _config(layout: published.Layout, num_frames: int, size: int) -> dict:
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
    "use_mean_pooling": layout.kind == "finetune",
    "norm_pix_loss": True,
    "intermediate_size": model.mlp_ratio * model.encoder_dim,
    "decoder_intermediate_size": model.mlp_ratio * model.decoder_dim,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
  }
  config |= {theirs: getattr(model, ours) for theirs, ours in _OURS.items()}
  if layout.num_classes:
    names = [f"LABEL_{i}" for i in range(layout.num_classes)]
    config["id2label"] = dict(enumerate(names))
    config["label2id"] = {name: i for i, name in enumerate(names)}
  return config


def _defaults() -> dict:
  """What an option means where config.json does not name it."""
  run = settings.Settings()
  base = _config(published.Layout(run.model), 16, 224)
  return base | {"use_mean_pooling": True, "layer_norm_eps": 1e-12}


def _check(config: dict, folder: pathlib.Path) -> None:
  """Refuses what our models cannot compute."""
  problems = []
  if config["model_type"] != "videomae":
    problems.append(f"model_type is {config['model_type']!r}, not 'videomae'")
  if config["hidden_act"] != "gelu":
    problems.append(f"hidden_act is {config['hidden_act']!r}, not 'gelu'")
  if not config.get("qv_bias", config["qkv_bias"]):
    problems.append("it has no query and value biases")
  for key in ("image_size", "patch_size"):
    if not isinstance(config[key], int):
      problems.append(f"{key} is {config[key]!r}; only squares are supported")
  for key in ("num_frames", "num_attention_heads"):
    if type(config[key]) is not int or config[key] < 1:
      problems.append(f"{key} is {config[key]!r}, not a number from 1 on")
  names = config["architectures"] or ()
  classifies = "VideoMAEForVideoClassification" in names
  if classifies and not config["use_mean_pooling"]:
    problems.append("it classifies by its first token, not by the mean")
  if problems:
    raise errors.UserError(f"{folder / CONFIG}: {'; '.join(problems)}")
