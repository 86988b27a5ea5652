"""A data set segmented end to end: files, resuming, means."""

import json
import shutil
import subprocess
import sys

import av
import jax
import numpy as np
import pytest
from PIL import Image

from sigma_jax import errors
from sigma_jax.data.annotations import annotated
from sigma_jax.data.toy import sequences
from sigma_jax.evaluate import published
from sigma_jax.evaluate.segmentation import dense
from sigma_jax.evaluate.segmentation import run as segmentation_run
from sigma_jax.models import sigma
from sigma_jax.tasks import segmentation
from sigma_jax.train import checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  out = tmp_path_factory.mktemp("sequences")
  sequences.write(out, 3)
  return out


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("run")
  params = sigma.init_params(tiny, jax.random.key(5))
  checkpoint.write_params(workdir, tiny, params, step=7)
  return workdir


@pytest.fixture(scope="module")
def config(change, tiny, folder, run):
  return change(
    tiny,
    task="segmentation",
    init=str(run),
    data__val=str(folder),
    data__sampling="segments",
    segmentation__clusters=5,
    segmentation__overlays=1,
    segmentation__iterations=10,
    segmentation__restarts=2,
  )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
  """The workdir of a whole evaluation; copied where it is changed."""
  workdir = tmp_path_factory.mktemp("segmentation") / "whole"
  segmentation.run(config, workdir)
  return workdir


@pytest.fixture
def workdir(finished, tmp_path):
  return shutil.copytree(finished, tmp_path / "copy")


@pytest.fixture
def read_clips(monkeypatch):
  """Names of the sequences that are read, in order."""
  names, read = [], annotated.read

  def note(sequence, data):
    names.append(sequence.name)
    return read(sequence, data)

  monkeypatch.setattr(annotated, "read", note)
  return names


def results(workdir):
  return json.loads((workdir / "results.json").read_text())


def test_results_tell_what_was_judged_and_how(finished, config, run):
  found = results(finished)
  assert found["init"] == str(run) and found["step"] == 7
  assert found["seed"] == 0 and found["config"] == config.fingerprint()
  assert len(found["clips"]) == 3 * 2 * 2  # encoders and protocols
  which = {(r["encoder"], r["protocol"]) for r in found["rows"]}
  assert len(which) == len(found["rows"]) == 4
  for row in found["rows"]:
    of_clips = [
      clip["miou"]
      for clip in found["clips"]
      if (clip["encoder"], clip["protocol"])
      == (row["encoder"], row["protocol"])
    ]
    assert row["miou"] == pytest.approx(np.mean(of_clips))
    assert min(of_clips) <= row["low"] <= row["miou"] <= row["high"]
    assert row["num_clips"] == 3
  for clip in found["clips"]:
    assert set(clip["iou"]) == {"0", "1", "2", "3"} and clip["num_frames"] == 4
    assert clip["miou"] == pytest.approx(np.mean(list(clip["iou"].values())))


