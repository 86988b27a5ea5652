"""SwAV on the embedded toy clips, two views a video: minutes on two cores.

python -m sigma_jax.data.toy --out data/toy
python -m sigma_jax.main --config=configs/toy_swav.py --workdir=runs/toy_swav
"""

from sigma_jax import recipes


def get_config():
  """Encoder, clips and length of configs/toy.py; see docs/METHODS.md."""
  return recipes.toy_swav()
