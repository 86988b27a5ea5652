"""A wrong folder or file is one line that says what was expected."""

import pytest

from sigma_jax.data import manifest
from sigma_jax.data.layouts import __main__ as layouts

KINETICS = ("kinetics400", "annotations", ".")
SSV2 = ("ssv2", "labels", ".")
UCF = ("ucf101", "ucfTrainTestlist", "UCF-101")
HMDB = ("hmdb51", "testTrainMulti_7030_splits", "videos")
DIVING = ("diving48", ".", "rgb")
GYM = ("gym99", "annotations", "subactions")
CHARADES = ("charades", "Charades", "Charades_v1_480")
REP = ("ucfrep", "annotations", "UCF-101")
HEAD = "label,youtube_id,time_start,time_end,split\n"

# Data set, folder of its miniature, file to change, its new content (None: no
# such file), parts of the message.
CASES = [
  (KINETICS, "k400", "annotations/train.csv", None, ["no train.csv or"]),
  (KINETICS, "k400", "annotations/val.csv", None, ["val.csv", "official"]),
  (KINETICS, "k400", "annotations/train.txt", HEAD, ["several", "leave only"]),
  (
    KINETICS,
    "k400",
    "annotations/val.csv",
    "a,b\n",
    ["no column", "youtube_id"],
  ),
  (KINETICS, "k400", "annotations/val.csv", HEAD, ["val.csv has no rows"]),
  (
    KINETICS,
    "k400",
    "annotations/val.csv",
    HEAD + "yoga,abc,0,10,val\n",
    ["val.csv, line 2", "'yoga'", "train.csv", "same release"],
  ),
  (
    KINETICS,
    "k400",
    "annotations/val.csv",
    HEAD + "zumba,abc,zero,10,val\n",
    ["line 2", "seconds", "'zero'"],
  ),
  (
    KINETICS,
    "k400",
    "annotations/val.csv",
    "youtube_id,time_start,time_end\nabc,0,1\n",
    ["val.csv", "no column 'label'"],
  ),
  (SSV2, "ssv2", "labels/labels.json", "[1]", ["JSON object"]),
  (SSV2, "ssv2", "labels/labels.json", '{"a": "x"}', ["whole numbers"]),
  (SSV2, "ssv2", "labels/labels.json", '{"a": "1"}', ["0, 1, ..."]),
  (SSV2, "ssv2", "labels/train.json", "{", ["train.json", "not JSON"]),
  (SSV2, "ssv2", "labels/train.json", '[{"id": "1"}]', ["entry 0", "template"]),
  (
    SSV2,
    "ssv2",
    "labels/train.json",
    '[{"id": "1", "template": "Eating [something]"}]',
    ["'Eating something'", "not a class", "labels.json"],
  ),
  (UCF, "ucf101", "ucfTrainTestlist/classInd.txt", "A 1\n", ["line 1", "'1 "]),
  (UCF, "ucf101", "ucfTrainTestlist/classInd.txt", "\n", ["no classes"]),
  (
    UCF,
    "ucf101",
    "ucfTrainTestlist/trainlist01.txt",
    "Yoyo/v_Yoyo_g01_c01.avi 1\n",
    ["trainlist01.txt, line 1", "classInd.txt"],
  ),
  (
    UCF,
    "ucf101",
    "ucfTrainTestlist/trainlist01.txt",
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 2\n",
    ["ApplyEyeMakeup is 1 in classInd.txt, not 2"],
  ),
  (
    HMDB,
    "hmdb51",
    "testTrainMulti_7030_splits/wave_test_split1.txt",
    "a.avi 3\n",
    ["wave_test_split1.txt, line 1", "0', 1 or 2"],
  ),
  (DIVING, "diving48", "Diving48_vocab.json", None, ["Diving48_vocab.json"]),
  (
    DIVING,
    "diving48",
    "Diving48_V2_test.json",
    '[{"vid_name": "a", "label": 2}]',
    ["entry 0", "label 2", "2 classes"],
  ),
  (
    DIVING,
    "diving48",
    "Diving48_V2_test.json",
    '["a"]',
    ["entry 0", "'vid_name' and 'label'"],
  ),
  (
    GYM,
    "gym99",
    "annotations/gym99_val_element.txt",
    "A_E_1 99\n",
    ["line 1", "0 to 98", "'A_E_1 99'"],
  ),
  (
    GYM,
    "gym99",
    "annotations/gym99_categories.txt",
    "0 leap\n",
    ["gym99_categories.txt, line 1", "Clabel"],
  ),
  (
    CHARADES,
    "charades",
    "Charades/Charades_v1_test.csv",
    "id,actions\nYSKX3,c157 0 1\n",
    ["Charades_v1_test.csv", "'YSKX3'", "'c157 0 1'"],
  ),
  (
    CHARADES,
    "charades",
    "Charades/Charades_v1_test.csv",
    "id\nYSKX3\n",
    ["'id' and 'actions'"],
  ),
  (
    CHARADES,
    "charades",
    "Charades/Charades_v1_classes.txt",
    "c001 Sitting\n",
    ["line 1", "c000"],
  ),
  (
    REP,
    "ucfrep",
    "annotations/val/v_PullUps_g01_c02.mat",
    "not a mat file",
    ["v_PullUps_g01_c02.mat", "not an annotation of UCFRep"],
  ),
  (
    REP,
    "ucfrep",
    "annotations/val/v_PullUps_g01_c02.mat",
    None,
    ["neither val/*.mat nor val.csv"],
  ),
]


