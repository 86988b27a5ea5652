"""Linear probe and kNN on the toy clips, beside an untrained encoder.

python -m sigma_jax.main --config=configs/eval/knn_toy.py \
    --workdir=runs/toy/probe --config.init=runs/toy
"""

from sigma_jax import recipes


def get_config():
  """Model and clip geometry come from the run that `init` names."""
  config = recipes.knn("toy")
  config.probe.batch_size = 100
  config.probe.knn_k = 20
  return config
