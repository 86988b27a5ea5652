"""Encoders of V-JEPA and V-JEPA 2 among other people's checkpoints.

Their files hold `encoder`, `predictor` and `target_encoder`: the last, the slow
copy, is what their own evaluations take, and what is taken here
(`state_dicts`). transformers' folders hold one, of whichever its maker chose.

Sources: https://github.com/facebookresearch/jepa at 51c59d5 and /vjepa2 at
c2963a4; transformers/models/vjepa2 (5.x).
"""

import math
import re

import numpy as np

from sigma_jax import errors, settings
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop import vjepa_names
from sigma_jax.models import positions

Tensors = dict[str, np.ndarray]

KEY = "target_encoder"  # of the state dict in a file
# ViT-H has 16 heads of 80; all others have heads of 64.
_HEADS = {1280: 16}
_SLOTS = 8  # in time, of all of V-JEPA's released models
_KINDS = 2  # of masks, each with a token of its own in V-JEPA's predictor
# The moving average rounds the table, which it averages like a parameter.
_ROUNDING = 1e-3


def is_encoder(tensors: Tensors) -> bool:
  """Whether names and shapes are of such an encoder: it has a key bias."""
  embed = tensors.get("patch_embed.proj.weight")
  return (
    embed is not None
    and embed.ndim == 5
    and "blocks.0.attn.qkv.bias" in tensors
    and "norm.weight" in tensors
  )


