"""A workdir's training goes on with what it was begun from, or not at all."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.data import sources
from sigma_jax.train import identity


@pytest.fixture
def trained(tmp_path):
  """A workdir with a checkpoint, as far as anyone can tell."""
  (tmp_path / "checkpoints" / "3").mkdir(parents=True)
  return tmp_path


def things(weights=1.0, step=5, path="runs/a", rows="x"):
  init = identity.init(path, {"w": jnp.full(3, weights)}, step)
  return {"init": init, "data.train": identity.Thing("list.csv", rows)}


def test_the_same_goes_on_wherever_it_lies(trained):
  identity.claim(trained, things())
  identity.claim(trained, things(path="/moved/a"))
  identity.claim(trained, things())


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (
      {"weights": 2.0, "step": 7},
      r"init \(step 5 of runs/a there, step 7 of runs/a here\)",
    ),
    ({"weights": 2.0}, r"init \(the content of step 5 of runs/a has changed\)"),
    ({"path": ""}, r"init \(step 5 of runs/a there, random weights here\)"),
    ({"rows": "y"}, r"data\.train \(the content of list\.csv has changed\)"),
  ],
)
def test_another_is_refused_by_name(trained, changes, words):
  identity.claim(trained, things())
  with pytest.raises(errors.UserError, match=words) as caught:
    identity.claim(trained, things(**changes))
  assert "--workdir" in str(caught.value) and "\n" not in str(caught.value)
  identity.claim(trained, things())  # nothing was noted over it


def test_before_the_first_checkpoint_all_may_change(tmp_path):
  identity.claim(tmp_path, things())
  identity.claim(tmp_path, things(weights=2.0))
  (tmp_path / "checkpoints" / "3").mkdir(parents=True)
  with pytest.raises(errors.UserError):
    identity.claim(tmp_path, things())


def test_an_old_workdir_takes_what_it_first_sees(trained):
  identity.claim(trained, things())
  with pytest.raises(errors.UserError):
    identity.claim(trained, things(weights=2.0))


def rows(files, labels=None):
  labels = np.arange(len(files)) if labels is None else labels
  return types.SimpleNamespace(files=tuple(files), labels=np.asarray(labels))


def test_rows_are_told_apart():
  files = ["/data/a/1.mp4", "/data/a/2.mp4", "/data/b/1.mp4"]
  one = sources.identity(rows(files))
  assert one == sources.identity(rows(files))
  moved = [file.replace("/data", "/mnt/other") for file in files]
  assert sources.identity(rows(moved)) == one
  for other in (
    rows(files[::-1], [2, 1, 0]),
    rows(files[:2]),
    rows([*files[:2], "/data/b/3.mp4"]),
    rows(files, [0, 1, 1]),
  ):
    assert sources.identity(other) != one
  unlabelled = [
    sources.identity(rows(files, labels), labels=False)
    for labels in ([0, 1, 2], [0, 0, 0])
  ]
  assert unlabelled[0] == unlabelled[1] != one
