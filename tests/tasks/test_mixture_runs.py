"""A pre-training on several sets, from its config to its metrics."""

import pathlib
import shutil

import jax
import numpy as np
import pytest

from sigma_jax import errors, settings, tasks
from sigma_jax.report import gather, sets
from sigma_jax.train import checkpoint, metrics


@pytest.fixture(scope="module")
def lists(toy_clips, tmp_path_factory):
  """Two lists: 40 videos, and 12 of which one is not there."""
  folder = tmp_path_factory.mktemp("lists")
  for name, split in (("many", "train"), ("few", "val")):
    lines = (toy_clips / f"{split}.csv").read_text().splitlines()
    lines = [f"{toy_clips}/{line}" for line in lines]
    if name == "few":
      lines[3] = "/none/gone.mp4 0"
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
  return folder


@pytest.fixture(scope="module")
def config(tiny, change, lists):
  return change(
    tiny,
    data__mixture=((f"{lists}/many.csv", 3), (f"{lists}/few.csv", 1.0)),
    data__max_bad_share=0.5,
    data__workers=1,
    train__steps=7,
  )


@pytest.fixture(scope="module")
def done(config, tmp_path_factory):
  """Its workdir."""
  workdir = tmp_path_factory.mktemp("mixture") / "run"
  tasks.run(config, workdir)
  return workdir


def test_the_metrics_count_each_set(done):
  rows = metrics.read(done)
  assert [row["step"] for row in rows] == list(range(1, 8))
  for row in rows:  # 8 clips a step, 6 and 2 of them
    assert row["epochs/many"] == pytest.approx(row["step"] * 6 / 40)
    assert row["epochs/few"] == pytest.approx(row["step"] * 2 / 12)
  last = rows[-1]  # an epoch of the few is over
  assert last["bad_files/few"] == 1 and last["files_tried/few"] == 12
  assert last["bad_files/many"] == 0 and last["files_tried/many"] >= 40 - 4


def test_the_page_shows_them(done):
  text = sets.table(gather.load(done))
  for words in ("many.csv</td><td>75 %", "<td>1.05</td>", "1 of 12</td>"):
    assert words in text


def test_a_run_that_goes_on_ends_bitwise_as_the_unbroken_one(
  done, config, tmp_path, capsys
):
  again = tmp_path / "again"
  shutil.copytree(done, again)
  shutil.rmtree(again / "checkpoints" / "7")
  tasks.run(config, again)
  out = capsys.readouterr().out
  assert "resuming after step 6" in out and "epochs/few 1.17" in out
  assert "set many: 40 rows of" in out and "share 0.75 (3/4)" in out
  states = [checkpoint.restore_params(folder) for folder in (done, again)]
  assert states[0][1] == states[1][1] == 7
  for one, other in zip(*(jax.tree.leaves(x[0]) for x in states), strict=True):
    np.testing.assert_array_equal(one, other)
  timed = ("clips_per_second", "wait_share")
  lines = [
    {k: v for k, v in metrics.read(folder)[-1].items() if k not in timed}
    for folder in (done, again)
  ]
  assert lines[0] == lines[1]


@pytest.mark.parametrize(
  ("weights", "words"), [((1, 1), "share 1/2"), ((3, 1), None)]
)
def test_other_shares_are_another_training(
  done, config, change, lists, weights, words
):
  """The same ratio is the same one, and here it is complete."""
  pairs = zip(("many", "few"), weights, strict=True)
  sets_ = tuple((f"{lists}/{name}.csv", 2.0 * weight) for name, weight in pairs)
  run = change(config, data__mixture=sets_)
  if words is None:
    tasks.run(run, done)
    return
  with pytest.raises(errors.UserError, match=words) as caught:
    tasks.run(run, done)
  assert "share 3/4" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_set_is_named(config, change, lists, tmp_path):
  run = change(
    config, data__mixture=((f"{lists}/many.csv", 1), (f"{lists}/no.csv", 1))
  )
  with pytest.raises((errors.UserError, FileNotFoundError), match=r"no\.csv"):
    tasks.run(run, tmp_path / "run")


def test_each_set_may_have_a_root_of_its_own(
  config, change, toy_clips, lists, tmp_path
):
  from sigma_jax.data import mixture

  listed = toy_clips / "val.csv"
  copy = pathlib.Path(tmp_path, "val.csv")
  copy.write_text(listed.read_text())
  shares = (f"{lists}/few.csv", 1.0), (str(copy), 1.0, str(toy_clips))
  run = change(config, data__mixture=shares)
  assert run.data.mixture[1] == settings.Share(*shares[1])
  own = mixture.load(run.data).sets[1].files
  assert own[0] == f"{toy_clips}/{listed.read_text().split()[0]}"
