"""SIGMA-MLP on the embedded toy clips: minutes on two CPU cores.

python -m sigma_jax.data.toy --out data/toy
python -m sigma_jax.main --config=configs/toy.py --workdir=runs/toy
"""

from sigma_jax import recipes


def get_config():
  """Chosen by the experiments in docs/LOG.md."""
  config = recipes.toy()

  config.masking.ratio = 0.75
  config.target.hidden = (192, 192)
  config.target.dim = 64
  config.loss.num_prototypes = 64
  config.loss.epsilon = 0.03

  config.optimizer.base_lr = 6e-4 * 256 / 48
  config.optimizer.min_lr = 3e-5 * 256 / 48
  return config
