"""A tiny ablation, a minute on two CPU cores: to see that all of it works.

python -m sigma_jax.data.toy --out data/toy_small --train=40 --val=12
python -m sigma_jax.ablate configs/ablations/smoke.py --workdir=runs/smoke
"""

import ml_collections

_DATA = {
  "train": "data/toy_small/train.csv",
  "val": "data/toy_small/val.csv",
  "label_sets": "data/toy_small/label_sets.json",
  "workers": 1,
}


def get_config():
  """Two numbers of prototypes, two seeds; nothing is learnt."""
  return ml_collections.ConfigDict(
    {
      "title": "A tiny ablation",
      "config": "configs/toy.py",
      "judge": ("configs/eval/knn_toy.py",),
      "seeds": (0, 1),
      "reference": "prototypes-8",
      "set": {
        "data": {**_DATA, "num_frames": 4, "size": 16},
        "model": {
          "patch": 4,
          "encoder_dim": 16,
          "encoder_depth": 1,
          "encoder_heads": 2,
          "decoder_dim": 8,
          "decoder_depth": 1,
          "decoder_heads": 2,
        },
        "target": {"dim": 8, "hidden": (16,)},
        "train": {
          "batch_size": 8,
          "steps": 10,
          "log_every": 1,
          "checkpoint_every": 5,
        },
        "optimizer": {"warmup_epochs": 0.0},
      },
      "judge_set": {
        "data": _DATA,
        "probe": {
          "batch_size": 8,
          "train_samples": 1,
          "penalties": (1e-3,),
          "bootstrap": 20,
        },
      },
      "rows": {
        "prototypes": {
          "title": "SIGMA-MLP",
          "vary": {"loss": {"num_prototypes": (4, 8)}},
        },
      },
    }
  )