def read(
  tensors: Tensors,
  *,
  heads: int = 0,
  num_frames: int = 0,
  size: int = 0,
  norm_epsilon: float = 0.0,
  kind: str = "",
) -> tuple[layout_lib.Layout, dict, dict[str, int], str]:
  """An encoder by its published names, which `is_encoder`.

  Args:
    tensors: by name, without wrappers' prefixes.
    heads, num_frames, size, norm_epsilon: 0: the published ones.
    kind: `settings.Model.positions`, where a config says it; "": by the table.

  Returns:
    Layout, our parameters, {"num_frames", "size"}, and a line about what is
    taken to be so.

  Raises:
    UserError: names or shapes that do not fit.
  """
  embed = tensors["patch_embed.proj.weight"].shape
  dim, _, tubelet, patch, _ = embed
  if dim % 64 and not heads:
    raise errors.UserError(
      f"no published V-JEPA has width {dim}, so its number of heads is "
      "unknown; give it as encoder_heads"
    )
  params = vjepa_names.to_params(
    "encoder", {n: x for n, x in tensors.items() if "mask_tokens" not in n}
  )
  hidden = params["stack"]["blocks"]["mlp"]["fc1"]["bias"].shape[-1]
  whole = hidden % dim == 0
  kind, grid = _positions(tensors, kind)
  rotary = kind == "rotary"
  clip = {"num_frames": 16, "size": 256}  # as V-JEPA 2 begins its training
  if grid:
    clip = {"num_frames": grid[0] * tubelet, "size": grid[1] * patch}
  given = {"num_frames": num_frames, "size": size}
  clip |= {name: value for name, value in given.items() if value}
  heads = heads or _HEADS.get(dim, dim // 64)
  model = settings.Model(
    tubelet=tubelet,
    patch=patch,
    encoder_dim=dim,
    encoder_depth=len(params["stack"]["blocks"]["mlp"]["fc1"]["bias"]),
    encoder_heads=heads,
    mlp_ratio=hidden // dim if whole else 4,
    encoder_mlp_dim=0 if whole else hidden,
    positions=kind,
    key_bias=True,
    norm_epsilon=norm_epsilon or 1e-6,
    pool_normed=True,
    init="vjepa2" if rotary else "vjepa",
    # Clips of another size get this table interpolated, as in their code.
    table_grid=grid,
    # There is none; its heads have to be as wide as positions ask for.
    decoder_dim=dim,
    decoder_depth=1,
    decoder_heads=heads,
  )
  _check_shapes(model, params)
  name = "V-JEPA 2" if rotary else "V-JEPA"
  line = f"taken to be {name}'s: {model.encoder_heads} heads"
  line += f", clips of {clip['num_frames']} x {clip['size']} px"
  if rotary and any(n.endswith("pos_embed") for n in tensors):
    line += "; its position table is left out: attention is turned instead"
  return layout_lib.Layout(model), {"encoder": params}, clip, line


def _positions(tensors: Tensors, kind: str) -> tuple[str, tuple[int, ...]]:
  """`settings.Model.positions`, and the grid of the table that is stored.

  Files of V-JEPA 2 may hold a table as well, which is not used. The predictor
  beside an encoder tells them apart: it has ten mask tokens, V-JEPA's has two.

  Raises:
    UserError: a table that is not V-JEPA's.
  """
  table = tensors.get("pos_embed")
  tokens = sum(name.startswith("mask_tokens.") for name in tensors)
  if not kind and (table is None or tokens > _KINDS):
    kind = "rotary"
  if kind == "rotary" or table is None:
    return kind, ()
  table = np.asarray(table, np.float32).reshape(-1, table.shape[-1])
  for one in (kind,) if kind else ("sine_3d", "sine_3d_quarter"):
    for grid in _grids(len(table)):
      rows = positions.sinusoid_table_3d(
        table.shape[1], grid, uniform=one == "sine_3d"
      )
      if np.allclose(table, rows, atol=_ROUNDING):
        return one, grid
  raise errors.UserError(
    f"its pos_embed {list(table.shape)} is not V-JEPA's table of any clip of "
    "squares; models with other positions cannot be read"
  )


def _grids(count: int):
  """Clips of squares with so many tubes, the usual eight time slots first."""
  slots = [n for n in range(1, count + 1) if count % n == 0]
  for n in sorted(slots, key=lambda n: n != _SLOTS):
    side = math.isqrt(count // n)
    if n * side**2 == count:
      yield n, side, side


def _check_shapes(model: settings.Model, params: dict) -> None:
  """Raises UserError naming what is not of the shape that the others say."""
  wanted = layout_lib.shapes(layout_lib.Layout(model))["encoder"]
  found = dict(_shapes(params))
  wrong = [
    f"{name} is {list(found.get(name, ()))}, expected {list(shape)}"
    for name, shape in _shapes(wanted)
    if found.get(name) != shape
  ]
  if wrong:
    raise errors.UserError(
      f"the encoder of V-JEPA does not fit together: {'; '.join(wrong[:5])}"
    )


def _shapes(tree, name: str = ""):
  for key, value in tree.items():
    path = f"{name}/{key}" if name else str(key)
    if isinstance(value, dict):
      yield from _shapes(value, path)
    else:
      yield path, tuple(value.shape)


# transformers' names -> the releases'; query, key and value are joined after.
_RENAMES = (
  (r"^(?:vjepa2\.)?encoder\.embeddings\.patch_embeddings\.", "patch_embed."),
  (r"^(?:vjepa2\.)?encoder\.layernorm\.", "norm."),
  (r"^(?:vjepa2\.)?encoder\.layer\.(\d+)\.attention\.", r"blocks.\1.attn."),
  (r"^(?:vjepa2\.)?encoder\.layer\.(\d+)\.", r"blocks.\1."),
)


def from_transformers(tensors: Tensors) -> Tensors:
  """The encoder's tensors by the releases' names; all others are left out."""
  found = {}
  for name, value in tensors.items():
    for pattern, new in _RENAMES:
      name, count = re.subn(pattern, new, name)
      if count:
        found[name] = value
        break
  parts = ("query", "key", "value")
  for name in [n for n in found if ".attn.query." in n]:
    names = [name.replace(".query.", f".{part}.") for part in parts]
    if all(one in found for one in names):
      joined = np.concatenate([found.pop(one) for one in names])
      found[name.replace(".query.", ".qkv.")] = joined
  return found


def to_transformers(tensors: Tensors) -> Tensors:
  """The inverse of `from_transformers`, as VJEPA2Model names them."""
  found = {}
  for name, value in tensors.items():
    name = re.sub(r"^patch_embed\.", "embeddings.patch_embeddings.", name)
    name = re.sub(r"^norm\.", "layernorm.", name)
    name = re.sub(r"^blocks\.(\d+)\.", r"layer.\1.", name)
    name = "encoder." + name.replace(".attn.", ".attention.")
    if ".qkv." not in name:
      found[name] = value
      continue
    for part, rows in zip(
      ("query", "key", "value"), np.split(value, 3), strict=True
    ):
      found[name.replace(".qkv.", f".{part}.")] = rows
  return found
