"""Several labels a toy clip, its appearance and its motion, by fine-tuning.

python -m sigma_jax.data.toy.multilabel --toy data/toy --out data/toy_multilabel
python -m sigma_jax.main --config=configs/eval/multilabel_toy.py \
    --workdir=runs/toy/multilabel --config.init=runs/toy

Without `init` the same is trained from scratch.
"""

from sigma_jax import recipes


def get_config():
  """As configs/eval/finetune_toy.py, with a sigmoid for each class.

  Of eighteen classes two are true: it takes three times the steps to tell them.
  """
  config = recipes.toy_supervised("motion")
  recipes.set_data(config, "toy_multilabel")
  config.train.steps = 450
  return config