def test_pictures_of_the_first_clip(finished):
  names = sorted(path.name for path in (finished / "overlays").iterdir())
  assert names == [
    f"00000_toy-00000_{encoder}.{suffix}"
    for encoder in ("pretrained", "random")
    for suffix in ("mp4", "png")
  ]
  # Frames, truth, two protocols and their clusters; four frames of 16 px.
  with Image.open(finished / "overlays" / names[1]) as image:
    assert image.size == (4 * 16, 6 * 16)
  with av.open(str(finished / "overlays" / names[0])) as file:
    shapes = [frame.to_ndarray().shape for frame in file.decode(video=0)]
  assert shapes == [(16 * 3 // 2, 3 * 16)] * 4


def test_the_same_again_computes_nothing(workdir, config, read_clips, capsys):
  before = results(workdir)
  segmentation.run(config, workdir)
  assert read_clips == [] and results(workdir) == before
  assert "3/3 toy-00002: pretrained clustering" in capsys.readouterr().out


def test_a_clip_written_anew_is_computed_again(
  workdir, config, change, folder, read_clips, tmp_path
):
  copy = tmp_path / "sequences"
  shutil.copytree(folder, copy)
  moved = change(config, data__val=str(copy))
  segmentation.run(moved, workdir)
  read_clips.clear()
  frame = next(copy.rglob("toy-00001/00000.jpg"))
  frame.write_bytes(frame.read_bytes() + b"\0")
  segmentation.run(moved, workdir)
  assert read_clips == ["toy-00001"]


def test_an_interrupted_run_goes_on_where_it_was(
  config, tmp_path, monkeypatch, finished
):
  read = annotated.read

  def interrupted(sequence, data):
    if sequence.name == "toy-00002":
      raise KeyboardInterrupt
    return read(sequence, data)

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(annotated, "read", interrupted)
    segmentation.run(config, tmp_path)
  assert not (tmp_path / "results.json").exists()

  def only_the_last(sequence, data):
    assert sequence.name == "toy-00002"
    return read(sequence, data)

  monkeypatch.setattr(annotated, "read", only_the_last)
  segmentation.run(config, tmp_path)
  assert results(tmp_path) == results(finished)


def test_damaged_clips_are_computed_again(workdir, config, read_clips):
  before = results(workdir)
  (workdir / "clips" / "00000.json").write_text('{"key": ')
  (workdir / "clips" / "00001.json").write_text("[]")
  segmentation.run(config, workdir)
  assert read_clips == ["toy-00000", "toy-00001"]
  assert results(workdir) == before


def test_other_options_or_weights_are_another_evaluation(
  workdir, config, change, tiny, run, read_clips
):
  segmentation.run(change(config, segmentation__clusters=2), workdir)
  assert len(read_clips) == 3
  # The same path, trained on: another checkpoint.
  later = shutil.copytree(run, workdir.parent / "later")
  config = change(config, init=str(later))
  segmentation.run(config, workdir)
  assert len(read_clips) == 6
  shutil.rmtree(later)
  params = sigma.init_params(tiny, jax.random.key(6))
  checkpoint.write_params(later, tiny, params, step=8)
  segmentation.run(config, workdir)
  assert len(read_clips) == 9 and results(workdir)["step"] == 8


def test_one_clip_has_no_spread():
  row = {"encoder": "e", "protocol": "clustering", "miou": 0.25}
  (mean,) = segmentation_run.summarize([row], 100, 0)
  assert (mean["miou"], mean["low"], mean["high"]) == (0.25, 0.25, 0.25)
  assert mean["num_clips"] == 1


def test_table_has_published_numbers_marked():
  means = [
    {
      **{"encoder": "pretrained", "protocol": protocol, "num_clips": 5},
      **{"miou": miou, "low": 0.2, "high": 0.7},
    }
    for protocol, miou in (("clustering", 0.4), ("overclustering", 0.625))
  ]
  text = segmentation_run.table(means, published.by_protocol("davis", "miou"))
  head, one, many, note = text.splitlines()
  assert head.split()[2:4] == ["5", "clips"]
  assert head.split()[4:] == ["pretrained", "SIGMA-DINO*", "VideoMAE*"]
  assert one.split() == ["clustering", "40.0", "[20.0,", "70.0]", "-", "-"]
  assert many.split()[1:] == ["62.5", "[20.0,", "70.0]", "56.5", "50.9"]
  assert note.startswith("* published")
  assert len(segmentation_run.table(means, {}).splitlines()) == 3


def test_it_needs_one_process(config, tmp_path, monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(errors.UserError, match="in one process"):
    segmentation.run(config, tmp_path)


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_that_is_none_is_one_line(tmp_path, made):
  root = tmp_path / "davis"
  if made:
    root.mkdir()
  done = subprocess.run(
    [
      *(sys.executable, "-m", "sigma_jax.main"),
      "--config=configs/eval/segmentation_davis.py",
      *(f"--workdir={tmp_path / 'work'}", f"--config.data.val={root}"),
    ],
    cwd=dense.__file__.removesuffix("sigma_jax/evaluate/segmentation/dense.py"),
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert str(root) in line and "JPEGImages/[480p/]SEQUENCE/*.jpg" in line
