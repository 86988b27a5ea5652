"""kNN and a linear map on cached features of your own labelled clips.

python -m sigma_jax.main --config=configs/eval/knn.py \
    --workdir=runs/mine/knn --config.init=runs/mine \
    --config.data.train=train.csv --config.data.val=val.csv

Lists are `path label` a line, classes by number from 0 up or by name, or of
another form of docs/YOUR_DATA.md; relative paths are taken from
--config.data.root, or from the list's folder. This is the quickest
protocol: nothing is trained by steps. An untrained encoder is judged beside.
"""

from sigma_jax import recipes


def get_config():
  """Frames, stride and size of a clip are those of `init`'s run."""
  return recipes.own("knn")
