"""What rows are to give: classes, several, counts; rows held out."""

import dataclasses
import types

import numpy as np
import pytest

from sigma_jax import errors, settings
from sigma_jax.data import labels, sources
from sigma_jax.data.annotations import multilabel, repetitions, windows


def load_both(tmp_path, train, val, **options):
  for name, lines in (("train", train), ("val", val)):
    (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
  data = settings.Data(
    train=str(tmp_path / "train.csv"),
    val=str(tmp_path / "val.csv"),
    max_bad_share=1.0,  # the files that the lines name are not there
  )
  supervised = settings.Supervised(**options)
  return labels.load_both(settings.Settings(data=data, supervised=supervised))


def test_classes_of_both_splits_are_counted(tmp_path):
  train, val = load_both(
    tmp_path, ["a.mp4 0", "b.mp4 2"], ["c.mp4 5", "d.mp4 2"]
  )
  assert train.num_outputs == val.num_outputs == 6
  batch = {"index": np.array([1, 0, 1])}
  np.testing.assert_array_equal(train.of_clips(batch), [2, 0, 2])
  np.testing.assert_array_equal(val.truth, [5, 2])


def test_a_file_in_both_splits_or_one_class_is_refused(tmp_path):
  with pytest.raises(errors.UserError, match=r"b\.mp4 is in the training"):
    load_both(tmp_path, ["a.mp4 0", "b.mp4 1"], ["b.mp4 1"])
  with pytest.raises(errors.UserError, match="only one class"):
    load_both(tmp_path, ["a.mp4 1", "b.mp4 1"], ["c.mp4 0"])


def test_splits_without_a_class_in_common_are_refused(tmp_path):
  with pytest.raises(errors.UserError) as caught:
    load_both(tmp_path, ["a.mp4 0", "b.mp4 1"], ["c.mp4 10", "d.mp4 11"])
  message = str(caught.value)
  for part in ("train.csv", "val.csv", "10, 11", "0, 1"):
    assert part in message
  for name, label in (("train", 0), ("val", 1)):
    multilabel.save(
      str(tmp_path / f"{name}.npz"), [name], [(0, label, 0.0, 1.0)], ["a", "b"]
    )
  with pytest.raises(errors.UserError, match=r"no class of .*val\.csv is in"):
    load_both(
      tmp_path,
      ["train.mp4 0"],
      ["val.mp4 0"],
      targets="multilabel",
      train_targets=str(tmp_path / "train.npz"),
      val_targets=str(tmp_path / "val.npz"),
    )


def test_several_labels_are_those_of_the_clip(tmp_path):
  """By its span; where that is not known, the whole video's."""
  for name in ("train", "val"):
    multilabel.save(
      str(tmp_path / f"{name}.npz"),
      [f"{name}0", f"{name}1"],
      [(0, 0, 0.0, 2.0), (0, 2, 5.0, 9.0), (1, 1, 0.0, 1.0)],
      ["sit", "stand", "walk"],
    )
  train, val = load_both(
    tmp_path,
    ["train0.mp4 0", "train1.mp4 1"],
    ["val0.mp4 0", "val1.mp4 1"],
    targets="multilabel",
    train_targets=str(tmp_path / "train.npz"),
    val_targets=str(tmp_path / "val.npz"),
  )
  batch = {
    "index": np.array([0, 0, 0, 1]),
    "span": np.array([[0.5, 1.0], [1.5, 6.0], [0.0, 0.0], [3.0, 4.0]]),
  }
  found = train.of_clips(batch)
  assert found.dtype == np.float32
  np.testing.assert_array_equal(
    found, [[1, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]]
  )
  np.testing.assert_array_equal(val.truth, [[1, 0, 1], [0, 1, 0]])
  assert train.names == ("sit", "stand", "walk")


def split_of(videos):
  rows = np.arange(len(videos), dtype=np.int32)
  source = types.SimpleNamespace(
    path="list", files=tuple(f"{n}.mp4" for n in rows), labels=rows
  )
  return labels.Labelled(
    source=source,
    values=10 * rows,
    names=("a", "b"),
    videos=np.asarray(videos, np.int32),
    truth=np.zeros(max(videos) + 1),
    of_clips=lambda batch: 10 * batch["index"],
  )


def test_what_is_held_out_shares_no_video(tmp_path):
  split = split_of([0, 0, 1, 1, 1, 2, 3, 3, 4, 5])
  kept, chosen = labels.held_out(split, 0.3, seed=0)
  np.testing.assert_array_equal(
    np.sort(np.concatenate([kept, chosen])), np.arange(10)
  )
  videos = [set(split.videos[rows]) for rows in (kept, chosen)]
  assert not videos[0] & videos[1] and len(videos[1]) == 2
  again = labels.held_out(split, 0.3, seed=0)[1]
  np.testing.assert_array_equal(again, chosen)
  assert any(
    not np.array_equal(labels.held_out(split, 0.3, seed)[1], chosen)
    for seed in range(1, 5)
  )
  with pytest.raises(errors.UserError, match="one video"):
    labels.held_out(split_of([0, 0]), 0.3, seed=0)


@pytest.mark.parametrize("seed", range(8))
def test_a_class_keeps_a_video_to_train_on(seed):
  """Whatever is drawn; where nothing was lost, the same is drawn as before."""
  classes = np.array([0] * 6 + [1] * 2 + [2])
  split = dataclasses.replace(
    split_of(range(9)), values=classes, truth=classes, names=tuple("abc")
  )
  kept, chosen = labels.held_out(split, 0.9, seed)
  assert set(classes[kept]) == {0, 1, 2} and len(chosen) == 6
  drawn = np.random.default_rng(seed).permutation(9)[:2]
  if set(np.delete(classes, drawn)) == {0, 1, 2}:
    chosen = labels.held_out(split, 2 / 9, seed)[1]
    np.testing.assert_array_equal(chosen, np.sort(drawn))
  one_each = dataclasses.replace(
    split_of(range(3)), values=np.arange(3), truth=np.arange(3)
  )
  with pytest.raises(errors.UserError, match="one of each class"):
    labels.held_out(one_each, 0.5, seed)


def counts_file(path, counts):
  rows = [repetitions.Repetitions(name, n) for name, n in counts.items()]
  repetitions.save(str(path), rows)
  return str(path)


def test_what_a_metric_needs_is_looked_at_first(tmp_path, monkeypatch):
  """A count of nothing and a split without a positive: before the training."""
  monkeypatch.setattr(windows, "_num_frames", lambda source, row: 64)
  files = ["a.mp4 0", "b.mp4 0"], ["c.mp4 0", "d.mp4 0"]
  with pytest.raises(errors.UserError, match=r"d\.mp4 has 0 repetitions"):
    load_both(
      tmp_path,
      *files,
      targets="count",
      train_targets=counts_file(tmp_path / "t.jsonl", {"a": 3, "b": 0}),
      val_targets=counts_file(tmp_path / "v.jsonl", {"c": 3, "d": 0}),
    )
  for name, spans in (("train", [(0, 0, 0.0, 1.0)]), ("val", [])):
    multilabel.save(str(tmp_path / f"{name}.npz"), [name], spans, ["sit"])
  with pytest.raises(errors.UserError, match="no test video has any class"):
    load_both(
      tmp_path,
      ["train.mp4 0"],
      ["val.mp4 0"],
      targets="multilabel",
      train_targets=str(tmp_path / "train.npz"),
      val_targets=str(tmp_path / "val.npz"),
    )


@pytest.mark.parametrize(
  ("spans", "message"),
  [
    ([(0, 3, 0.0, 1.0)], r"label\[0\] is 3, .* its 1 classes"),
    ([(0, -1, 0.0, 1.0)], r"label\[0\] is -1"),
    ([(0, 0, 0.0, 1.0), (2, 0, 0.0, 1.0)], r"row\[1\] is 2, .* its 1 videos"),
  ],
)
def test_tables_of_labels_that_contradict_themselves(tmp_path, spans, message):
  path = str(tmp_path / "labels.npz")
  multilabel.save(path, ["a"], spans, ["sit"])
  source = types.SimpleNamespace(files=("a.mp4",), labels=np.zeros(1, np.int32))
  with pytest.raises(errors.UserError, match=message):
    multilabel.load(path, source)


def test_taken_rows_keep_their_targets():
  split = split_of([0, 1, 2, 3])
  some = labels.take(split, np.array([3, 1]))
  assert some.source.files == ("3.mp4", "1.mp4")
  np.testing.assert_array_equal(some.values, [30, 10])
  batch = {"index": np.array([0, 1, 1])}
  np.testing.assert_array_equal(some.of_clips(batch), [30, 10, 10])
  assert (
    dataclasses.is_dataclass(some)
    and len(sources.take(split.source, np.array([2])).files) == 1
  )
