"""Video data sets: each official format becomes the manifest it should."""

import json
import pathlib

import numpy as np
import pytest

from sigma_jax.data import manifest, sources
from sigma_jax.data.annotations import multilabel, repetitions
from sigma_jax.data.layouts import manifests, subsets


def table(path, root=""):
  """(file's name, label) of every row, in order."""
  rows = manifest.load(str(path), str(root))
  assert all(pathlib.Path(file).is_file() for file in rows.files)
  names = [pathlib.Path(file).name for file in rows.files]
  return list(zip(names, rows.labels.tolist(), strict=True))


def names_of(out):
  return json.loads((out / "label_sets.json").read_text())["label"]["names"]


def videos(command, root, out, *more, annotations="annotations", below="."):
  return (
    command,
    f"--annotations={root / annotations}",
    f"--videos={root / below}",
    f"--out={out}",
    *more,
  )


@pytest.mark.parametrize("size", ["400", "600", "700"])
def test_kinetics(miniature, run, tmp_path, size):
  root, out = miniature(f"k{size}"[:4]), tmp_path / "out"
  code, stdout, stderr = run(*videos(f"kinetics{size}", root, out))
  assert code == 0
  assert names_of(out) == [
    "air drumming",
    "massaging person's head",
    "tap dancing",
    "zumba",
  ]
  assert table(out / "train.csv") == [
    ("-3B32lodo2M_000059_000069.mp4", 2),
    ("_dbcJuKJQNs_000040_000050.mp4", 0),
    ("0aBcDeFgHiJ_000000_000010.mp4", 1),
    ("AAAAAAAAAAA_000002_000012.mp4", 3),
  ]
  assert table(out / "val.csv") == [("valvalvalva_000040_000050.mp4", 0)]
  assert not (out / "test.csv").exists()
  assert "test.csv has no labels" in stderr
  # Nothing is dropped silently.
  missing = "train\tgonegonegon_000001_000011\n"
  assert (out / "missing.txt").read_text() == missing
  assert "train: 4 files, 1 missing" in stdout
  assert "1 of 6 rows have no file" in stderr
  assert f"4 classes; the whole data set has {size}" in stderr
  # The repaired file, not the damaged one; a path with spaces gets a tab.
  text = (out / "train.csv").read_text()
  assert "/replacement/replacement_for_corrupted_k400/AAAAAAAAAAA" in text
  assert "/air drumming/_dbcJuKJQNs_000040_000050.mp4\t0\n" in text
  assert "/train/-3B32lodo2M_000059_000069.mp4 2\n" in text


def test_what_is_written_is_what_the_pipeline_opens(miniature, run, tmp_path):
  root, out = miniature("k400"), tmp_path / "out"
  assert run(*videos("kinetics400", root, out))[0] == 0
  source = sources.load(str(out / "train.csv"))
  with source.open(1, 10.0) as video:
    assert video.read(np.arange(2)).shape == (2, 32, 32, 3)
  rows = manifest.load(str(out / "train.csv"))
  labels, names = manifest.load_label_sets(str(out / "label_sets.json"), rows)
  assert names["label"][labels["label"][0]] == "tap dancing"


def test_relative_paths_and_stale_files(miniature, run, tmp_path):
  root, out = miniature("k400"), tmp_path / "out"
  first = videos("kinetics400", root, out)
  assert run(*first)[0] == 0
  before = table(out / "train.csv")
  (root / "train/gonegonegon_000001_000011.mp4").write_bytes(b"now here")
  for path in (root / "val").rglob("*.mp4"):
    path.unlink()
  code, _, stderr = run(*first, "--relative")
  assert code == 0
  after = table(out / "train.csv", root)
  assert after == [*before[:3], ("gonegonegon_000001_000011.mp4", 3), before[3]]
  assert "train/-3B32lodo2M" in (out / "train.csv").read_text()[:20]
  # A split of which nothing is left does not keep its old manifest.
  assert not (out / "val.csv").exists()
  assert "val: none of its 1 files was found" in stderr
  (root / "val/valvalvalva_000040_000050.mp4").write_bytes(b"x")
  assert run(*first)[0] == 0
  assert not (out / "missing.txt").exists()


def test_namesakes_are_chosen_by_their_folder_or_noted(
  miniature, maker, run, tmp_path
):
  root, out = miniature("hmdb51"), tmp_path / "out"
  call = videos(
    "hmdb51",
    root,
    out,
    annotations="testTrainMulti_7030_splits",
    below="videos",
  )
  maker.videos(root / "videos/brush_hair", "prelinger_wave_1(a)!.avi")
  assert "several different files" not in run(*call)[2]
  text = (out / "train.csv").read_text()
  assert "/wave/prelinger_wave_1(a)!.avi 1\n" in text
  maker.videos(root / "videos/copy/wave", "prelinger_wave_1(a)!.avi")
  assert "'prelinger_wave_1(a)!'" in run(*call)[2]


