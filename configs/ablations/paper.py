"""The published ablation at its own size, and what else SIGMA chooses.

python -m sigma_jax.data.layouts ssv2 \
    --annotations=/data/ssv2/labels --videos=/data/ssv2 --out=data/ssv2
python -m sigma_jax.ablate configs/ablations/paper.py \
    --workdir=runs/paper_ablation --only=1/39

ViT-B, 16 frames of 224 pixels, fine-tuned on Something-Something v2. The paper
ablates on mini-SSv2, whose list it does not publish: `data/mini_ssv2` has to be
made by hand. Its length of training is not known; 800 epochs are those of
configs/ssv2_vitb.py. One job of an array takes `--only=I/N`.
"""

import ml_collections

_TRAIN, _VAL = "data/mini_ssv2/train.csv", "data/mini_ssv2/val.csv"


def get_config():
  """Three seeds; the published figures stand beside the rows they are of."""
  return ml_collections.ConfigDict(
    {
      "title": "The published ablation, ViT-B on mini-SSv2",
      "config": "configs/ssv2_vitb.py",
      "judge": ("configs/eval/finetune_ssv2.py",),
      "seeds": (0, 1, 2),
      "reference": "prototypes-4000",
      "set": {"data": {"train": _TRAIN}},
      # The labels are those of the manifests.
      "judge_set": {"data": {"train": _TRAIN, "val": _VAL, "label_sets": ""}},
      "rows": {
        "l2": {
          "title": "L2 on the learnt target",
          "set": {"loss": {"kind": "l2"}},
          "published": "L2",
        },
        "pixel": {
          "title": "VideoMAE",
          "set": {"loss": {"kind": "l2"}, "target": {"kind": "pixel"}},
          "published": "VideoMAE",
        },
        "prototypes": {
          "title": "SIGMA-MLP",
          "vary": {"loss": {"num_prototypes": (1000, 4000, 6000)}},
          "published": ("K 1000", "K 4000", "K 6000"),
        },
        "epsilon": {
          "title": "SIGMA-MLP, K 4000",
          "set": {"loss": {"num_prototypes": 4000}},
          "vary": {"loss": {"epsilon": (0.03, 0.05, 0.1)}},
        },
        "rounds": {
          "title": "SIGMA-MLP, K 4000",
          "set": {"loss": {"num_prototypes": 4000}},
          "vary": {"loss": {"rounds": (3, 10)}},
        },
        "labels": {
          "title": "SIGMA-MLP, K 4000",
          "set": {"loss": {"num_prototypes": 4000}},
          "vary": {"loss": {"labels": ("hard", "soft")}},
        },
        "tree": {
          "title": "SIGMA-MLP, 10 nodes above 4000",
          "set": {"loss": {"num_prototypes": 4000, "levels": (10,)}},
          "vary": {
            "loss": {"hierarchy": ("leaves", "top_down", "independent")}
          },
        },
        "ratio": {
          "title": "SIGMA-MLP, K 4000",
          "set": {"loss": {"num_prototypes": 4000}},
          "vary": {"masking": {"ratio": (0.75, 0.9)}},
        },
      },
    }
  )
