"""The check finds what was planted, and nothing stops it."""

import json
import os
import time

import numpy as np
import pytest
from PIL import Image

from sigma_jax.data import prepare
from sigma_jax.data.check import command, pool
from sigma_jax.data.check import report as check_report
from sigma_jax.data.check.file import Job, digest, examine


@pytest.fixture(scope="module")
def folder(write_video, tmp_path_factory):
  """Two manifests with one of everything."""
  root = tmp_path_factory.mktemp("check")
  write_video(root / "a.mp4", frames=50, height=32, width=48)
  write_video(root / "b.mp4", frames=75, height=32, width=48)
  write_video(
    root / "c.webm", frames=10, height=32, width=32, codec="libvpx-vp9"
  )
  Image.new("RGB", (20, 10)).save(root / "d.png")
  content = (root / "a.mp4").read_bytes()
  (root / "twin of a.mp4").write_bytes(content)
  (root / "cut.mp4").write_bytes(content[: len(content) // 2])
  (root / "text.mp4").write_text("no video")
  (root / "empty.mp4").touch()
  (root / "link.mp4").symlink_to(root / "b.mp4")
  rows = [
    *("a.mp4 0", "b.mp4 0", "c.webm 1", "d.png 2", "twin of a.mp4\t0"),
    *("cut.mp4 1", "text.mp4 1", "empty.mp4 1", "none.mp4 1"),
    *("b.mp4 0", "a.mp4 2"),
  ]
  (root / "train.csv").write_text("\n".join(rows))
  (root / "val.csv").write_text("link.mp4 0\ntwin of a.mp4\t0\n")
  (root / "fine.csv").write_text("a.mp4 0\nb.mp4 1\nc.webm 1\n")
  return root


def run(capsys, *arguments):
  code = command.main([str(argument) for argument in arguments])
  out, err = capsys.readouterr()
  return code, out, err


def test_everything_planted_is_found(folder, capsys):
  train, val = str(folder / "train.csv"), str(folder / "val.csv")
  code, out, err = run(capsys, train, val, "--json", "--workers=2")
  assert code == 1
  report = json.loads(out)
  one, other = report["manifests"]
  assert (one["rows"], one["files"], one["checked"]) == (11, 9, 9)
  assert one["readable"] == 5
  reasons = {
    os.path.basename(bad["file"]): bad["reason"] for bad in one["unreadable"]
  }
  assert set(reasons) == {"cut.mp4", "text.mp4", "empty.mp4", "none.mp4"}
  assert "empty file" in reasons["empty.mp4"]
  assert "missing file" in reasons["none.mp4"]
  assert "not a readable video" in reasons["text.mp4"]
  assert one["codecs"] == {"h264": 3, "vp9": 1, "PNG": 1}
  assert one["sizes"] == {"48x32": 3, "32x32": 1, "20x10": 1}
  assert one["frames"] == {"min": 10, "median": 50.0, "max": 75}
  assert one["shorter_than_a_clip"] == 3
  # 25 frames a second.
  assert one["seconds"]["total"] == pytest.approx((50 + 75 + 10 + 50) / 25)
  assert one["classes"] == {"0": 4, "1": 5, "2": 2}
  assert one["repeated_rows"] == 2
  assert one["conflicting_labels"] == [
    {
      "file": str(folder / "a.mp4"),
      "labels": [0, 2],
      "also": [str(folder / "twin of a.mp4")],
    }
  ]
  twins = [str(folder / "a.mp4"), str(folder / "twin of a.mp4")]
  assert one["same_content"] == [twins]
  sizes = [(folder / n).stat().st_size for n in ("a.mp4", "b.mp4", "c.webm")]
  assert one["bytes"] == 2 * sizes[0] + sum(sizes[1:]) + os.path.getsize(
    folder / "d.png"
  )
  assert (other["rows"], other["readable"]) == (2, 2)
  (pair,) = report["between"]
  # The link is the file it leads to; a.mp4 is in val under another name, which
  # is listed once, as the path that both have.
  assert pair["manifests"] == [train, val]
  assert pair["same_path"] == [str(folder / "b.mp4"), twins[1]]
  assert report["problems"] == 4 + 1 + 2 + len(pair["same_content"])
  assert 0 < report["time"]["median"] <= report["time"]["max"]
  assert "11/11" not in err and "4 unreadable" in err


def test_equal_content_under_two_names_leaks(folder, capsys):
  (folder / "one.csv").write_text("a.mp4 0\n")
  (folder / "two.csv").write_text("twin of a.mp4\t0\n")
  code, out, _ = run(capsys, folder / "one.csv", folder / "two.csv")
  assert code == 1
  assert "0 files in both, 1 more of equal content" in out
  assert f"{folder / 'a.mp4'} = {folder / 'twin of a.mp4'}" in out
  assert "problems: 1" in out


def examined(listing):
  """The report of one list, made in this process."""
  split = command._load(str(listing), "")
  jobs = command._jobs(split, 30.0, False)
  found = {name: examine(job) for name, job in jobs.items()}
  digests = {name: digest(job) for name, job in jobs.items()}
  return check_report.gather([split], found, digests)


@pytest.mark.parametrize(
  "other", ["./a.mp4", "../{root}/a.mp4", "linked/a.mp4", "twin of a.mp4"]
)
def test_one_video_of_two_labels(folder, other):
  """However the second row writes its path, and copies too."""
  if not (folder / "linked").exists():
    (folder / "linked").symlink_to(folder)
  other = other.format(root=folder.name)
  listing = folder / "two labels.csv"
  listing.write_text(f"a.mp4,walk\nb.mp4,run\n{other},run\n")
  report = examined(listing)
  names = [f"{folder}/a.mp4", f"{folder}/{other}"]
  assert report["problems"] == 1
  assert report["manifests"][0]["classes"] == {"run": 2, "walk": 1}
  assert report["manifests"][0]["conflicting_labels"] == [
    {"file": names[0], "labels": ["run", "walk"], "also": names[1:]}
  ]
  text = check_report.text(report)
  assert "files of several labels: 1" in text
  assert f"{' = '.join(names)}: ['run', 'walk']" in text
  # Of one label it is no problem, but a row that is there twice.
  listing.write_text(f"a.mp4\t0\nb.mp4\t1\n{other}\t0\n")
  report = examined(listing)
  assert report["problems"] == 0
  copied = other.startswith("twin")
  assert report["manifests"][0]["repeated_rows"] == (0 if copied else 1)
  assert report["manifests"][0]["same_content"] == ([names] if copied else [])


def test_lists_without_classes(folder):
  listing = folder / "pretrain.csv"
  listing.write_text("a.mp4 0 -1\nb.mp4 0 -1\na.mp4 0 -1\n")
  report = examined(listing)
  one = report["manifests"][0]
  assert (report["problems"], one["rows"], one["readable"]) == (0, 3, 2)
  assert (one["classes"], one["conflicting_labels"]) == ({}, [])


def test_nothing_wrong(folder, capsys):
  code, out, err = run(capsys, folder / "fine.csv", "--full")
  assert code == 0
  assert "3 rows, 3 files, 3 checked, 3 readable" in out
  assert "classes: 2 of 1 to 2, median 1.5 rows" in out
  assert "most rows: 1 (2), 0 (1)" in out
  assert "problems: none" in out
  assert "3/3 files" in err


def test_full_finds_damage_between_clip_and_end(write_video, tmp_path):
  path = write_video(tmp_path / "x.mp4", frames=200, gop=10)
  content = bytearray((tmp_path / "x.mp4").read_bytes())
  # Within the second tenth of the pictures' data: far from the middle.
  start = content.index(b"mdat") + 4
  size = int.from_bytes(content[start - 8 : start - 4], "big")
  first = start + size // 10
  content[first : first + size // 20] = bytes(size // 20)
  (tmp_path / "x.mp4").write_bytes(content)
  assert examine(Job(path, 30.0)).reason == ""
  # FFmpeg refuses the frames or marks them, from one run to the next.
  assert "damaged" in examine(Job(path, 30.0, full=True)).reason


def test_prepared_records(folder, tmp_path, capsys):
  made = str(tmp_path / "train")
  plan = {"workers": 1, "max_bad_share": 0.5}
  prepare.prepare(str(folder / "train.csv"), made, **plan)
  code, out, _ = run(capsys, made, folder / "val.csv", "--json")
  assert code == 1
  report = json.loads(out)
  one = report["manifests"][0]
  # Of 11 rows four cannot be read and are not there.
  assert [one[k] for k in ("rows", "files", "readable")] == [7, 7, 7]
  assert one["unreadable"] == [] and one["repeated_rows"] == 2
  assert one["codecs"] == {"JPEG": 7}
  assert one["sizes"] == {"48x32": 5, "32x32": 1, "20x10": 1}
  assert one["frames"] == {"min": 10, "median": 50.0, "max": 75}
  assert one["seconds"]["total"] == pytest.approx(
    (3 * 50 + 2 * 75 + 10) / 25, rel=1e-5
  )
  assert one["classes"] == {"0": 4, "2": 2, "1": 1}
  twins = [str(folder / "a.mp4"), str(folder / "twin of a.mp4")]
  assert one["same_content"] == [twins]
  assert one["conflicting_labels"] == [
    {"file": twins[0], "labels": [0, 2], "also": twins[1:]}
  ]
  (pair,) = report["between"]
  assert pair["same_path"] == [str(folder / "b.mp4"), twins[1]]
  shards = sorted((tmp_path / "train").glob("*.array_record*"))
  whole = sum(shard.stat().st_size for shard in shards)
  assert 0 < one["bytes"] < whole
  content = bytearray(shards[0].read_bytes())
  begin = content.index(b"\xff\xd8")  # of the first frame of a.mp4
  content[begin + 700 : begin + 799] = bytes(99)
  shards[0].write_bytes(content)
  code, out, _ = run(capsys, made, "--full", "--workers=1")
  assert code == 1 and "unreadable: 1" in out
  assert f"{twins[0]} (row 0 of {made}): shard" in out


def test_sample_is_drawn_and_always_the_same(folder):
  path = str(folder / "train.csv")
  reports = [command.check([path], sample=3, workers=1) for _ in range(2)]
  one, other = (report["manifests"][0] for report in reports)
  assert (one["rows"], one["files"], one["checked"]) == (11, 9, 3)
  assert one["unreadable"] == other["unreadable"]


def test_root(folder, tmp_path, capsys):
  (tmp_path / "list.csv").write_text("a.mp4 0\n")
  assert run(capsys, tmp_path / "list.csv")[0] == 1
  assert run(capsys, tmp_path / "list.csv", f"--root={folder}")[0] == 0


def test_sequences(tmp_path, capsys):
  for name in ("bear", "cow"):
    frames = tmp_path / f"JPEGImages/{name}"
    masks = tmp_path / f"Annotations/{name}"
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    noise = np.random.default_rng(len(name)).integers(
      0, 256, (8, 12, 3), np.uint8
    )
    for number in range(2):
      Image.fromarray(noise).save(frames / f"{number}.jpg")
      Image.new("L", (12, 8)).save(masks / f"{number}.png")
  Image.new("L", (6, 4)).save(tmp_path / "Annotations/cow/1.png")
  (tmp_path / "Annotations/cow/0.png").write_bytes(b"damaged")
  from sigma_jax.data.annotations import sequences

  found = sequences.load(str(tmp_path))
  for name, one in zip(("train", "val"), found, strict=True):
    sequences.save(str(tmp_path / f"{name}.jsonl"), [one])
  code, out, _ = run(capsys, tmp_path / "train.jsonl", "--json")
  report = json.loads(out)["manifests"][0]
  # Frames and masks that do not change within a sequence are no finding.
  assert (code, report["files"], report["same_content"]) == (0, 4, [])
  assert report["codecs"] == {"JPEG": 2, "mask": 2}
  code, out, _ = run(capsys, tmp_path / "val.jsonl", "--json")
  assert code == 1
  reasons = [b["reason"] for b in json.loads(out)["manifests"][0]["unreadable"]]
  assert any("cannot read mask" in reason for reason in reasons)
  assert "mask of 6x4 pixels for a frame of 12x8" in reasons


@pytest.mark.parametrize(
  ("arguments", "parts"),
  [
    (["{root}/no.csv"], ["does not exist"]),
    (["{root}/empty"], ["no videos in"]),
    (["{root}/fine.csv", "{root}/fine.csv"], ["given twice"]),
    (["{root}/fine.csv", "--timeout=0"], ["--timeout"]),
    (["{root}/fine.csv", "--workers=-1"], ["--workers"]),
    (["{root}/fine.csv", "--sample=-1"], ["--sample"]),
  ],
)
def test_wrong_input_is_one_line(folder, capsys, arguments, parts):
  (folder / "empty").mkdir(exist_ok=True)
  code, out, err = run(capsys, *(a.format(root=folder) for a in arguments))
  assert (code, out) == (2, "")
  assert err.startswith("error: ") and err.count("\n") == 1
  for part in parts:
    assert part in err


def test_a_crash_and_a_hang_cost_one_process_each():
  """`eval` stands for a reader that runs into damaged files."""
  jobs = ["1 + 1", "__import__('signal').raise_signal(11)", "2 + 2"]
  jobs += [
    "__import__('time').sleep(600)",
    "__import__('os')._exit(3)",
    "3 + 3",
  ]
  start = time.monotonic()
  answers = sorted(pool.run(eval, jobs, workers=2, limit=2.0))
  assert time.monotonic() - start < 60
  assert [place for place, _, _ in answers] == [0, 1, 2, 3, 4, 5]
  assert [value for _, value, _ in answers] == [2, None, 4, None, None, 6]
  reasons = [reason for _, _, reason in answers]
  assert reasons[0::2] == ["", "", "crashed its reader (exit code 3)"]
  assert reasons[1] == "crashed its reader (SIGSEGV)"
  assert reasons[3] == "took more than 2 s: its reader was killed"


def test_readers_fault_is_a_finding_and_not_an_end(tmp_path, monkeypatch):
  from sigma_jax.data.video import stills

  def fail(path):
    raise RuntimeError("two\nlines")

  monkeypatch.setattr(stills, "Still", fail)
  reason = examine(Job(str(tmp_path / "x.png"), 1.0)).reason
  assert reason == "its reader failed: RuntimeError: two lines"
  assert digest(Job(str(tmp_path / "no"), 1.0)) is None
