"""Options that do not exist: which one was meant."""

import pytest

from sigma_jax import nearest, settings


def dotted(tree, prefix=""):
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from dotted(value, f"{prefix}{key}.")
    else:
      yield prefix + key


VALID = tuple(dotted(settings.Settings().to_dict()))


@pytest.mark.parametrize(
  ("given", "meant"),
  [
    # What other codes call it.
    ("optimizer.lr", "optimizer.base_lr"),
    ("lr", "optimizer.base_lr"),
    ("train.learning_rate", "optimizer.base_lr"),
    ("optimizer.wd", "optimizer.weight_decay"),
    ("train.num_epochs", "train.epochs"),
    ("data.frames", "data.num_frames"),
    ("loss.eps", "loss.epsilon"),
    ("mask_ratio", "masking.ratio"),
    ("probe.batch", "probe.batch_size"),
    ("loss.k", "loss.num_prototypes"),
    ("probe.k", "probe.knn_k"),
    # The right name in a wrong section, or in none.
    ("train.warmup_epochs", "optimizer.warmup_epochs"),
    ("weight_decay", "optimizer.weight_decay"),
    ("batch_size", "train.batch_size"),
    ("epochs", "train.epochs"),
    ("optimizer.epochs", "train.epochs"),
    ("supervised.batch_size", "supervised.test_batch_size"),
    # Misspelt.
    ("train.batchsize", "train.batch_size"),
    ("trian.steps", "train.steps"),
    ("target.wieghts", "target.weights"),
    ("trainsteps", "train.steps"),
    # Nothing like it: no wrong advice.
    ("optimizer.foo", None),
    ("zzz", None),
  ],
)
def test_what_was_meant(given, meant):
  assert nearest.option(given, VALID) == meant


def test_names_of_other_codes_lead_to_options_that_exist():
  assert set(nearest._SYNONYMS) <= set(VALID)
  names = " ".join(nearest._SYNONYMS.values()).split()
  # A name of ours is not another's name for something else.
  ours = {key.split(".")[-1] for key in VALID} - {"batch_size", "test"}
  assert not set(names) & ours
  assert nearest.option("data.test", VALID) == "data.val"


def test_within_a_section_of_a_config():
  with pytest.raises(ValueError, match=r"did you mean 'optimizer\.base_lr'"):
    settings.Settings.from_config({"optimizer": {"lr": 1.0}})
