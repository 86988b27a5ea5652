"""Reads RAFT-small's published weights for `masking.flow`, strictly.

Two naming schemes are understood: Princeton's (`fnet.conv1.weight`, in their
file after `module.`) and torchvision's (`feature_encoder.conv.weight`). The
latter is renamed to the former, and the former placed in our tree.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.interop import frozen_file, tensor_files
from sigma_jax.models import layers, raft

_WANTED = (
  "expected RAFT-small's weights: Princeton's raft-small.pth, torchvision's "
  "raft_small_C_T_V1 or V2, or a .safetensors or .npz with either one's names"
)
# torchvision's names -> Princeton's, in this order.
_RENAMES = (
  (r"^feature_encoder\.", "fnet."),
  (r"^context_encoder\.", "cnet."),
  (r"^((?:fnet|cnet)\.)convnormrelu\.0\.", r"\1conv1."),
  (r"^((?:fnet|cnet)\.)conv\.", r"\1conv2."),
  (r"\.convnormrelu([123])\.0\.", r".conv\1."),
  (r"\.motion_encoder\.convcorr1\.0\.", ".encoder.convc1."),
  (r"\.motion_encoder\.convflow([12])\.0\.", r".encoder.convf\1."),
  (r"\.motion_encoder\.conv\.0\.", ".encoder.conv."),
  (r"\.recurrent_block\.convgru1\.", ".gru."),
)
# Of the large RAFT alone.
_LARGE = re.compile(r"update_block\.(?:mask|gru\.convz1)\.|mask_predictor\.")
_NAMED = 6  # entries in a message


def load(settings: settings_lib.Settings) -> dict:
  """The weights of the network that finds motion, as `raft` shapes them.

  Returns:
    {"flow": nested dict of host arrays in `masking.flow_dtype`}; {} where
    masks do not follow motion, or it is found without weights.

  Raises:
    UserError: no such file, not a format known, or entries that are missing,
      unexpected, of another shape or not finite.
  """
  masking = settings.masking
  if not masking.has_network:
    return {}
  option = "masking.flow_weights"
  arrays = frozen_file.read(masking.flow_weights, option, _WANTED)
  try:
    tree = convert(arrays, jnp.dtype(masking.flow_dtype))
  except ValueError as error:
    raise errors.UserError(
      f"{option}: {masking.flow_weights!r} does not hold RAFT-small: {error}"
    ) from error
  return {"flow": tree}


def convert(arrays: dict[str, np.ndarray], dtype: np.dtype) -> dict:
  """Places published weights in the tree of `raft.RaftSmall`.

  Args:
    arrays: float arrays by Princeton's or torchvision's names; convolutions
      are [out, in, height, width].
    dtype: of the result.

  Returns:
    Nested dict; convolutions are [height, width, in, out].

  Raises:
    ValueError: entries are missing, unexpected, mis-shaped or not finite.
  """
  given = len(arrays)
  arrays = {published_name(name): x for name, x in arrays.items()}
  if len(arrays) < given:
    raise ValueError("some entries stand in it under two names")
  shapes = published_shapes()
  wrong = [f"missing {name}" for name in shapes if name not in arrays]
  wrong += [f"unexpected {name}" for name in arrays if name not in shapes]
  wrong += [
    f"{name} has shape {list(arrays[name].shape)}, not {list(shape)}"
    for name, shape in shapes.items()
    if name in arrays and arrays[name].shape != shape
  ]
  if wrong:
    raise ValueError(_told(wrong, any(map(_LARGE.search, arrays))))
  tensor_files.check_finite(arrays.items(), "its tensors")
  tree: dict = {}
  for name in shapes:
    *path, leaf = _path(name)
    value = np.asarray(arrays[name]).astype(dtype)
    at = tree
    for part in path:
      at = at.setdefault(part, {})
    at[leaf] = value.transpose(2, 3, 1, 0) if leaf == "kernel" else value
  return tree


def _told(wrong: list[str], large: bool) -> str:
  more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
  told = "; ".join(wrong[:_NAMED]) + more
  return f"it is of the large RAFT, not of RAFT-small ({told})" * large or told


def published_name(name: str) -> str:
  """Princeton's name of an entry, without `module.`, from either's."""
  name = name.removeprefix("module.")
  for pattern, replacement in _RENAMES:
    name = re.sub(pattern, replacement, name)
  return name


def published_shapes() -> dict[str, tuple[int, ...]]:
  """Princeton's name and shape of every entry of the network."""
  made = jax.eval_shape(lambda: raft.RaftSmall(dtype=jnp.float32))
  tree = nnx.to_pure_dict(nnx.split(made, layers.Frozen)[1])
  found = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    parts = [part.key for part in path]
    shape = leaf.shape
    if parts[-1] == "kernel":
      shape = tuple(shape[axis] for axis in (3, 2, 0, 1))
    found[_name(parts)] = shape
  return found


def _name(path: list) -> str:
  """Princeton's name of a place in our tree; see `_path`."""
  words = []
  for part in path:
    if isinstance(part, int):
      words[-1] = f"layer{part // 2 + 1}.{part % 2}"
    else:
      words.append(
        {"kernel": "weight", "downsample": "downsample.0"}.get(part, part)
      )
  return ".".join(words)


def _path(name: str) -> list:
  """Where our tree has an entry: two blocks are a layer of theirs."""
  name = name.replace("downsample.0.", "downsample.")
  path: list = []
  for part in name.split("."):
    if path and re.fullmatch(r"layer\d", str(path[-1])):
      path[-1:] = ["blocks", 2 * (int(path[-1][-1]) - 1) + int(part)]
    else:
      path.append("kernel" if part == "weight" else part)
  return path