def test_ssv2(miniature, run, tmp_path):
  root, out = miniature("ssv2"), tmp_path / "out"
  call = videos("ssv2", root, out, annotations="labels")
  assert run(*call)[0] == 0
  assert names_of(out) == [
    "Dropping something",
    "Pushing something from left to right",
  ]
  assert table(out / "train.csv") == [("78687.webm", 1), ("42326.webm", 0)]
  assert table(out / "val.csv") == [("74225.webm", 0)]
  for old in (root / "labels").iterdir():
    old.rename(old.with_name(f"something-something-v2-{old.name}"))
  before = (out / "train.csv").read_text()
  assert run(*call)[0] == 0
  assert (out / "train.csv").read_text() == before


def test_ucf101(miniature, run, tmp_path):
  root, out = miniature("ucf101"), tmp_path / "out"
  call = videos("ucf101", root, out, annotations="ucfTrainTestlist")
  for split in (1, 2, 3):
    assert run(*call, f"--split={split}")[0] == 0
    name = f"v_ApplyEyeMakeup_g{split:02d}_c01.avi"
    assert table(out / "val.csv") == [(name, 0)]
  train = table(out / "train.csv")
  assert train[0] == ("v_ApplyEyeMakeup_g08_c01.avi", 0)
  # The list spells HandStand, the file Handstand.
  assert train[-1] == ("v_HandstandPushups_g08_c01.avi", 1)
  assert names_of(out) == ["ApplyEyeMakeup", "HandstandPushups"]


def test_hmdb51(miniature, run, tmp_path):
  root, out = miniature("hmdb51"), tmp_path / "out"
  call = videos("hmdb51", root, out, annotations="testTrainMulti_7030_splits")
  code, _, stderr = run(*call, "--split=3")
  assert code == 0
  assert names_of(out) == ["brush_hair", "wave"]
  assert table(out / "train.csv") == [
    ("April_09_brush_hair_u_nm_np1_ba_goo_0.avi", 0),
    ("prelinger_wave_1(a)!.avi", 1),
  ]
  assert table(out / "val.csv") == [
    ("#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", 1)
  ]
  assert "2 classes; the whole data set has 51" in stderr


def test_diving48(miniature, run, tmp_path):
  root, out = miniature("diving48"), tmp_path / "out"
  assert run(*videos("diving48", root, out, annotations="."))[0] == 0
  assert names_of(out) == ["Back 15som 05Twis FREE", "Back 15som NoTwis PIKE"]
  assert table(out / "train.csv") == [("-mmq0PT-u8k_00155.mp4", 1)]
  assert table(out / "val.csv") == [("8qRmKunCjtY_00016.mp4", 0)]


@pytest.mark.parametrize(
  ("subset", "train", "val", "first", "count"),
  [
    ("all", [0, 6, 6, 6, 16, 16, 74, 88, 98], [7, 75, 1], 0, 99),
    ("fx-s1", [0, 0, 0, 10, 10], [1], 6, 11),
    ("ub-s1", [0, 14], [1], 74, 15),
  ],
)
def test_gym99_and_its_subsets(
  miniature, run, tmp_path, subset, train, val, first, count
):
  root, out = miniature("gym99"), tmp_path / "out"
  assert run(*videos("gym99", root, out, f"--subset={subset}"))[0] == 0
  assert [label for _, label in table(out / "train.csv")] == train
  assert [label for _, label in table(out / "val.csv")] == val
  assert len(names_of(out)) == count
  assert names_of(out)[0] == f"(FX) element {first}"


def test_gym99_without_names_of_classes(miniature, run, tmp_path):
  root, out = miniature("gym99"), tmp_path / "out"
  (root / "annotations/gym99_categories.txt").unlink()
  code, _, stderr = run(*videos("gym99", root, out, "--subset=fx-s1"))
  assert code == 0
  assert "named by their numbers" in stderr
  assert names_of(out)[:2] == ["6", "7"]


