"""A fine-tuning on a few toy clips, and what it begins from."""

import jax
import pytest

from sigma_jax.models import sigma
from sigma_jax.train import checkpoint


@pytest.fixture(scope="module", name="base")
def base_fixture(tiny, change, toy_clips):
  """A fine-tuning of the tiny model on motions, two steps."""
  return change(
    tiny,
    task="supervised",
    data__train=str(toy_clips / "train.csv"),
    data__val=str(toy_clips / "val.csv"),
    data__label_sets=str(toy_clips / "label_sets.json"),
    data__crop="random_resized",
    data__workers=1,
    augment__num_ops=0,
    supervised__label_set="motion",
    supervised__views=(2, 3),
    supervised__test_batch_size=8,
    supervised__head_scale=1.0,
    supervised__drop_path=0.0,
    supervised__bootstrap=50,
    train__steps=2,
    train__checkpoint_every=1,
  )


@pytest.fixture(scope="module", name="init")
def init_fixture(tiny, tmp_path_factory):
  """The workdir of a pre-training."""
  workdir = tmp_path_factory.mktemp("pretrained")
  params = sigma.init_params(tiny, jax.random.key(5))
  checkpoint.write_params(workdir, tiny, params, step=7)
  return workdir
