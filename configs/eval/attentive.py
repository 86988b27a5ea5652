"""Attentive probe of a frozen encoder on your own labelled clips.

python -m sigma_jax.main --config=configs/eval/attentive.py \
    --workdir=runs/mine/attentive --config.init=runs/mine \
    --config.data.train=train.csv --config.data.val=val.csv

Manifests are as for configs/eval/knn.py. The head is a block of cross-attention
over all tokens; three rates are trained in one pass, and the best on a tenth of
the training videos is tested.
"""

from sigma_jax import recipes


def get_config():
  """Frames, stride and size of a clip are those of `init`'s run."""
  return recipes.own("attentive")
