"""Names and layouts of V-JEPA's and V-JEPA 2's published networks.

Theirs (PyTorch, without `module.` and `backbone.`) and ours differ so:

  theirs                              ours
  encoder.blocks.3.attn.qkv.weight    encoder/stack/blocks/attn/qkv/kernel
    [3 d, d], one a block               [depth, d, 3 d]
  encoder.blocks.3.attn.qkv.bias      .../attn/{q_bias, k_bias, v_bias}
  encoder.patch_embed.proj.weight     encoder/embed/kernel
    [d, 3, frames, rows, columns]       [frames * rows * columns * 3, d]
  predictor.predictor_embed, _norm,   predictor/embed, norm, head
    _proj
  predictor.predictor_blocks          predictor/stack/blocks
  predictor.mask_tokens.0 [1, 1, d]   predictor/mask_tokens [kinds, d]

Conversion moves values and never changes them. Position tables, which are
computed, are left out.
"""

import math
import re
from collections.abc import Callable

import numpy as np

from sigma_jax import errors

Tensors = dict[str, np.ndarray]

_MODULES = {
  "encoder": {"embed": "patch_embed.proj", "norm": "norm"},
  "predictor": {
    "embed": "predictor_embed",
    "norm": "predictor_norm",
    "head": "predictor_proj",
  },
}
_BLOCKS = {"encoder": "blocks", "predictor": "predictor_blocks"}
_LEAVES = {"kernel": "weight", "scale": "weight"}
_BIASES = ("q_bias", "k_bias", "v_bias")


def to_published(part: str, params: dict, tubelet: int, patch: int) -> Tensors:
  """A network's parameters as tensors by published name.

  Args:
    part: encoder or predictor.
    params: ours, nested dict of arrays.
    tubelet, patch: a tube's frames and pixels, of the tube embedding.
  """
  found = {}
  for path, leaf in _leaves(params):
    leaf = np.asarray(leaf)
    if path == ("mask_tokens",):
      for number, token in enumerate(leaf):
        found[f"mask_tokens.{number}"] = token[None, None]
    elif path[0] != "stack":
      if part == "encoder" and path == ("embed", "kernel"):
        shape = (tubelet, patch, patch, 3, leaf.shape[-1])
        leaf = leaf.reshape(shape).transpose(4, 3, 0, 1, 2)
        found["patch_embed.proj.weight"] = np.ascontiguousarray(leaf)
        continue
      name = f"{_MODULES[part][path[0]]}.{_LEAVES.get(path[1], path[1])}"
      found[name] = leaf.T if path[-1] == "kernel" else leaf
    elif path[-1] not in _BIASES:
      for block, one in enumerate(leaf):
        found[_of_block(part, block, path)] = (
          one.T if path[-1] == "kernel" else one
        )
  attention = params["stack"]["blocks"]["attn"]
  joined = np.concatenate(
    [np.asarray(attention[name]) for name in _BIASES], axis=-1
  )
  for block, one in enumerate(joined):
    found[f"{_BLOCKS[part]}.{block}.attn.qkv.bias"] = one
  return found


def to_params(part: str, tensors: Tensors) -> dict:
  """The inverse of `to_published`: our nested dict, float32.

  Raises:
    UserError: tensors are missing or not known; all are listed.
  """
  left = {
    name: np.asarray(value, np.float32)
    for name, value in tensors.items()
    if not name.endswith("pos_embed")
  }
  depth = _depth(left, _BLOCKS[part])
  missing = []

  def take(name):
    if name not in left:
      missing.append(name)
      return np.zeros((1, 1), np.float32)
    return left.pop(name)

  params = {}
  for ours, theirs in _MODULES[part].items():
    weight, bias = take(f"{theirs}.weight"), take(f"{theirs}.bias")
    if weight.ndim == 5:
      width = math.prod(weight.shape[1:])
      weight = weight.transpose(0, 2, 3, 4, 1).reshape(-1, width)
    params[ours] = (
      {"scale": weight, "bias": bias}
      if ours == "norm"
      else {"kernel": np.ascontiguousarray(weight.T), "bias": bias}
    )
  if part == "predictor":
    names = [name for name in left if name.startswith("mask_tokens.")]
    names.sort(key=lambda name: int(name.split(".")[1]))
    tokens = [left.pop(name).reshape(-1) for name in names]
    params["mask_tokens"] = np.stack(tokens or [take("mask_tokens.0")[0]])
  every = blocks(take, _BLOCKS[part], depth)
  if missing or left:
    raise errors.UserError(
      f"not a {part} of V-JEPA as known: missing {sorted(missing)[:5]}, "
      f"unknown {sorted(left)[:5]}"
    )
  params["stack"] = {"blocks": stacked(every)}
  return params


def blocks(
  take: Callable[[str], np.ndarray], prefix: str, depth: int
) -> list[dict]:
  """Parameters of so many blocks, each as `layers.Block` has them.

  Args:
    take: gives the tensor of a name, such as blocks.3.attn.qkv.weight.
    prefix: of the names, before the block's number.
    depth: how many.
  """
  return [_block(take, f"{prefix}.{i}") for i in range(depth)]


def _block(take, prefix: str) -> dict:
  block = {
    norm: {
      "scale": take(f"{prefix}.{norm}.weight"),
      "bias": take(f"{prefix}.{norm}.bias"),
    }
    for norm in ("norm1", "norm2")
  }
  for module, maps in (("attn", ("qkv", "proj")), ("mlp", ("fc1", "fc2"))):
    block[module] = {
      name: {
        "kernel": take(f"{prefix}.{module}.{name}.weight").T,
        "bias": take(f"{prefix}.{module}.{name}.bias"),
      }
      for name in maps
    }
  biases = np.split(block["attn"]["qkv"].pop("bias").reshape(-1), 3)
  return block | {
    "attn": block["attn"] | dict(zip(_BIASES, biases, strict=True))
  }


def _of_block(part: str, block: int, path: tuple) -> str:
  names = [_BLOCKS[part], str(block), *path[2:-1]]
  return ".".join([*names, _LEAVES.get(path[-1], path[-1])])


def stacked(blocks: list) -> dict:
  """Blocks of equal shapes, with a leading depth axis: `layers.Stack`'s."""
  first = blocks[0]
  if isinstance(first, dict):
    return {key: stacked([block[key] for block in blocks]) for key in first}
  return np.stack(blocks)


def _depth(tensors: Tensors, blocks: str) -> int:
  found = [
    int(match[1])
    for name in tensors
    if (match := re.match(rf"{blocks}\.(\d{{1,4}})\.", name))
  ]
  return max(found, default=0) + 1


def _leaves(tree, path: tuple = ()):
  if isinstance(tree, dict):
    for key, value in tree.items():
      yield from _leaves(value, (*path, key))
  else:
    yield path, tree
