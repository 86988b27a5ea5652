"""An evaluation in the run of real clips, and what is refused before one."""

import json

import pytest

from sigma_jax import errors, tasks
from sigma_jax.data import pipeline
from sigma_jax.evaluate import frozen
from sigma_jax.tasks import in_run
from sigma_jax.train import judging


@pytest.fixture(scope="module")
def config(tiny, change, toy_clips):
  """Two steps of the tiny model on toy clips, each followed by an evaluation.

  The clips that classify have a list of their own, of every second row.
  """
  lines = (toy_clips / "train.csv").read_text().splitlines(keepends=True)
  (toy_clips / "half.csv").write_text("".join(lines[::2]))
  return change(
    tiny,
    data__train=str(toy_clips / "train.csv"),
    data__val=str(toy_clips / "val.csv"),
    data__label_sets=str(toy_clips / "label_sets.json"),
    data__workers=1,
    evaluate__every=1,
    evaluate__train=str(toy_clips / "half.csv"),
    evaluate__knn_k=5,
    train__steps=2,
    train__checkpoint_every=1,
  )


def test_scores_are_those_of_the_probe_of_that_checkpoint(
  config, change, tmp_path, capsys
):
  tasks.run(config, tmp_path / "run")
  rows = judging.read(tmp_path / "run")
  assert [row["step"] for row in rows] == [1, 2]
  assert all(row["num_train"] == 20 and row["num_test"] == 12 for row in rows)
  out = capsys.readouterr().out
  assert f"evaluation  kNN {100 * rows[-1]['knn']:.1f}% (appearance " in out
  probe = change(
    config,
    task="probe",
    init=str(tmp_path / "run"),
    data__train=config.evaluate.train,
    probe__train_samples=1,
    probe__knn_k=5,
    probe__penalties=(1e-2,),
    probe__random_baseline=False,
    probe__bootstrap=5,
  )
  tasks.run(probe, tmp_path / "probe")
  content = json.loads((tmp_path / "probe" / frozen.RESULTS).read_text())
  assert content["step"] == 2
  found = {
    row["label_set"]: row for row in content["rows"] if row["protocol"] == "knn"
  }
  assert set(found) == {"appearance", "motion"}
  for name, row in found.items():
    for key, wanted in (("knn", "top1"), ("chance", "chance")):
      assert rows[-1][f"{key}_{name}"] == pytest.approx(row[wanted], abs=1e-6)


def test_the_same_few_clips_are_read_every_time(config, change, monkeypatch):
  few = change(config, evaluate__clips=7, evaluate__train="")
  read = []
  real = pipeline.eval_batches

  def reading(settings, source, **options):
    read.append(source.files)
    return real(settings, source, **options)

  monkeypatch.setattr(pipeline, "eval_batches", reading)
  for _ in range(2):
    for split in in_run.scorer(few)._splits:
      with split.open() as batches:
        valid = [int(batch["valid"].sum()) for batch in batches]
      assert sum(valid) == 7
      assert all(len(labels) == 7 for labels in split.labels.values())
  assert len(read) == 4 and read[:2] == read[2:]
  # Labels are those of the rows that are read.
  source = in_run.probe.open_splits(in_run._with_lists(few))
  for split, files, name in zip(
    in_run.scorer(few)._splits, read, ("train", "val"), strict=False
  ):
    rows = [source[0][name].files.index(file) for file in files]
    wanted = source[1][name]["motion"][rows]
    assert split.labels["motion"].tolist() == wanted.tolist()


def test_lists_of_other_data_count_by_their_own_labels(
  config, change, toy_clips, tmp_path
):
  """data.label_sets is not beside them."""
  for name in ("train", "val"):
    text = (toy_clips / f"{name}.csv").read_text()
    lines = [f"{toy_clips}/{line}\n" for line in text.splitlines()]
    (tmp_path / f"{name}.csv").write_text("".join(lines))
  own = change(
    config,
    evaluate__train=str(tmp_path / "train.csv"),
    evaluate__test=str(tmp_path / "val.csv"),
  )
  (first, _) = in_run.scorer(own)._splits
  assert list(first.labels) == ["label"]


@pytest.mark.parametrize(
  ("changes", "reason"),
  [
    ({"data__val": ""}, "no test clips are named"),
    ({"evaluate__test": "gone.csv"}, "gone.csv"),
    ({"evaluate__test": "unlabelled"}, "unlabelled.csv"),
    ({"evaluate__train": "unlabelled"}, "unlabelled.csv"),
    ({"evaluate__test": "train"}, "in the training split"),
  ],
)
def test_clips_that_cannot_judge_are_refused_before_the_run(
  changes, reason, config, change, toy_clips, tmp_path
):
  lines = (toy_clips / "val.csv").read_text().splitlines()
  (tmp_path / "unlabelled.csv").write_text(
    "".join(f"{toy_clips}/{line.rsplit(' ', 1)[0]}\n" for line in lines)
  )
  paths = {
    "unlabelled": str(tmp_path / "unlabelled.csv"),
    "train": config.evaluate.train,
  }
  bad = change(config, **{k: paths.get(v, v) for k, v in changes.items()})
  with pytest.raises(errors.UserError) as caught:
    tasks.run(bad, tmp_path / "run")
  message = str(caught.value)
  assert message.startswith("evaluate.every=1: ") and reason in message
  assert message.endswith("or leave it out by --config.evaluate.every=0")
  assert "\n" not in message
  assert not (tmp_path / "run" / "config.json").exists()
  assert not (tmp_path / "run" / "identity.json").exists()


def test_keeping_the_best_of_no_evaluations_is_refused(config, change):
  none = change(config, evaluate__every=0)
  assert in_run.scorer(none) is None
  with pytest.raises(errors.UserError, match=r"keep_best needs .* evaluate.ev"):
    in_run.scorer(change(none, train__keep_best=True))
