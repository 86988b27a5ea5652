"""Reads published image ViT weights for `target.kind` 'dino', strictly.

Two naming schemes are understood: that of the DINO, DINOv2 and DINOv3 releases
(`blocks.0.attn.qkv.weight`) and that of Hugging Face's checkpoints of the same
models (`encoder.layer.0.attention.attention.query.weight`). The latter is
renamed to the former, and the former placed in our tree.
"""

import dataclasses
import math
import re

import jax.numpy as jnp
import numpy as np

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.interop import frozen_file, tensor_files
from sigma_jax.models.variants import IMAGE_MODELS, ImageModel

# Entries that these models' features do not depend on: the token of masked
# pre-training, the constant that switches the key's bias off, the periods of
# rotary positions (which follow from the head's width).
_UNUSED = re.compile(r"mask_token|rope_embed\.periods|.*\.attn\.qkv\.bias_mask")

_HUGGING_FACE = ("embeddings.", "encoder.layer.", "layer", "model.layer.")
_BLOCK = r"^(?:encoder\.|model\.)?layers?\.(\d+)\."
# Hugging Face's names -> the releases'; query, key and value are joined after.
_RENAMES = [
  (r"^embeddings\.patch_embeddings\.(?:projection\.)?", "patch_embed.proj."),
  (r"^embeddings\.position_embeddings$", "pos_embed"),
  (r"^embeddings\.", ""),
  (r"^layernorm\.", "norm."),
  (_BLOCK, r"blocks.\1."),
  (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
  (r"\.attention\.output\.dense\.", ".attn.proj."),
  (r"\.attention\.q_proj\.", ".attn.query."),
  (r"\.attention\.k_proj\.", ".attn.key."),
  (r"\.attention\.v_proj\.", ".attn.value."),
  (r"\.attention\.o_proj\.", ".attn.proj."),
  (r"\.layernorm_before\.", ".norm1."),
  (r"\.layernorm_after\.", ".norm2."),
  (r"\.intermediate\.dense\.|\.mlp\.up_proj\.", ".mlp.fc1."),
  (r"(\.\d+)\.output\.dense\.|\.mlp\.down_proj\.", r"\1.mlp.fc2."),
  (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
]


def load(settings: settings_lib.Settings) -> dict:
  """The frozen weights of `settings`' target, as `sigma.abstract` shapes them.

  Returns:
    Nested dict of host arrays in `target.dtype`; {} where the target has no
    frozen weights.

  Raises:
    UserError: no such file, not a format known, or entries that are missing,
      unexpected or of another shape than the variant's, all listed.
  """
  target = settings.target
  if target.kind != "dino":
    return {}
  model = IMAGE_MODELS[target.variant]
  arrays = read(target.weights, target.variant)
  try:
    tree = convert(arrays, model, jnp.dtype(target.dtype))
  except ValueError as error:
    raise errors.UserError(
      f"target.weights: {target.weights!r} does not hold {target.variant}: "
      f"{error}"
    ) from error
  return {"target": {"teacher": tree}}


def read(weights: str, variant: str) -> dict[str, np.ndarray]:
  """All arrays of a weights file, by the names they have in it.

  Args:
    weights: a .pth (.pt, .bin) file, a .safetensors file, the folder that
      holds either (`tensor_files.read_folder`), or an .npz file.
    variant: a key of `IMAGE_MODELS`, for the message.

  Raises:
    UserError: see `load`.
  """
  model = IMAGE_MODELS[variant]
  wanted = (
    f"expected {variant}'s weights: the released {model.file}, the Hugging "
    f"Face checkpoint {model.hub} (its folder or .safetensors file), or an "
    ".npz with either one's names"
  )
  return frozen_file.read(weights, "target.weights", wanted)


def convert(
  arrays: dict[str, np.ndarray], model: ImageModel, dtype: np.dtype
) -> dict:
  """Places published weights in the tree of `image_vit.ImageViT`.

  Args:
    arrays: float arrays by published or Hugging Face names; linear maps are
      [out, in], the patch convolution [d, 3, patch, patch].
    model: what they have to be the weights of.
    dtype: of the result.

  Returns:
    Nested dict; blocks carry a leading depth axis, linear maps are [in, out],
    the patch embedding's rows run (row, column, channel).

  Raises:
    ValueError: entries are missing, unexpected or mis-shaped; all are listed.
  """
  arrays = _published_names(arrays, model)
  shapes = _published_shapes(model)
  wrong = [f"missing {name}" for name in shapes if name not in arrays]
  wrong += [f"unexpected {name}" for name in arrays if name not in shapes]
  for name, shape in shapes.items():
    if name in arrays and arrays[name].shape != shape:
      wrong.append(f"{name} has shape {arrays[name].shape}, not {shape}")
  if wrong:
    raise ValueError("; ".join(_by_block(wrong, model.depth)))
  # Of these alone: what the features do not depend on may be anything.
  tensor_files.check_finite(arrays.items(), "its tensors")
  return _tree(arrays, model, dtype)


def tiny(arrays: dict[str, np.ndarray], variant: str, heads: int) -> ImageModel:
  """A variant in the size of these weights, as cases for tests have it.

  Args:
    arrays: by published or Hugging Face names.
    variant: a key of `IMAGE_MODELS`.
    heads: of its attention, which no shape tells.

  Raises:
    ValueError: no such variant, or its first entries are missing.
  """
  if variant not in IMAGE_MODELS:
    raise ValueError(f"there is no teacher {variant!r}")
  blocks = [re.search(r"(?:blocks|layers?)\.(\d+)\.", name) for name in arrays]
  depth = 1 + max((int(found[1]) for found in blocks if found), default=0)
  model = dataclasses.replace(IMAGE_MODELS[variant], depth=depth, heads=heads)
  arrays = _published_names(arrays, model)
  for name in ("patch_embed.proj.weight", *["pos_embed"] * bool(model.grid)):
    if name not in arrays:
      raise ValueError(f"missing {name}")
  dim, _, patch, _ = arrays["patch_embed.proj.weight"].shape
  grid = math.isqrt(arrays["pos_embed"].shape[1] - 1) if model.grid else 0
  return dataclasses.replace(model, dim=dim, patch=patch, grid=grid)


def _published_names(
  arrays: dict[str, np.ndarray], model: ImageModel
) -> dict[str, np.ndarray]:
  """The arrays that matter, under the releases' names."""
  renamed = {}
  for name, value in arrays.items():
    if name.startswith(_HUGGING_FACE):
      for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    # DINOv3's release calls its registers storage tokens.
    name = name.replace("storage_tokens", "register_tokens")
    if not _UNUSED.fullmatch(name):
      renamed[name] = np.asarray(value)
  for i in range(model.depth):
    for kind in ("weight", "bias"):
      _join_qkv(renamed, f"blocks.{i}.attn", kind)
    bias = f"blocks.{i}.attn.qkv.bias"
    if not model.grid and bias in renamed:
      # Rotary models have no bias on the key; the release stores and masks it.
      parts = np.array_split(renamed[bias], 3)
      renamed[bias] = np.concatenate(
        [parts[0], np.zeros_like(parts[1]), parts[2]]
      )
  return renamed


def _join_qkv(arrays: dict[str, np.ndarray], prefix: str, kind: str) -> None:
  """Replaces query, key and value by one array, in place, if all are there."""
  names = [f"{prefix}.{part}.{kind}" for part in ("query", "key", "value")]
  if kind == "bias" and names[1] not in arrays and names[0] in arrays:
    arrays[names[1]] = np.zeros_like(arrays[names[0]])
  if all(name in arrays for name in names):
    parts = [arrays.pop(name) for name in names]
    arrays[f"{prefix}.qkv.{kind}"] = np.concatenate(parts)


def _by_block(lines: list[str], depth: int) -> list[str]:
  """Tells in one line what is wrong with every block alike."""
  groups: dict[str, list[str]] = {}
  for line in lines:
    group = re.sub(r"\bblocks\.\d+\.", "blocks.*.", line)
    groups.setdefault(group, []).append(line)
  told = []
  for group, members in groups.items():
    told += [group] if len(members) == depth > 1 else members
  return told


def _published_shapes(model: ImageModel) -> dict[str, tuple[int, ...]]:
  """Name and shape of every entry that the model needs."""
  d = model.dim
  shapes = {
    "cls_token": (1, 1, d),
    "patch_embed.proj.weight": (d, 3, model.patch, model.patch),
    "patch_embed.proj.bias": (d,),
    "norm.weight": (d,),
    "norm.bias": (d,),
  }
  if model.grid:
    shapes["pos_embed"] = (1, 1 + model.grid**2, d)
  if model.registers:
    shapes["register_tokens"] = (1, model.registers, d)
  for i in range(model.depth):
    for name, shape in _block_shapes(model).items():
      shapes[f"blocks.{i}.{name}"] = shape
  return shapes


def _block_shapes(model: ImageModel) -> dict[str, tuple[int, ...]]:
  d = model.dim
  shapes = {}
  for norm in ("norm1", "norm2"):
    shapes |= {f"{norm}.weight": (d,), f"{norm}.bias": (d,)}
  sizes = {
    "attn.qkv": (3 * d, d),
    "attn.proj": (d, d),
    "mlp.fc1": (4 * d, d),
    "mlp.fc2": (d, 4 * d),
  }
  for name, (out, inputs) in sizes.items():
    shapes |= {f"{name}.weight": (out, inputs), f"{name}.bias": (out,)}
  if model.layer_scale:
    shapes |= {"ls1.gamma": (d,), "ls2.gamma": (d,)}
  return shapes


def _tree(
  arrays: dict[str, np.ndarray], model: ImageModel, dtype: np.dtype
) -> dict:
  def get(name: str) -> np.ndarray:
    return arrays[name].astype(dtype)

  kernel = get("patch_embed.proj.weight")
  tree = {
    "embed": {
      "kernel": kernel.transpose(2, 3, 1, 0).reshape(-1, model.dim),
      "bias": get("patch_embed.proj.bias"),
    },
    "cls_token": get("cls_token")[0, 0],
    "norm": {"scale": get("norm.weight"), "bias": get("norm.bias")},
    "blocks": {},
  }
  if model.grid:
    tree["positions"] = get("pos_embed")[0]
  if model.registers:
    tree["registers"] = get("register_tokens")[0]
  for name in _block_shapes(model):
    stacked = np.stack([get(f"blocks.{i}.{name}") for i in range(model.depth)])
    _place(tree["blocks"], name, stacked)
  return tree


def _place(blocks: dict, name: str, value: np.ndarray) -> None:
  """Puts [depth, ...] where `image_vit.Block` has it: its name, renamed."""
  *path, leaf = name.split(".")
  if leaf == "gamma":
    path, leaf = path[:-1], path[-1]
  elif leaf == "weight" and path[-1].startswith("norm"):
    leaf = "scale"
  elif leaf == "weight":
    leaf, value = "kernel", value.swapaxes(1, 2)
  for part in path:
    blocks = blocks.setdefault(part, {})
  blocks[leaf] = value
