"""Unsupervised video object segmentation on YouTube-VOS, clip by clip.

python -m sigma_jax.data.layouts youtube_vos --root=/data/ytvos \
    --out=data/ytvos
python -m sigma_jax.main --config=configs/eval/segmentation_ytvos.py \
    --workdir=runs/k400/ytvos --config.init=runs/k400

The training sequences are judged: those of the validation set have masks of
their first frames only. `init` is as in configs/eval/segmentation_davis.py, the
protocol is in docs/EVALUATION.md.
"""

from sigma_jax import settings


def get_config():
  """Four frames a clip: of a video model's table the first rows, as published.

  `config.model.table_grid = (8, 14, 14)` interpolates the table of 16 frames.
  """
  config = settings.default_config()
  config.task = "segmentation"
  config.data.val = "data/ytvos/train.jsonl"
  config.data.num_frames = 4
  config.data.size = 224
  config.data.sampling = "segments"
  return config
