"""Motion-guided masks on the embedded toy clips: MGMAE, or SIGMA under them.

python -m sigma_jax.data.toy --out data/toy
python -m sigma_jax.main --config=configs/toy_mgmae.py --workdir=runs/toy_mgmae
python -m sigma_jax.main --config=configs/toy_mgmae.py:mlp \
    --workdir=runs/toy_sigma_motion
"""

from sigma_jax import recipes


def get_config(target="pixel"):
  """configs/toy.py with other masks; pixel: MGMAE, mlp: SIGMA."""
  config = recipes.toy_sigma()
  config.masking.kind = "motion"
  config.target.kind = target
  if target == "pixel":
    config.loss.kind = "l2"
  return config
