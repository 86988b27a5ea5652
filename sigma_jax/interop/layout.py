"""What kind of model a checkpoint holds, told from its names and shapes."""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sigma_jax import errors, settings
from sigma_jax.models import heads, targets, variants, vit

# Published widths whose heads are not dim / 64: ViT-H's two, ViT-g's and
# ViT-G's (timm's vision_transformer.py, and VideoMAE V2's models).
_HEADS = {
  ("encoder", 1280): 16,
  ("decoder", 640): 8,
  ("encoder", 1408): 16,
  ("encoder", 1664): 16,
}
_ANY_GRID = (1, 1, 1)  # no parameter's shape depends on it


@dataclasses.dataclass(frozen=True)
class Layout:
  """A model's parts and sizes.

  Attributes:
    model: of the video ViT.
    num_classes: of a fine-tuned classifier; 0: a pre-trained model.
    target_dim: p, width of the decoder's output; 0: an encoder alone.
    num_prototypes: k; 0: none (VideoMAE).
    hidden: widths inside SIGMA's mlp target; None: the target has no weights.
    normalized: see `settings.Target.normalize`; of models that predict pixels.
    final_norm: of an encoder alone, whether a LayerNorm ends it.
  """

  model: settings.Model
  num_classes: int = 0
  target_dim: int = 0
  num_prototypes: int = 0
  hidden: tuple[int, ...] | None = None
  normalized: bool = True
  final_norm: bool = True

  @property
  def kind(self) -> str:
    """finetune, encoder, or a pre-training target's kind: mlp, dino, pixel."""
    if self.num_classes:
      return "finetune"
    if not self.target_dim:
      return "encoder"
    if self.hidden is not None:
      return "mlp"
    return "dino" if self.num_prototypes else "pixel"


def of_settings(run: settings.Settings) -> Layout:
  """The layout of a pre-training run of ours."""
  assigned = run.loss.kind == "assignment"
  target, model = run.target, run.model
  dims = {
    "mlp": target.dim,
    "dino": variants.IMAGE_MODELS[target.variant].dim,
    "pixel": model.tubelet * model.patch**2 * 3,
  }
  return Layout(
    model,
    target_dim=dims[target.kind],
    num_prototypes=run.loss.num_prototypes if assigned else 0,
    hidden=target.hidden if target.kind == "mlp" else None,
    normalized=target.kind != "pixel" or target.normalize,
  )


def to_settings(
  layout: Layout, *, num_frames: int = 16, size: int = 224
) -> settings.Settings:
  """A run of ours with this model; what a checkpoint does not say is default.

  Which teacher it had, a checkpoint does not say: the first of its width is
  taken. Encoders and fine-tuned models count as VideoMAE's (pixel target).

  Raises:
    ValueError: the clip does not divide into tubes, or no known teacher has
      the layout's width.
  """
  config = dataclasses.asdict(settings.Settings())
  config["model"] = dataclasses.asdict(layout.model)
  config["data"] |= {"num_frames": num_frames, "size": size}
  target = {"kind": "pixel"}
  if layout.kind == "mlp":
    target = {"kind": "mlp", "dim": layout.target_dim, "hidden": layout.hidden}
  elif layout.kind == "dino":
    target = {"kind": "dino", "variant": _teacher(layout.target_dim)}
  config["target"] |= target | {"normalize": layout.normalized}
  if layout.num_prototypes:
    config["loss"]["num_prototypes"] = layout.num_prototypes
  else:
    config["loss"]["kind"] = "l2"
  return settings.Settings.from_config(config)


def _teacher(dim: int) -> str:
  for name, model in variants.IMAGE_MODELS.items():
    if model.dim == dim:
      return name
  raise ValueError(f"no known teacher has features of width {dim}")


def shapes(layout: Layout) -> dict:
  """Params of the layout as nested dicts of ShapeDtypeStructs."""
  model = layout.model
  classes, dim = layout.num_classes, layout.target_dim
  pixels = model.tubelet * model.patch**2 * 3
  if classes:
    return _shapes(heads.Classifier, model, _ANY_GRID, classes)
  norm = {"final_norm": layout.final_norm}
  params = {"encoder": _shapes(vit.Encoder, model, _ANY_GRID, **norm)}
  if not dim:
    return params
  params["decoder"] = _shapes(vit.Decoder, model, _ANY_GRID, dim)
  if layout.hidden is not None:
    params["target"] = _shapes(
      targets.MlpTarget,
      pixels,
      layout.hidden,
      dim,
      init=model.init,
      dtype="float32",
    )
  if layout.num_prototypes:
    shape = (layout.num_prototypes, dim)
    params["prototypes"] = jax.ShapeDtypeStruct(shape, jnp.float32)
  return params


def assemble(params: dict, module: type[nnx.Module], *args, **kwargs):
  """`module(*args, **kwargs)` with these parameters; for use inside jit."""
  made = nnx.eval_shape(lambda: module(*args, rngs=nnx.Rngs(0), **kwargs))
  return nnx.merge(nnx.split(made)[0], params)


