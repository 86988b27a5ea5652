"""Preparing records: nothing lost, nothing twice, whatever interrupts it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from sigma_jax import errors
from sigma_jax.data import manifest, prepare, sources
from sigma_jax.data.records import encode, record_format, shard, shards
from sigma_jax.data.records.encode import Encoded

ROOT = pathlib.Path(__file__).parents[2]
READ_PLAINLY = """
import sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
source = builder.as_data_source(split="train")
for example in source:
  frames = example["frames"]
  print(
    example["file"].decode().rsplit("/")[-1], example["row"], example["label"],
    example["first"], example["num_frames"], len(frames), frames[0].shape,
    sep="|",
  )
"""


def command(listing, out, *flags):
  return [
    *(sys.executable, "-m", "sigma_jax.data.prepare"),
    *(f"--manifest={listing}", f"--out={out}", *flags),
  ]


def run(listing, out, *flags):
  return subprocess.run(
    command(listing, out, *flags),
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=240,
  )


def content(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def listing(video_folder, write_video, tmp_path_factory):
  """13 videos, one of two records, an image, and three that are no good."""
  folder = tmp_path_factory.mktemp("listing")
  write_video(folder / "long.mp4", frames=40, height=72, width=96)
  PIL.Image.new("RGB", (60, 40), "red").save(folder / "red.png")
  (folder / "empty.mp4").touch()
  (folder / "cut.mp4").write_bytes((folder / "long.mp4").read_bytes()[:-900])
  lines = [f"{video_folder}/{row}.mp4 {row}" for row in range(13)]
  lines[4:4] = ["long.mp4 50", "empty.mp4 51", "no.mp4 52", "red.png 53"]
  lines.append("cut.mp4 54")
  (folder / "train.csv").write_text("\n".join(lines))
  return folder / "train.csv"


@pytest.fixture(scope="module")
def done(listing, tmp_path_factory):
  """The folder that one undisturbed run wrote, and what it said."""
  out = tmp_path_factory.mktemp("done") / "train"
  return out, run(
    listing, out, "--max-bad-share=0.2", "--short-side=40", "--workers=1"
  )


def test_the_summary_counts_everything(done, listing):
  out, process = done
  assert process.returncode == 0, process.stderr
  summary = json.loads(process.stdout)
  assert summary.pop("took") > 0
  assert summary == json.loads((out / "summary.json").read_text())
  frames = sum(range(10, 23)) + 40
  stored = sum(path.stat().st_size for path in out.glob("*array_record*"))
  assert summary == {
    "videos": 15,
    "frames": frames + 1,
    "seconds": pytest.approx(frames / 25, abs=0.1),
    "bytes": stored,
    "shards": 18,
    "rejected": 3,
  }
  assert "18/18 files" in process.stderr and "3 unreadable" in process.stderr
  assert "Traceback" not in process.stderr and "WARNING" not in process.stderr


def test_every_rejected_file_is_listed_with_its_reason(done, listing):
  lines = (done[0] / "rejected.jsonl").read_text().splitlines()
  found = [json.loads(line) for line in lines]
  folder = listing.parent
  assert [row["file"] for row in found] == [
    str(folder / name) for name in ("empty.mp4", "no.mp4", "cut.mp4")
  ]
  reasons = [row["reason"] for row in found]
  assert "empty file" in reasons[0] and "missing file" in reasons[1]
  assert "damaged header" in reasons[2]


def test_what_is_left_keeps_order_names_labels_and_length(done, listing):
  files, records = sources.load(str(listing)), sources.load(str(done[0]))
  good = [row for row in range(18) if row not in (5, 6, 17)]
  assert records.files == tuple(files.files[row] for row in good)
  np.testing.assert_array_equal(records.labels, files.labels[good])
  for row, kept in zip(good, range(15), strict=True):
    with files.open(row, 10) as file, records.open(kept, 10) as video:
      assert video.num_frames == file.num_frames


def test_frames_shrink_to_the_short_side_and_never_grow(done):
  records = sources.load(str(done[0]))
  shapes = []
  for row in (0, 4, 5):
    with records.open(row, 10) as video:
      shapes.append(video.read(np.array([0])).shape[1:3])
  # 72 x 96 and 40 x 60 and, before, what was smaller: 36 x 44.
  assert shapes == [(36, 44), (40, 53), (40, 60)]


def test_tensorflow_datasets_reads_the_folder(done, listing):
  plain = subprocess.run(
    [sys.executable, "-c", READ_PLAINLY, str(done[0])],
    capture_output=True,
    text=True,
    timeout=240,
  )
  assert plain.returncode == 0, plain.stderr
  rows = [line.split("|") for line in plain.stdout.splitlines()]
  assert rows[0] == ["0.mp4", "0", "0", "0", "10", "10", "(36, 44, 3)"]
  assert rows[4] == ["long.mp4", "4", "50", "0", "40", "32", "(40, 53, 3)"]
  assert rows[5] == ["long.mp4", "4", "50", "32", "40", "8", "(40, 53, 3)"]
  assert rows[6] == ["red.png", "7", "53", "0", "1", "1", "(40, 60, 3)"]
  assert len(rows) == 16


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
  done, listing, tmp_path
):
  out = tmp_path / "train"
  flags = ("--max-bad-share=0.2", "--short-side=40")
  process = subprocess.Popen(
    command(listing, out, *flags, "--workers=1"),
    cwd=ROOT,
    stderr=subprocess.PIPE,
  )
  limit = time.monotonic() + 120
  while len(list(out.glob("progress/*.npz"))) < 3:
    assert time.monotonic() < limit and process.poll() is None
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  kept = {path: path.stat().st_mtime_ns for path in out.glob("*-of-00018")}
  noted = {path.stem for path in out.glob("progress/*.npz")}
  assert len(noted) < 18
  with pytest.raises(errors.UserError, match="not complete"):
    sources.load(str(out))
  again = run(listing, out, *flags, "--workers=2")
  assert again.returncode == 0, again.stderr
  assert f"{len(noted)} of 18 files are done already" in again.stderr
  for path, written in kept.items():
    if path.name in noted:
      assert path.stat().st_mtime_ns == written
  assert content(out) == content(done[0])
  # And once more there is nothing to do.
  before = content(out)
  assert run(listing, out, *flags).returncode == 0
  assert content(out) == before


def test_too_many_bad_files_end_it_and_what_is_done_stays(listing, tmp_path):
  out = tmp_path / "train"
  process = run(listing, out, "--workers=1")
  assert process.returncode == 1 and not process.stdout
  (line,) = [text for text in process.stderr.splitlines() if "error" in text]
  assert "1 of the 18 files" in line and "--max-bad-share=0.02" in line
  assert str(out / "rejected.jsonl") in line and "empty.mp4" in line
  assert "empty.mp4" in (out / "rejected.jsonl").read_text()
  assert len(list(out.glob("progress/*.npz"))) >= 5


@pytest.mark.parametrize(
  "flags,message",
  [
    (["--manifest=no.csv"], "no.csv"),
    (["--short-side=-1"], "-1 is not in"),
    (["--quality=96"], "96 is not in"),
    (["--max-bad-share=2"], "2 is not in"),
  ],
)
def test_wrong_flags_are_the_users_error(flags, message, listing, tmp_path):
  process = run(listing, tmp_path / "out", *flags)
  assert process.returncode == 2 and message in process.stderr
  assert "Traceback" not in process.stderr


@pytest.mark.parametrize("label", ["0 -1", "archery"])
def test_lists_without_classes(label, video_folder, tmp_path, capsys):
  """Their records are for pre-training, and say so where classes are wanted."""
  listing, out = tmp_path / "list.csv", tmp_path / "out"
  listing.write_text(f"{video_folder}/0.mp4 {label}\n")
  plan = prepare._rows(str(listing), "")
  assert plan.labels.tolist() == [-1]
  assert ("labels are names" in capsys.readouterr().err) == (label == "archery")
  job = encode.Job(0, plan.files[0], -1, 40, 85, 60.0)
  opened = shards.Shards(str(out), shards.Plan.of(plan, 40, 85), [job])
  shard.write(opened.pieces[0].job, {0: encode.encode(job)})
  assert opened.there() == {opened.pieces[0].name}
  opened.finish()
  assert sources.load(str(out), classes=False).labels.tolist() == [-1]
  with pytest.raises(errors.UserError, match="have no class indices"):
    sources.load(str(out))


@pytest.mark.parametrize("other", ["archery", "-1", "1.5", "0 -1"])
def test_labels_are_class_indices_throughout_or_not_at_all(other, tmp_path):
  listing = tmp_path / "list.csv"
  listing.write_text(f"0.mp4 3\n1.mp4 {other}\n")
  with pytest.raises(errors.UserError, match="line 2"):
    prepare._rows(str(listing), "")


def test_a_name_with_a_line_break_is_refused(tmp_path):
  listing = tmp_path / "list.csv"
  listing.write_text('"a\nb.mp4",3\n')
  with pytest.raises(errors.UserError, match="cannot hold the file name"):
    prepare._rows(str(listing), "")


def test_a_folder_of_something_else_is_left_alone(listing, done, tmp_path):
  rows = manifest.load(str(listing))
  plan = shards.Plan.of(rows, 40, 85)
  (tmp_path / "mine.txt").touch()
  with pytest.raises(errors.UserError, match="holds other files"):
    shards.Shards(str(tmp_path), plan, [])
  for other in (shards.Plan.of(rows, 41, 85), shards.Plan(18, "0", 40, 85)):
    with pytest.raises(errors.UserError, match="made otherwise"):
      shards.Shards(str(done[0]), other, [])


def test_a_shard_that_was_damaged_meanwhile_is_written_again(tmp_path):
  rows = manifest.Manifest(
    "train.csv", ("a.mp4", "b.mp4", "c.mp4"), np.arange(3, dtype=np.int32)
  )
  plan = shards.Plan.of(rows, 0, 85)
  jobs = [encode.Job(row, rows.files[row], row, 0, 85, 9.0) for row in range(3)]
  out = str(tmp_path / "out")

  def encoded(row):
    if row == 1:
      return Encoded(reason="broken")
    record = record_format.encode(
      [b"jpeg"],
      row=row,
      first=0,
      times=[0],
      count=1,
      label=row,
      file=rows.files[row],
    )
    return Encoded((record,), 1)

  first = shards.Shards(out, plan, jobs)
  names = [piece.name for piece in first.pieces]
  assert first.there() == set()
  for piece in first.pieces:
    (job,) = piece.job.rows
    shard.write(piece.job, {job.row: encoded(job.row)})
  second = shards.Shards(out, plan, jobs)
  assert second.there() == set(names)
  assert second.rejected[0]["file"] == "b.mp4"
  next((tmp_path / "out").glob("*-00002-of-*")).write_bytes(b"")
  note = next((tmp_path / "out" / "progress").glob("*-00001-of-*.npz"))
  note.write_bytes(b"")
  third = shards.Shards(out, plan, jobs)
  assert third.there() == {names[0]} and not third.rejected


def test_manifest_videos_and_output_may_be_remote(listing, tmp_path):
  """On TensorFlow's ram://, which is within this process: so no workers."""
  folder = f"ram://{tmp_path}"
  tf.io.gfile.makedirs(folder)
  for name in ("long.mp4", "red.png", "train.csv"):
    data = (listing.parent / name).read_bytes()
    if name == "train.csv":
      data = b"long.mp4 5\nred.png 6\nno.mp4 7\ns3://bucket/a.mp4 8"
    with tf.io.gfile.GFile(f"{folder}/{name}", "wb") as file:
      file.write(data)
  rows = manifest.load(f"{folder}/train.csv")
  out = f"{folder}/out"
  plan = shards.Plan.of(rows, 0, 85)
  jobs = [
    encode.Job(row, rows.files[row], int(rows.labels[row]), 0, 85, 10.0)
    for row in range(4)
  ]
  store = shards.Shards(out, plan, jobs)
  for piece in store.pieces:
    (job,) = piece.job.rows
    shard.write(piece.job, {job.row: encode.encode(job)})
  assert len(store.there()) == 4
  store.finish()
  assert [r["row"] for r in store.rejected] == [2, 3]
  assert "not known to TensorFlow" in store.rejected[1]["reason"]
  assert store.summary()["frames"] == 41
  assert not tf.io.gfile.exists(f"{out}/progress")
  records = sources.load(out)
  assert records.labels.tolist() == [5, 6]
  with (
    records.open(0, 10) as far,
    sources.load(str(listing)).open(4, 10) as near,
  ):
    places = np.array([0, 39])
    difference = far.read(places).astype(int) - near.read(places)
  assert np.abs(difference).mean() < 8
  assert not os.path.exists("ram:")


def test_ctrl_c_is_no_traceback(listing, tmp_path):
  # So many files that it cannot be done before the signal comes.
  long = listing.with_name("long.csv")
  long.write_text(f"{listing.read_text()}\n" * 400)
  out = tmp_path / "train"
  process = subprocess.Popen(
    command(long, out, "--max-bad-share=0.2", "--workers=1"),
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  while not list(out.glob("progress/*.npz")):
    assert process.poll() is None
    time.sleep(0.005)
  os.killpg(process.pid, signal.SIGINT)
  _, said = process.communicate(timeout=60)
  assert process.returncode == 130
  assert "the same command goes on" in said and "Traceback" not in said
