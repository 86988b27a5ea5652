"""Motion-guided masks on the embedded toy clips: MGMAE, or SIGMA under them.

python -m sigma_jax.data.toy --out data/toy
python -m sigma_jax.main --config=configs/toy_mgmae.py --workdir=runs/toy_mgmae
python -m sigma_jax.main --config=configs/toy_mgmae.py:mlp \
    --workdir=runs/toy_sigma_motion
"""

from configs import toy


def get_config(target="pixel"):
  """configs/toy.py with other masks; pixel: MGMAE, mlp: SIGMA."""
  config = toy.get_config()
  config.masking.kind = "motion"
  config.target.kind = target
  if target == "pixel":
    config.loss.kind = "l2"
  return config
