"""Unsupervised video object segmentation on DAVIS 2017, clip by clip.

python -m sigma_jax.data.layouts davis --root=/data/DAVIS --out=data/davis
python -m sigma_jax.main --config=configs/eval/segmentation_davis.py \
    --workdir=runs/k400/davis --config.init=runs/k400

`init` is the workdir of a run, a published .pth or a transformers folder. Or it
is an image teacher's weights, and each frame gives a map of its own:

python -m sigma_jax.main --config=configs/eval/segmentation_davis.py \
    --workdir=runs/dinov2/davis --config.init=dinov2_vits14_pretrain.pth \
    --config.segmentation.teacher=dinov2_vits14

The protocol, and what of it was assumed, is in docs/EVALUATION.md.
"""

from sigma_jax import settings


def get_config():
  """`data.val` may also be the folder of JPEGImages and Annotations."""
  config = settings.default_config()
  config.task = "segmentation"
  config.data.val = "data/davis/val.jsonl"
  config.data.num_frames = 16
  config.data.size = 224
  config.data.sampling = "segments"
  config.segmentation.published = "davis"
  return config
