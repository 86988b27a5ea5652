"""V-JEPA's and V-JEPA 2's released attentive probes.

A file of theirs holds `classifier` or a list `classifiers`; transformers'
folders (VJEPA2ForVideoClassification) hold one beside its encoder.

Sources: as of `interop.vjepa`.
"""

import pathlib
import re
from typing import NamedTuple

import numpy as np

from sigma_jax import errors
from sigma_jax.interop import (
  foreign,
  hugging_face,
  tensor_files,
  vjepa_hugging_face,
  vjepa_names,
)
from sigma_jax.interop.model import Note, say

Tensors = dict[str, np.ndarray]


class Probe(NamedTuple):
  """A probe in memory.

  params: of `heads.Head` with attentive pooling, numpy. num_blocks: of
  self-attention. num_heads: of its attention; 0: not said, V-JEPA's has those
  of its encoder, V-JEPA 2's 16. dim: d of the tokens. class_names: (): unknown.
  """

  params: dict
  num_blocks: int
  num_heads: int
  dim: int
  class_names: tuple[str, ...] = ()

  @property
  def num_classes(self) -> int:
    """How many it tells apart."""
    return len(self.params["head"]["bias"])


def read(source: str | pathlib.Path, note: Note = say) -> Probe:
  """A probe as released.

  Args:
    source: its file, or a folder of transformers.
    note: gets a line for whatever is not taken as it stands.

  Raises:
    UserError: nothing there, not such a probe, or weights that are not finite.
  """
  path = pathlib.Path(source)
  if not path.exists():
    raise errors.UserError(f"supervised.head: no file {str(source)!r}")
  names, heads = (), 0
  if path.is_dir():
    if not hugging_face.is_folder(path) or not vjepa_hugging_face.is_folder(
      path
    ):
      raise errors.UserError(
        f"supervised.head: {path} is no folder of transformers with a V-JEPA 2"
      )
    tensors = _from_transformers(tensor_files.read_folder(path, note))
    config = foreign.read_json(path / hugging_face.CONFIG)
    heads = int(config.get("num_attention_heads", 16))
    if "linear.bias" in tensors:
      count = len(tensors["linear.bias"])
      names = hugging_face.class_names(path, count, note)
  else:
    tensors = tensor_files.read(path, note)
  tensor_files.check_finite(tensors.items(), path)
  try:
    params, blocks = to_params(tensors)
  except errors.UserError as error:
    raise errors.UserError(f"supervised.head: {path}: {error}") from error
  heads = heads or (16 if blocks else 0)
  dim = params["head"]["kernel"].shape[0]
  return Probe(params, blocks, heads, dim, names)


def to_params(tensors: Tensors) -> tuple[dict, int]:
  """Our parameters of a probe, and its blocks of self-attention.

  Args:
    tensors: by the releases' names, such as pooler.query_tokens.

  Raises:
    UserError: tensors are missing or not known, or shapes do not fit.
  """
  left = {name: np.asarray(x, np.float32) for name, x in tensors.items()}
  missing = []

  def take(name):
    if name not in left:
      missing.append(name)
      return np.zeros((1, 1), np.float32)
    return left.pop(name)

  def linear(name):
    return {"kernel": take(f"{name}.weight").T, "bias": take(f"{name}.bias")}

  def norm(name):
    return {"scale": take(f"{name}.weight"), "bias": take(f"{name}.bias")}

  block = "pooler.cross_attention_block."
  pool = {
    "query_tokens": take("pooler.query_tokens").reshape(1, -1),
    "norm1": norm(f"{block}norm1"),
    "q": linear(f"{block}xattn.q"),
    "kv": linear(f"{block}xattn.kv"),
    "norm2": norm(f"{block}norm2"),
    "mlp": {name: linear(f"{block}mlp.{name}") for name in ("fc1", "fc2")},
  }
  params = {"pool": pool, "head": linear("linear")}
  # Of V-JEPA's code: there, and not applied.
  for name in ("weight", "bias"):
    left.pop(f"{block}xattn.proj.{name}", None)
  found = [re.match(r"pooler\.blocks\.(\d{1,3})\.", name) for name in left]
  depth = 1 + max((int(match[1]) for match in found if match), default=-1)
  blocks = vjepa_names.blocks(take, "pooler.blocks", depth)
  if missing or left:
    raise errors.UserError(
      "not an attentive probe of V-JEPA or V-JEPA 2 as known: missing "
      f"{sorted(missing)[:5]}, unknown {sorted(left)[:5]}"
    )
  if blocks:
    pool["stack"] = {"blocks": vjepa_names.stacked(blocks)}
  return params, depth


# transformers' names -> the releases'; keys, values (and queries) are joined.
_CROSS, _SELF = "pooler.cross_attention_block.", r"pooler.blocks.\1."
_RENAMES = (
  (r"^pooler\.cross_attention_layer\.cross_attn\.(\w)_proj\.", rf"{_CROSS}\1."),
  (r"^pooler\.cross_attention_layer\.layer_norm", f"{_CROSS}norm"),
  (r"^pooler\.cross_attention_layer\.", _CROSS),
  (
    r"^pooler\.self_attention_layers\.(\d+)\.self_attn\.(\w)_proj\.",
    rf"{_SELF}attn.\2.",
  ),
  (
    r"^pooler\.self_attention_layers\.(\d+)\.self_attn\.out_proj\.",
    rf"{_SELF}attn.proj.",
  ),
  (r"^pooler\.self_attention_layers\.(\d+)\.layer_norm", rf"{_SELF}norm"),
  (r"^pooler\.self_attention_layers\.(\d+)\.", _SELF),
  (r"^classifier\.", "linear."),
  (r"^pooler\.query_tokens$", "pooler.query_tokens"),
)


def _from_transformers(tensors: Tensors) -> Tensors:
  found = {}
  for name, value in tensors.items():
    for pattern, new in _RENAMES:
      renamed, count = re.subn(pattern, new, name)
      if count:
        found[renamed] = value
        break
  for kind in ("weight", "bias"):
    _join(found, _CROSS, ("k", "v"), "xattn.kv", kind)
    _join(found, _CROSS, ("q",), "xattn.q", kind)
  for name in [n for n in found if n.endswith(".attn.q.weight")]:
    start = name.removesuffix("attn.q.weight")
    for kind in ("weight", "bias"):
      parts = ("attn.q", "attn.k", "attn.v")
      _join(found, start, parts, "attn.qkv", kind)
  return found


def _join(found: Tensors, start: str, parts, new: str, kind: str) -> None:
  """Puts one tensor in the place of several, where all are there."""
  names = [f"{start}{part}.{kind}" for part in parts]
  if all(name in found for name in names):
    joined = np.concatenate([found.pop(name) for name in names])
    found[f"{start}{new}.{kind}"] = joined
