"""Linear probe of a frozen encoder on your own labelled clips.

python -m sigma_jax.main --config=configs/eval/linear.py \
    --workdir=runs/mine/linear --config.init=runs/mine \
    --config.data.train=train.csv --config.data.val=val.csv

Manifests are as for configs/eval/knn.py. Clips are augmented; four rates are
trained in one pass, and the best on a tenth of the training videos is tested.
"""

from sigma_jax import recipes


def get_config():
  """Frames, stride and size of a clip are those of `init`'s run."""
  return recipes.own("linear")
