"""Fine-tuning on your own labelled clips.

python -m sigma_jax.main --config=configs/eval/finetune.py \
    --workdir=runs/mine/finetune --config.init=runs/mine \
    --config.data.train=train.csv --config.data.val=val.csv

Manifests are as for configs/eval/knn.py. The published recipe, but 30 epochs
and no mirroring: add --config.data.flip=True where no class tells left from
right.
"""

from sigma_jax import recipes


def get_config():
  """Frames, stride and size of a clip are those of `init`'s run."""
  return recipes.own("finetune")
