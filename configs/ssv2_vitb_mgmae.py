"""MGMAE, ViT-B, Something-Something v2: motion-guided masks, as published.

python -m sigma_jax.main --config=configs/ssv2_vitb_mgmae.py \
    --workdir=runs/ssv2_vitb_mgmae --config.data.train=/data/ssv2/train.csv

SIGMA under the same masks, by its own recipe, with either of its targets:

python -m sigma_jax.main --config=configs/ssv2_vitb_mgmae.py:mlp \
    --workdir=runs/ssv2_motion --config.data.train=/data/ssv2/train.csv

python -m sigma_jax.main --config=configs/ssv2_vitb_mgmae.py:dino \
    --workdir=runs/ssv2_motion_dino --config.data.train=/data/ssv2/train.csv \
    --config.target.weights=weights/dino_vitbase16_pretrain.pth

Flow by the network of the published code, RAFT-small; see
docs/methods/mgmae.md for its weights:

python -m sigma_jax.main --config=configs/ssv2_vitb_mgmae.py \
    --workdir=runs/ssv2_vitb_mgmae_raft \
    --config.data.train=/data/ssv2/train.csv \
    --config.masking.flow=raft_small --config.masking.flow_dtype=bfloat16 \
    --config.masking.flow_weights=weights/raft-small.pth
"""

from sigma_jax import recipes


def get_config(target="pixel"):
  """pixel: MGMAE. mlp, dino: motion-guided SIGMA, which nobody published."""
  config = recipes.motion_guided("vitb", target)
  config.data.train = "data/ssv2/train.csv"
  config.data.val = "data/ssv2/val.csv"
  config.data.stride = 2
  if target != "pixel":  # as configs/ssv2_vitb.py
    config.loss.epsilon = 0.03
    config.train.batch_size = 512
  return config
