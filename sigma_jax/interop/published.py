"""Names and layouts of the published SIGMA and VideoMAE state dicts.

Theirs (PyTorch) and ours differ so:

  theirs                                   ours
  encoder.blocks.3.mlp.fc1.weight          encoder/stack/blocks/mlp/fc1/kernel
    [out, in], one a block                   [depth, in, out]
  encoder.patch_embed.proj.weight          encoder/embed/kernel
    [d, 3, frames, rows, columns]            [frames * rows * columns * 3, d]
  mask_token [1, 1, d]                     decoder/mask_token [d]
  encoder_to_decoder.weight                decoder/embed/kernel
  head.0, head.2, ... (SIGMA's mlp)        target/layers/0, 1, ...
  patch_embed, blocks, fc_norm, head       encoder/embed, encoder/stack, norm,
    (fine-tuning)                            head of `models.heads.Classifier`

Conversion moves values and never changes them: both ways and back is bitwise.
"""

from typing import Any, NamedTuple

import numpy as np

from sigma_jax import errors
from sigma_jax.interop import layout as layout_lib
from sigma_jax.models import positions

Layout = layout_lib.Layout
Tensors = dict[str, np.ndarray]


class Entry(NamedTuple):
  """One of our leaves and its published counterparts.

  path: keys into the nested params. names: one published name, or one a block
  where the leaf is stacked. shape: of each published tensor.
  """

  path: tuple
  names: tuple[str, ...]
  stacked: bool
  shape: tuple[int, ...]


def entries(layout: Layout) -> list[Entry]:
  """All leaves of a layout's params with their published names and shapes."""
  found = []
  for path, leaf in _leaves(layout_lib.shapes(layout)):
    stacked = "blocks" in path
    name = _name(path, layout)
    depth = leaf.shape[0] if stacked else 0
    names = tuple(name.format(i) for i in range(depth)) if stacked else (name,)
    one = np.broadcast_to(np.float32(0), leaf.shape[stacked:])
    shape = _to_published(one, path, layout).shape
    found.append(Entry(path, names, stacked, shape))
  return found


def to_params(tensors: Tensors, layout: Layout) -> dict:
  """Our nested params, float32 numpy, from a published state dict.

  Raises:
    UserError: one error that lists every unknown, missing and mis-shaped name.
  """
  table = entries(layout)
  tensors = drop_positions(tensors, layout)
  _check(tensors, table)
  params = {}
  for entry in table:
    arrays = [
      _to_ours(np.asarray(tensors[name], np.float32), entry.path)
      for name in entry.names
    ]
    _set(params, entry.path, np.stack(arrays) if entry.stacked else arrays[0])
  return params


def from_params(params: dict, layout: Layout) -> Tensors:
  """The inverse of `to_params`: float32 tensors in PyTorch's layout.

  Raises:
    UserError: the params are not of this layout.
  """
  table = entries(layout)
  expected = {entry.path for entry in table}
  given = dict(_leaves(params))
  if set(given) != expected:
    strange = sorted(set(given) ^ expected, key=str)
    raise errors.UserError(
      "these parameters have no published counterpart, or are missing: "
      + ", ".join("/".join(map(str, path)) for path in strange)
    )
  tensors = {}
  for entry in table:
    leaf = np.asarray(given[entry.path], np.float32)
    for name, array in zip(
      entry.names, leaf if entry.stacked else [leaf], strict=True
    ):
      tensors[name] = np.ascontiguousarray(
        _to_published(array, entry.path, layout)
      )
  return tensors


def drop_positions(tensors: Tensors, layout: Layout) -> Tensors:
  """Without stored position tables, which are computed and not learnt.

  Raises:
    UserError: a stored table is not the fixed sinusoid one.
  """
  kept = dict(tensors)
  for name in [n for n in tensors if n.split(".")[-1] == "pos_embed"]:
    table = np.asarray(kept.pop(name), np.float32)
    table = table.reshape(-1, table.shape[-1])
    fixed = positions.sinusoid_table(*table.shape)
    if not np.allclose(table, fixed, atol=1e-4):
      raise errors.UserError(
        f"{name} {list(table.shape)} is not the fixed sinusoid table; models "
        "with learnt or interpolated positions cannot be imported"
      )
  return kept


def _check(tensors: Tensors, table: list[Entry]) -> None:
  wanted = {name: entry.shape for entry in table for name in entry.names}
  problems = [f"unknown {name}" for name in sorted(set(tensors) - set(wanted))]
  for name, shape in wanted.items():
    if name not in tensors:
      problems.append(f"missing {name}")
    elif tuple(tensors[name].shape) != shape:
      got = list(tensors[name].shape)
      problems.append(f"{name} has shape {got}, expected {list(shape)}")
    elif tensors[name].dtype.kind in "iub":
      problems.append(f"{name} holds {tensors[name].dtype}")
  if problems:
    raise errors.UserError(
      f"the state dict does not fit a {len(wanted)}-tensor model, "
      f"{len(problems)} problems: {'; '.join(problems)}"
    )


_MODULES = {
  ("encoder", "norm"): "encoder.norm",
  ("decoder", "embed"): "encoder_to_decoder",
  ("decoder", "norm"): "decoder.norm",
  ("decoder", "head"): "decoder.head",
  ("norm",): "fc_norm",
  ("head",): "head",
}
_LEAVES = {"kernel": "weight", "scale": "weight"}


def _name(path: tuple, layout: Layout) -> str:
  """Published name of a leaf; {} stands for the block's number."""
  *module, leaf = path
  leaf = _LEAVES.get(leaf, leaf)
  side = "" if layout.num_classes else "encoder."
  if path == ("prototypes",) or leaf == "mask_token":
    return leaf
  if "blocks" in path:
    side = "decoder." if path[0] == "decoder" else side
    return ".".join([f"{side}blocks.{{}}", *map(str, path[3:-1]), leaf])
  if tuple(module) == ("encoder", "embed"):
    return f"{side}patch_embed.proj.{leaf}"
  if module[:2] == ["target", "layers"]:
    return f"head.{2 * module[2]}.{leaf}"
  return f"{_MODULES[tuple(module)]}.{leaf}"


def _to_ours(array: np.ndarray, path: tuple) -> np.ndarray:
  if path == ("encoder", "embed", "kernel"):
    dim = array.shape[0]
    return np.ascontiguousarray(array.transpose(2, 3, 4, 1, 0)).reshape(-1, dim)
  if path[-1] == "kernel":
    return np.ascontiguousarray(array.T)
  return array.reshape(-1) if path[-1] == "mask_token" else array


def _to_published(array: np.ndarray, path: tuple, layout: Layout):
  if path == ("encoder", "embed", "kernel"):
    patch = layout.model.patch
    shape = (layout.model.tubelet, patch, patch, 3, array.shape[-1])
    return array.reshape(shape).transpose(4, 3, 0, 1, 2)
  if path[-1] == "kernel":
    return array.T
  return array[None, None] if path[-1] == "mask_token" else array


def _leaves(tree: Any, path: tuple = ()):
  """(path, leaf) of nested dicts, in the order of their keys."""
  if isinstance(tree, dict):
    for key, value in tree.items():
      yield from _leaves(value, (*path, key))
  else:
    yield path, tree


def _set(tree: dict, path: tuple, value: Any) -> None:
  for key in path[:-1]:
    tree = tree.setdefault(key, {})
  tree[path[-1]] = value
