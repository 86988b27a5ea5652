"""V-JEPA, ViT-B, on VideoMix2M: three sets in one run.

python -m sigma_jax.main --config=configs/mix_vitb_vjepa.py \
    --workdir=runs/mix_vitb_vjepa

Put your lists or folders of records in place of these three, with their shares:

python -m sigma_jax.main --config=configs/mix_vitb_vjepa.py \
    --workdir=runs/mix_vitb_vjepa --config.data.mixture="(
    ('/data/k710/train.csv', 0.335), ('/data/ssv2/train.csv', 0.10),
    ('/data/howto100m_records', 0.565))"
"""

from sigma_jax import recipes


def get_config():
  """90,000 steps of 3072 clips, the first 12,000 of them a warm-up.

  VideoMix2M is Kinetics-710, Something-Something v2 and HowTo100M
  (https://arxiv.org/abs/2404.08471, section 3). Its shares were those of the
  numbers of files; the ones below are of V-JEPA 2's released configs, the same
  sets' in https://arxiv.org/abs/2506.09985, table 1 (.188, .056 and .318 of
  five sets), whose files are 733, 168 and 1,100 thousand: .366, .084 and .550.
  No ViT-B was published. Not trained by us.
  """
  config = recipes.vjepa("vitb")
  config.data.mixture = (
    ("data/k710/train.csv", 0.335),
    ("data/ssv2/train.csv", 0.10),
    ("data/howto100m/train.csv", 0.565),
  )
  config.data.val = "data/k400/val.csv"
  config.train.steps = 90_000
  # An epoch of a mixture is as many clips as its sets have videos: 2 million.
  config.optimizer.warmup_epochs = 12_000 * 3072 / 2_001_000
  return config
