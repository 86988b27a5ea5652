"""The ablation on the embedded toy clips, short runs on two CPU cores.

python -m sigma_jax.data.toy --out data/toy
for part in train val; do
  python -m sigma_jax.data.prepare --manifest data/toy/$part.csv \
    --out data/toy_records/$part
done
python -m sigma_jax.ablate configs/ablations/toy.py --workdir=runs/toy_ablation
"""

import ml_collections

# Records: 54 runs read the same clips.
_DATA = {
  "train": "data/toy_records/train",
  "val": "data/toy_records/val",
  "label_sets": "data/toy/label_sets.json",
}


def get_config():
  """Short runs, three seeds; the probe and kNN on cached features judge."""
  return ml_collections.ConfigDict(
    {
      "title": "Ablation on toy clips",
      "config": "configs/toy.py",
      "judge": ("configs/eval/knn_toy.py",),
      "seeds": (0, 1, 2),
      "reference": "prototypes-64",
      "set": {
        "data": _DATA,
        "train": {"steps": 150, "checkpoint_every": 50},
        "evaluate": {"every": 0},  # the judge does it
      },
      # Features are most of the time of such short runs.
      "judge_set": {
        "data": _DATA,
        "probe": {"train_samples": 1, "bootstrap": 100},
      },
      "rows": {
        "l2": {"title": "L2", "set": {"loss": {"kind": "l2"}}},
        "pixel": {
          "title": "VideoMAE",
          "set": {"loss": {"kind": "l2"}, "target": {"kind": "pixel"}},
        },
        "prototypes": {
          "title": "SIGMA-MLP",
          "vary": {"loss": {"num_prototypes": (16, 64, 256)}},
        },
        "epsilon": {
          "title": "SIGMA-MLP",
          "vary": {"loss": {"epsilon": (0.03, 0.1)}},
        },
        "rounds": {
          "title": "SIGMA-MLP",
          "vary": {"loss": {"rounds": (3, 10)}},
        },
        "labels": {
          "title": "SIGMA-MLP",
          "vary": {"loss": {"labels": ("hard", "soft")}},
        },
        "ratio": {
          "title": "SIGMA-MLP",
          "vary": {"masking": {"ratio": (0.75, 0.9)}},
        },
        "tree": {
          "title": "SIGMA-MLP, 8 nodes above 64",
          "set": {"loss": {"levels": (8,)}},
          "vary": {
            "loss": {"hierarchy": ("leaves", "top_down", "independent")}
          },
        },
        "mgmae": {"title": "MGMAE", "config": "configs/toy_mgmae.py"},
        "motion": {
          "title": "SIGMA-MLP, masks guided by motion",
          "config": "configs/toy_mgmae.py:mlp",
        },
        "mme": {"title": "MME", "config": "configs/toy_mme.py"},
        "vjepa": {"title": "V-JEPA", "config": "configs/toy_vjepa.py"},
        "swav": {"title": "SwAV", "config": "configs/toy_swav.py"},
        "dino": {"title": "DINO", "config": "configs/toy_dino.py"},
      },
    }
  )