def _shapes(module: type[nnx.Module], *args, **kwargs) -> dict:
  made = jax.eval_shape(lambda: module(*args, rngs=nnx.Rngs(0), **kwargs))
  return nnx.to_pure_dict(nnx.split(made, nnx.Param, ...)[1])


def infer(
  tensors: dict[str, np.ndarray],
  *,
  encoder_heads: int = 0,
  decoder_heads: int = 0,
  norm_epsilon: float = 1e-6,
  normalized: bool = True,
) -> Layout:
  """Layout of a published state dict, from its names and shapes.

  Args:
    tensors: by published name.
    encoder_heads, decoder_heads: no shape tells them; 0: the published ones,
      dim / 64 but for the largest models.
    norm_epsilon: of the LayerNorms.
    normalized: as of `Layout`.

  Raises:
    UserError: it has no tube embedding, or a width that no published model
      has and no heads are given.
  """
  sizes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
  side = "encoder." if "encoder.patch_embed.proj.weight" in sizes else ""
  embed = sizes.get(f"{side}patch_embed.proj.weight", ())
  if len(embed) != 5 or 0 in embed:
    some = ", ".join(sorted(sizes)[:4])
    raise errors.UserError(
      "not a SIGMA, VideoMAE or V-JEPA state dict: no patch_embed.proj.weight "
      f"of shape [d, 3, frames, rows, columns]; it has {some}, ..."
    )
  dim = embed[0]
  fields = {
    "tubelet": embed[2],
    "patch": embed[3],
    "encoder_dim": dim,
    "norm_epsilon": norm_epsilon,
    "encoder_depth": _depth(sizes, f"{side}blocks."),
    "encoder_heads": encoder_heads or _heads("encoder", dim),
  }
  hidden = _first(sizes, f"{side}blocks.0.mlp.fc1.weight", 0, 4 * dim)
  fields["mlp_ratio"] = max(hidden // dim, 1)
  if side and _has_decoder(sizes):
    narrow = _first(sizes, "encoder_to_decoder.weight", 0, 0)
    narrow = narrow or _first(sizes, "mask_token", -1, 0)
    narrow = narrow or _first(sizes, "decoder.norm.weight", 0, dim // 2)
    fields["decoder_dim"] = narrow
    fields["decoder_depth"] = _depth(sizes, "decoder.blocks.")
    fields["decoder_heads"] = decoder_heads or _heads("decoder", narrow)
  else:
    fields |= _small_decoder(dim)
  model = settings.Model(**fields)
  layout = _with_parts(model, sizes, finetuned=not side)
  return dataclasses.replace(layout, normalized=normalized)


def _with_parts(model, sizes: dict, *, finetuned: bool) -> Layout:
  """The layout around the model: classifier, decoder, target, prototypes."""
  if finetuned:
    classes = _first(sizes, "head.weight", 0, 0)
    classes = classes or _first(sizes, "head.bias", 0, 1)
    return Layout(model, num_classes=classes)
  if not _has_decoder(sizes):
    return Layout(model)
  prototypes = _first(sizes, "prototypes", 0, 0)
  pixels = model.tubelet * model.patch**2 * 3
  dim = _first(sizes, "decoder.head.weight", 0, 0)
  dim = dim or _first(sizes, "prototypes", -1, pixels)
  hidden = None
  layers = [n for n in sizes if re.fullmatch(r"head\.\d?[02468]\.weight", n)]
  if layers:
    last = max(int(name.split(".")[1]) for name in layers)
    hidden = tuple(
      _first(sizes, f"head.{i}.weight", 0, 1) for i in range(0, last, 2)
    )
  return Layout(model, target_dim=dim, num_prototypes=prototypes, hidden=hidden)


def _has_decoder(sizes: dict) -> bool:
  return any(
    name.startswith(("decoder.", "encoder_to_decoder.", "mask_token"))
    for name in sizes
  )


def _first(sizes: dict, name: str, axis: int, default: int) -> int:
  """One axis of a tensor; the default where it is missing: the strict check
  that follows will list it."""
  return sizes[name][axis] if sizes.get(name) else default


def _depth(sizes: dict, prefix: str) -> int:
  """Blocks by their highest number; raises UserError for an absurd one."""
  pattern = re.compile(re.escape(prefix) + r"(\d{1,9})\.")
  found = [int(m[1]) for name in sizes if (m := pattern.match(name))]
  depth = max(found, default=0) + 1
  if depth > len(sizes):
    raise errors.UserError(
      f"it has a tensor {prefix}{depth - 1}, and {len(sizes)} tensors in all"
    )
  return depth


def _heads(side: str, dim: int) -> int:
  """Heads of the published width `dim`."""
  if dim % 64 == 0:
    return _HEADS.get((side, dim), dim // 64)
  raise errors.UserError(
    f"no published model has width {dim}, so its number of heads is unknown; "
    f"give it as {side}_heads"
  )


def _small_decoder(dim: int) -> dict[str, Any]:
  """Half as wide as the encoder, for checkpoints that hold no decoder."""
  half = dim // 2
  return {
    "decoder_dim": half,
    "decoder_depth": 1,
    "decoder_heads": math.gcd(half, 8),
  }
