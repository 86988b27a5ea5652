"""kNN and a linear map on cached features of your own labelled clips.

python -m sigma_jax.main --config=configs/eval/knn.py \
    --workdir=runs/mine/knn --config.init=runs/mine \
    --config.data.train=train.csv --config.data.val=val.csv

Manifests are `path label` a line, labels from 0 up; relative paths are taken
from --config.data.root, or from the manifest's folder. This is the quickest
protocol: nothing is trained by steps. An untrained encoder is judged beside.
"""

from sigma_jax import recipes


def get_config():
  """Frames, stride and size of a clip are those of `init`'s run."""
  return recipes.own("knn")