@pytest.mark.parametrize(
  ("dataset", "name", "path", "content", "parts"),
  CASES,
  ids=[f"{case[2]}-{number}" for number, case in enumerate(CASES)],
)
def test_wrong_annotations(
  miniature, run, tmp_path, dataset, name, path, content, parts
):
  command, annotations, videos = dataset
  root, out = miniature(name), tmp_path / "out"
  if content is None:
    (root / path).unlink()
  else:
    (root / path).write_text(content)
  code, _, stderr = run(
    command,
    f"--annotations={root / annotations}",
    f"--videos={root / videos}",
    f"--out={out}",
  )
  *notes, error = stderr.splitlines()
  assert code == 2
  assert error.startswith("error: ")
  assert all(note.startswith("note: ") for note in notes)
  for part in parts:
    assert part in error
  assert not list(tmp_path.glob("out/*.csv"))


def test_folders_that_are_not_there(miniature, run, tmp_path):
  root = miniature("ssv2")
  labels, empty = root / "labels", tmp_path / "empty"
  empty.mkdir()
  for annotations, videos, parts in [
    (tmp_path / "no", root, ["does not exist", "labels.json"]),
    (labels / "labels.json", root, ["is not a folder"]),
    (labels, tmp_path / "no", ["does not exist", ".webm"]),
    (labels, empty, ["holds no file", ".webm", "any depth"]),
  ]:
    code, _, stderr = run(
      "ssv2", f"--annotations={annotations}", f"--videos={videos}", "--out=o"
    )
    assert code == 2
    assert stderr.splitlines()[-1].startswith("error: ")
    for part in parts:
      assert part in stderr


def test_none_of_the_files_is_there(miniature, run, maker, tmp_path):
  root, other, out = miniature("ssv2"), tmp_path / "other", tmp_path / "out"
  maker.videos(other, "something.webm")
  code, _, stderr = run(
    "ssv2",
    f"--annotations={root / 'labels'}",
    f"--videos={other}",
    f"--out={out}",
  )
  assert code == 2
  assert "none of the 3 files" in stderr
  assert "'78687'" in stderr
  assert not out.exists()


@pytest.mark.parametrize("command", layouts.DATASETS)
def test_help_says_what_is_expected(capsys, command):
  with pytest.raises(SystemExit) as caught:
    layouts.main([command, "--help"])
  assert caught.value.code == 0
  assert len(capsys.readouterr().out) > 400
  with pytest.raises(SystemExit) as caught:
    layouts.main([command])
  assert caught.value.code == 2
  error = capsys.readouterr().err
  assert error.startswith("error: the following arguments are required")
  assert error.count("\n") == 1


def test_a_name_with_a_line_break_is_quoted(miniature, maker, run, tmp_path):
  root, out = miniature("ssv2"), tmp_path / "out"
  maker.videos(root / "20bn\nvideos", "78687.webm")
  (root / "20bn-something-something-v2/78687.webm").unlink()
  code, _, stderr = run(
    "ssv2",
    f"--annotations={root / 'labels'}",
    f"--videos={root}",
    f"--out={out}",
  )
  assert code == 0, stderr
  files = manifest.load(str(out / "train.csv")).files
  assert str(root / "20bn\nvideos" / "78687.webm") in files
