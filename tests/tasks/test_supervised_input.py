"""What supervised runs are given wrongly is told before they train."""

import json

import pytest

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.tasks import starting, supervised


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"supervised__label_set": "taste"}, "label_set 'taste' is not in"),
    ({"data__train": ""}, "data.train is not set"),
    ({"init": "nowhere"}, "no such checkpoint: nowhere"),
    ({"supervised__rates": (1.0, 2.0)}, "supervised.trains='head'"),
    ({"supervised__targets": "count"}, "needs supervised.train_targets"),
  ],
)
def test_wrong_input_is_told_in_a_line(
  base, change, tmp_path, changes, message
):
  with pytest.raises((errors.UserError, ValueError), match=message) as caught:
    supervised.run(change(base, **changes), tmp_path)
  assert "\n" not in str(caught.value)


def test_tests_that_cannot_be_are_refused_before_training(
  base, change, tmp_path
):
  """Manifests without files, and files that are no videos."""
  rows = "".join(f"{number}.mp4 {number % 20}\n" for number in range(20))
  (tmp_path / "val.csv").write_text(rows)
  config = change(
    base, data__val=str(tmp_path / "val.csv"), data__label_sets="",
    supervised__label_set="",
  )  # fmt: skip
  workdir = tmp_path / "run"
  with pytest.raises(errors.UserError, match="20 of the 20 files looked for"):
    supervised.run(config, workdir)
  for number in range(20):
    (tmp_path / f"{number}.mp4").write_text("no video")
  with pytest.raises(errors.UserError, match="none of the 8 test videos"):
    supervised.run(config, workdir)
  assert not (workdir / "checkpoints").exists()


def test_geometry_of_init_where_none_is_set(base, change, init, tmp_path):
  geometry = {"num_frames": 0, "stride": 0, "size": 0}
  config = change(base, **{f"data__{k}": v for k, v in geometry.items()})
  with pytest.raises(errors.UserError, match=r"data\.num_frames is 0, which"):
    supervised.run(config, tmp_path)
  filled, _ = starting.with_model(change(config, init=str(init)))
  trained = settings_lib.Settings.from_config(
    json.loads((init / "config.json").read_text())
  )
  for name in geometry:
    assert getattr(filled.data, name) == getattr(trained.data, name)
  # What is set stays.
  config = change(config, init=str(init), data__size=32)
  assert starting.with_model(config)[0].data.size == 32
  with pytest.raises(ValueError, match=r"data\.size must be positive"):
    change(config, task="pretrain", data__num_frames=4, data__stride=1,
           data__size=0)  # fmt: skip


def test_settings_are_checked():
  for options, message in (
    ({"rates": ()}, "rates"),
    ({"drop_path": 1.0}, "drop_path"),
    ({"views": (0, 1)}, "views"),
    ({"trains": "heads"}, "did you mean 'head'"),
    ({"trains": "head", "rates": (1.0, 2.0), "holdout": 0.0}, "holdout"),
  ):
    with pytest.raises(ValueError, match=message):
      settings_lib.Supervised(**options)
