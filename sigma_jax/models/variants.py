"""Image ViTs that can teach: the published DINO, DINOv2 and DINOv3 models.

Their names are `settings.TEACHERS`; here are their facts, without JAX. Sources:
the released model code and checkpoints of DINO
(https://arxiv.org/abs/2104.14294), DINOv2 (https://arxiv.org/abs/2304.07193),
its registers (https://arxiv.org/abs/2309.16588) and DINOv3
(https://arxiv.org/abs/2508.10104).
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ImageModel:
  """One pre-norm image ViT: MLP ratio 4, exact GELU, class token first."""

  dim: int  # p, width of its patch tokens
  depth: int
  heads: int
  patch: int  # pixels per side
  file: str  # the release's checkpoint
  hub: str  # the same weights' name on the Hugging Face hub
  # Side of the square grid that the learnt position table was trained on, in
  # patches; 0: no table but rotary positions (DINOv3).
  grid: int = 0
  registers: int = 0  # tokens between the class token and the patches
  layer_scale: bool = True
  norm_epsilon: float = 1e-6
  # How the release fits the table to another grid. DINO and DINOv2 ask for
  # (new + 0.1) / old times the size, which moves every sample a little; the
  # models with registers ask for the size itself, and antialias.
  grid_offset: float = 0.0
  antialias: bool = False


_SIZES = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16)}
_NAMES = {"s": "small", "b": "base", "l": "large"}


def _dino(size: str, file: str) -> ImageModel:
  return ImageModel(
    *_SIZES[size],
    patch=16,
    file=file,
    hub=f"facebook/dino-vit{size}16",
    grid=14,
    layer_scale=False,
    grid_offset=0.1,
  )


def _dinov2(size: str) -> ImageModel:
  return ImageModel(
    *_SIZES[size],
    patch=14,
    file=f"dinov2_vit{size}14_pretrain.pth",
    hub=f"facebook/dinov2-{_NAMES[size]}",
    grid=37,
    grid_offset=0.1,
  )


def _dinov2_registers(size: str) -> ImageModel:
  return ImageModel(
    *_SIZES[size],
    patch=14,
    file=f"dinov2_vit{size}14_reg4_pretrain.pth",
    hub=f"facebook/dinov2-with-registers-{_NAMES[size]}",
    grid=37,
    registers=4,
    antialias=True,
  )


def _dinov3(size: str) -> ImageModel:
  return ImageModel(
    *_SIZES[size],
    patch=16,
    file=f"dinov3_vit{size}16_pretrain_lvd1689m-*.pth",
    hub=f"facebook/dinov3-vit{size}16-pretrain-lvd1689m",
    registers=4,
    norm_epsilon=1e-5,
  )


IMAGE_MODELS: dict[str, ImageModel] = {
  "dino_vits16": _dino("s", "dino_deitsmall16_pretrain.pth"),
  "dino_vitb16": _dino("b", "dino_vitbase16_pretrain.pth"),
  **{f"dinov2_vit{size}14": _dinov2(size) for size in _SIZES},
  **{f"dinov2_vit{size}14_reg": _dinov2_registers(size) for size in _SIZES},
  **{f"dinov3_vit{size}16": _dinov3(size) for size in _SIZES},
}
