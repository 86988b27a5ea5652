"""SIGMA-MLP on the embedded toy clips: minutes on two CPU cores.

python -m sigma_jax.data.toy --out data/toy
python -m sigma_jax.main --config=configs/toy.py --workdir=runs/toy
"""

from sigma_jax import recipes


def get_config():
  """Chosen by the experiments in docs/LOG.md."""
  return recipes.toy_sigma()
