"""MGMAE, ViT-B, Kinetics-400: pixels under motion-guided masks, as published.

python -m sigma_jax.main --config=configs/k400_vitb_mgmae.py \
    --workdir=runs/k400_vitb_mgmae --config.data.train=/data/k400/train.csv

SIGMA under the same masks, by its own recipe, with either of its targets:

python -m sigma_jax.main --config=configs/k400_vitb_mgmae.py:mlp \
    --workdir=runs/k400_motion --config.data.train=/data/k400/train.csv

python -m sigma_jax.main --config=configs/k400_vitb_mgmae.py:dino \
    --workdir=runs/k400_motion_dino --config.data.train=/data/k400/train.csv \
    --config.target.weights=weights/dino_vitbase16_pretrain.pth

Flow by the network of the published code, RAFT-small; see
docs/methods/mgmae.md for its weights:

python -m sigma_jax.main --config=configs/k400_vitb_mgmae.py \
    --workdir=runs/k400_vitb_mgmae_raft \
    --config.data.train=/data/k400/train.csv \
    --config.masking.flow=raft_small --config.masking.flow_dtype=bfloat16 \
    --config.masking.flow_weights=weights/raft-small.pth
"""

from sigma_jax import recipes


def get_config(target="pixel"):
  """pixel: MGMAE. mlp, dino: motion-guided SIGMA, which nobody published."""
  config = recipes.motion_guided("vitb", target)
  config.data.train = "data/k400/train.csv"
  config.data.val = "data/k400/val.csv"
  return config
