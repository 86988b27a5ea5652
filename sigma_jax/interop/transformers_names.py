"""VideoMAE's tensors by the names of Hugging Face's transformers, and back.

Theirs are the published tensors under other names, with qkv cut into three.

Source: transformers/models/videomae (4.x and 5.x; biases are stored under the
names of 4.x, which 5.x renames on loading).
"""

import re

import numpy as np

from sigma_jax.interop import published

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


def from_published(tensors: Tensors, layout: published.Layout) -> Tensors:
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


def to_published(tensors: Tensors) -> Tensors:
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
