"""The quick evaluation: of which clips, read how often, and what it gives."""

import contextlib

import jax
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.evaluate import features, in_run
from sigma_jax.train import mesh as mesh_lib

ROWS = {"train": 24, "test": 16}
# Features of one clip each, by class: three directions.
CENTRES = np.eye(3, 4, dtype=np.float32)


@pytest.fixture
def opened(monkeypatch):
  """Encoders are numbers: features are the class's direction, if it is one.

  Of a smaller number that share of the clips, and of others the class after
  it. Returns the list of what was opened.
  """

  def extract(settings, encoders, batches, mesh):
    batches = list(batches)
    rows = np.concatenate([b["index"][b["valid"]] for b in batches])
    (share,) = encoders.values()
    wrong = rows % 8 >= 8 * share
    found = CENTRES[(rows + wrong) % 3] + 1e-3 * rows[:, None]
    found = np.where(np.isnan(share), np.nan, found).astype(np.float32)
    return {name: features.FeatureSet(found, rows) for name in encoders}

  monkeypatch.setattr(features, "extract", extract)
  return []


def split(name, opened, invalid=()):
  @contextlib.contextmanager
  def batches():
    opened.append(name)
    rows = np.arange(ROWS[name], dtype=np.int32)
    yield iter(
      {
        "video": np.zeros((8, 2, 2, 2, 3), np.uint8),
        "index": part,
        "valid": ~np.isin(part, invalid),
        "label": part,
      }
      for part in np.split(rows, len(rows) // 8)
    )

  rows = np.arange(ROWS[name])
  labels = {"three": rows % 3, "two": (rows % 3 > 0).astype(int)}
  return in_run.Split(name, batches, labels)


def scorer(settings, opened, sets=("three",), invalid=(), **options):
  train, test = (split(name, opened, invalid) for name in ROWS)
  mesh = mesh_lib.make(settings.mesh)
  classes = {name: {"three": 3, "two": 2}[name] for name in sets}
  return in_run.Scorer(settings, mesh, train, test, classes, **options)


@pytest.fixture(scope="module")
def settings(tiny, change):
  return change(tiny, evaluate__every=1, evaluate__knn_k=3)


def test_scores_of_one_label_set(settings, opened):
  score = scorer(settings, opened)
  found = score(1.0)
  assert found == {
    **{"knn": 1.0, "linear": 1.0, "chance": 6 / 16},
    **{"num_train": 24, "num_test": 16},
  }
  half = score(0.5)
  assert half["chance"] == 6 / 16 and half["knn"] < 1.0


def test_scores_of_several_label_sets_and_their_mean(settings, opened):
  found = scorer(settings, opened, ("three", "two"), invalid=(0, 3))(1.0)
  assert found["num_train"] == 22 and found["num_test"] == 14
  assert found["chance_three"] == 5 / 14 and found["chance_two"] == 10 / 14
  for part in ("knn", "linear", "chance"):
    both = [found[f"{part}_three"], found[f"{part}_two"]]
    assert found[part] == pytest.approx(np.mean(both))
  assert found["knn_two"] == found["linear_two"] == 1.0


def test_small_clips_are_read_once_and_large_ones_each_time(settings, opened):
  few = scorer(settings, opened)
  first = few(1.0)
  assert few(1.0) == first
  assert opened == ["train", "test"]
  opened.clear()
  # The training clips, three batches of 192 bytes, are too many; those of the
  # test are not.
  part = scorer(settings, opened, kept=500)
  assert part(1.0) == part(1.0) == first
  assert opened == ["train", "test", "train"]


def test_what_is_not_kept_when_an_evaluation_is_stopped(
  settings, opened, monkeypatch
):
  score = scorer(settings, opened)
  with monkeypatch.context() as patch:

    def stop(what_is_kept):
      raise errors.Interrupted(f"stopped{what_is_kept}")

    patch.setattr(in_run.preemption, "poll", stop)
    with pytest.raises(errors.Interrupted, match="within an evaluation; what"):
      score(1.0)
  assert score(1.0)["num_train"] == 24  # and not the first batch's alone
  assert opened == ["train", "train", "test"]


@pytest.mark.parametrize(
  ("encoder", "invalid", "message"),
  [
    (1.0, range(24), "no clip of train could be read"),
    (float("nan"), (), "features are not finite"),
  ],
)
def test_what_says_nothing_ends_the_run(
  encoder, invalid, message, settings, opened
):
  with pytest.raises(errors.RunStopped, match=message):
    scorer(settings, opened, invalid=tuple(invalid))(encoder)


def test_features_are_those_that_evaluations_take(settings, tiny_video):
  """Of the encoder as it stands on the devices, with its last norm."""
  from sigma_jax.models import sigma

  params = jax.jit(lambda: sigma.init_params(settings, jax.random.key(0)))()
  mesh = mesh_lib.make(settings.mesh)
  batch = {
    "video": tiny_video,
    "index": np.arange(8, dtype=np.int32),
    "valid": np.ones(8, bool),
  }
  whole = jax.device_put(params["encoder"], mesh_lib.replicated(mesh))
  one = in_run.Split("one", lambda: contextlib.nullcontext([batch]), {})
  score = in_run.Scorer(settings, mesh, one, one, {})
  found = score._features(whole, one)
  host = {"it": jax.tree.map(np.asarray, params["encoder"])}
  wanted = features.extract(settings, host, [batch], mesh)["it"]
  np.testing.assert_array_equal(found.features, wanted.features)
  assert found.features.shape == (8, settings.model.encoder_dim)
