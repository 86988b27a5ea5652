"""DINO on the embedded toy clips, two views a video: minutes on two cores.

python -m sigma_jax.data.toy --out data/toy
python -m sigma_jax.main --config=configs/toy_dino.py --workdir=runs/toy_dino
"""

from sigma_jax import recipes


def get_config():
  """Encoder, clips and length of configs/toy.py; see docs/METHODS.md."""
  return recipes.toy_dino()