def test_severe_draw_of_examples():
  """Against the published loop, written with plain lists."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 7, 90).tolist() + [7, 7]
  rows = [manifests.Row(f"clip{i}", label) for i, label in enumerate(labels)]
  state = np.random.RandomState(99999)
  expected = []
  for label in range(8):
    members = [row.name for row in rows if row.label == label]
    wanted = min(-(-30 // 8), len(members))
    order = state.permutation(len(members))[:wanted]
    expected += [(members[i], label) for i in order]
  drawn = subsets.per_class(rows, 30, subsets.SEED)
  assert [(row.name, row.label) for row in drawn] == expected
  assert [sum(r.label == c for r in drawn) for c in range(8)] == [4] * 7 + [2]


def test_examples_thin_the_training_part_only(miniature, run, tmp_path):
  root, out = miniature("ucf101"), tmp_path / "out"
  call = videos("ucf101", root, out, annotations="ucfTrainTestlist")
  # ceil(3 / 2) = 2 a class, of which the second has one.
  assert run(*call, "--examples=3")[0] == 0
  labels = [label for _, label in table(out / "train.csv")]
  assert labels == [0, 0, 1]
  assert len(table(out / "val.csv")) == 1
  code, _, stderr = run(*call, "--examples=-1")
  assert code == 2
  assert "--examples must be positive, got -1" in stderr


def test_charades(miniature, run, tmp_path):
  root, out = miniature("charades"), tmp_path / "out"
  (root / "Charades_v1_480/46GP8.mp4").rename(tmp_path / "elsewhere.mp4")
  assert run(*videos("charades", root, out, annotations="Charades"))[0] == 0
  # Labels are rows of the official table, whatever is missing.
  assert table(out / "train.csv") == [("N11GT.mp4", 1)]
  assert not (out / "label_sets.json").exists()
  (tmp_path / "elsewhere.mp4").rename(root / "Charades_v1_480/46GP8.mp4")
  assert run(*videos("charades", root, out, annotations="Charades"))[0] == 0
  source = sources.load(str(out / "train.csv"))
  # In the source's order, not the table's.
  swapped = manifest.Manifest("", source.files[::-1], source.labels[::-1])
  labels = multilabel.load(str(out / "train_labels.npz"), swapped)
  assert labels.targets.shape == (2, 157)
  assert labels.targets.dtype == bool
  assert labels.targets[0].sum() == 0
  assert np.flatnonzero(labels.targets[1]).tolist() == [92, 147]
  assert labels.names[92] == "Doing thing 92"
  assert np.flatnonzero(labels.during(1, 0.0, 5.0)).tolist() == [147]
  assert np.flatnonzero(labels.during(1, 12.5, 12.6)).tolist() == [92, 147]
  assert np.flatnonzero(labels.during(1, 21.3, 24.0)).tolist() == []
  with pytest.raises(ValueError, match=r"another manifest.*'46GP8'"):
    multilabel.load(str(out / "val_labels.npz"), source)
  with pytest.raises(FileNotFoundError, match=r"no\.npz"):
    multilabel.load(str(out / "no.npz"), source)
  with pytest.raises(ValueError, match=r"not the \.npz"):
    multilabel.load(str(out / "train.csv"), source)


def test_ucfrep(miniature, run, tmp_path):
  root, out = miniature("ucfrep"), tmp_path / "out"
  code, _, stderr = run(*videos("ucfrep", root, out))
  assert code == 0
  assert table(out / "train.csv") == [("v_JumpingJack_g05_c03.avi", 3)]
  assert table(out / "val.csv") == [("v_PullUps_g01_c02.avi", 2)]
  left_out = "train\tv_JumpingJack_g06_c01\n"
  assert (out / "left_out.txt").read_text() == left_out
  assert "1 videos with fewer than two" in stderr
  files = manifest.load(str(out / "train.csv")).files
  found = repetitions.load(str(out / "train_repetitions.jsonl"), files)
  name = "v_JumpingJack_g05_c03"
  assert found == (repetitions.Repetitions(name, 3, 5, 50, (5, 20, 36, 50)),)
  with pytest.raises(ValueError, match="do not hold 'other'"):
    repetitions.load(str(out / "train_repetitions.jsonl"), ["a/other.avi"])


def test_ucfrep_from_plain_lists(miniature, run, tmp_path):
  root, out = miniature("ucfrep"), tmp_path / "out"
  lists = tmp_path / "lists"
  lists.mkdir()
  (lists / "train.csv").write_text("v_JumpingJack_g05_c03,4\n")
  (lists / "val.csv").write_text("PullUps/v_PullUps_g01_c02.avi 7\n")
  call = ("ucfrep", f"--annotations={lists}", f"--videos={root}")
  assert run(*call, f"--out={out}")[0] == 0
  assert table(out / "val.csv") == [("v_PullUps_g01_c02.avi", 7)]
  files = manifest.load(str(out / "train.csv")).files
  (found,) = repetitions.load(str(out / "train_repetitions.jsonl"), files)
  assert (found.count, found.bounds) == (4, ())
