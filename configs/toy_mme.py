"""MME on the embedded toy clips: minutes on two CPU cores.

python -m sigma_jax.data.toy --out data/toy
python -m sigma_jax.main --config=configs/toy_mme.py --workdir=runs/toy_mme
"""

from sigma_jax import recipes


def get_config():
  """Encoder, clips and length of configs/toy.py; see docs/LOG.md."""
  return recipes.toy_mme()
