"""Inputs and results that all contenders of the `loss` benchmark share."""

import numpy as np

# Keys of the options that define the loss.
SOLVER = ("epsilon", "rounds", "temperature", "labels")


def make(options: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Both sides' features [1, tubes, dim] and prototypes [k, dim], float32.

  Tubes of both sides scatter about the same centres, as those of a trained
  model do; prototypes are not normalised yet.
  """
  rng = np.random.default_rng(0)
  tubes, dim = options["tubes"], options["dim"]
  prototypes = rng.standard_normal((options["prototypes"], dim), np.float32)
  center = prototypes[rng.integers(0, len(prototypes), tubes)]
  video, target = (
    (center + rng.standard_normal((tubes, dim), np.float32))[None]
    for _ in range(2)
  )
  return video, target, prototypes


def results(loss, labels, gradients) -> dict[str, np.ndarray]:
  """For `agree`: float32 loss and gradients, int32 labels of both sides."""
  names = ("by_video", "by_target", "by_prototypes")
  return {
    "loss": np.asarray(loss),
    "labels": np.stack([np.asarray(x).ravel() for x in labels]),
    **{
      name: np.asarray(g).reshape(-1, g.shape[-1])
      for name, g in zip(names, gradients, strict=True)
    },
  }


def differences(found: dict, wanted: dict) -> dict[str, float]:
  """Relative difference of the loss, share of labels, relative gradients.

  A gradient's difference is its largest one over the largest gradient, of the
  tubes that both give the same labels: a label is a step function, and of two
  equally good prototypes either may be taken.
  """
  same = (found["labels"] == wanted["labels"]).all(axis=0)
  gradients = []
  for name in ("by_video", "by_target", "by_prototypes"):
    keep = same if name != "by_prototypes" else slice(None)
    a, b = found[name][keep], wanted[name][keep]
    gradients.append(float(np.abs(a - b).max() / np.abs(b).max()))
  loss = float(abs(found["loss"] - wanted["loss"]) / abs(wanted["loss"]))
  return {
    "loss": loss,
    "labels": float(1 - same.mean()),
    "gradients": max(gradients),
  }
