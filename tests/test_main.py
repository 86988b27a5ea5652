"""The command line as a user meets it: exit codes and one-line errors."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest

from sigma_jax import errors, settings, tasks
from sigma_jax import main as main_lib
from sigma_jax.train import metrics

ROOT = pathlib.Path(__file__).parents[1]
SHORT = (
  "--config.train.steps=4",
  "--config.train.log_every=2",
  "--config.train.checkpoint_every=2",
)


def run(*command, folder=ROOT):
  environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
  environment["PYTHONPATH"] = str(ROOT)
  return subprocess.run(
    command,
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    timeout=240,
  )


def main(*flags):
  return run(sys.executable, "-m", "sigma_jax.main", *flags)


def one_line(done, code=2):
  """The error's text, after its form is checked."""
  assert done.returncode == code, done.stdout + done.stderr
  assert "Traceback" not in done.stderr
  lines = done.stderr.splitlines()
  assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
  assert len(lines[0]) < 300
  return lines[0]


def config_file(folder, line):
  path = folder / "mine.py"
  path.write_text(
    "from sigma_jax import settings\n\n\ndef get_config():\n"
    f"  config = settings.default_config()\n  {line}\n  return config\n"
  )
  return path


TOY = "--config=configs/toy.py"


@pytest.mark.parametrize(
  ("flags", "texts"),
  [
    (
      (TOY, "--config.train.batchsize=3"),
      ["'config.train.batchsize'", "did you mean 'config.train.batch_size'"],
    ),
    (
      (TOY, "--config.optimizer.lr=1e-3"),
      ["'config.optimizer.lr'", "did you mean 'config.optimizer.base_lr'"],
    ),
    (
      (TOY, "--config.supervised.views=(1,1)"),
      ["config.supervised.views would have no effect: task 'pretrain'"],
    ),
    (
      (TOY, "--config.train.epochs=3", "--config.train.steps=9"),
      ["train.epochs and train.steps both set the length"],
    ),
    ((TOY, "--config.train.steps=many"), ["config.train.steps", "many"]),
    ((TOY, "--config.loss.labels=sotf"), ["loss.labels", "mean 'soft'"]),
    (
      (TOY, "--config.trian.steps=3"),
      ["'config.trian.steps'", "did you mean 'config.train.steps'"],
    ),
    ((TOY, "--wrokdir=x"), ["wrokdir"]),
    (
      ("--config=configs/tay.py",),
      ["no such config file: configs/tay.py; did you mean configs/toy.py?"],
    ),
    ((TOY, "--config.model=3"), ["'config.model' is a section"]),
    ((TOY, "my", "videos"), ["not understood: 'my videos'"]),
    ((TOY, "--config.model.patch=0"), ["model.patch must be positive"]),
    ((TOY, "--config.optimizer.base_lr=nan"), ["optimizer.base_lr", "nan"]),
  ],
  ids=[
    "unknown key",
    "another's name",
    "not read",
    "two lengths",
    "wrong type",
    "wrong value",
    "unknown section",
    "unknown flag",
    "no file",
    "section",
    "stray words",
    "zero",
    "not a number",
  ],
)
def test_mistakes_on_the_command_line(tmp_path, flags, texts):
  workdir = tmp_path / "run"
  error = one_line(main(*flags, f"--workdir={workdir}"))
  for text in texts:
    assert text in error
  assert not workdir.exists()


@pytest.mark.parametrize(
  ("config", "flag", "text"),
  [
    ("toy_vjepa", "momentun=0.5", "did you mean 'config.method.momentum'?"),
    ("toy", "momentum=0.5", "'config.method.momentum'; this config's method "
     "has method.name"),
  ],
)  # fmt: skip
def test_options_of_another_method(tmp_path, config, flag, text):
  config = f"--config=configs/{config}.py"
  flags = (config, f"--config.method.{flag}", f"--workdir={tmp_path}/run")
  assert text in one_line(main(*flags))


@pytest.mark.parametrize(
  ("line", "texts"),
  [
    (
      "config.train.batchsize = 3",
      ["unknown config key 'batchsize'; did you mean 'train.batch_size'?"],
    ),
    ("config.train.steps = 'many'", ["config file: ", "'steps'", "many"]),
    ("config.data.size = 100", ["data.size", "model.patch", "100"]),
  ],
  ids=["unknown key", "wrong type", "impossible"],
)
def test_mistakes_in_the_config_file(tmp_path, line, texts):
  path = config_file(tmp_path, line)
  error = one_line(main(f"--config={path}", f"--workdir={tmp_path}/run"))
  for text in texts:
    assert text in error


def test_a_missing_config_is_named_with_an_example():
  error = one_line(main("--workdir=x"))
  assert "--config is missing" in error
  assert "python -m sigma_jax.main --config=configs/toy.py --workdir=" in error


def test_without_a_workdir(tmp_path):
  """The literal command, where its data is not there."""
  done = run(
    *(sys.executable, "-m", "sigma_jax.main", "--config=configs/k400_vitb.py"),
    folder=tmp_path,
  )
  error = one_line(done)
  first = "workdir: runs/k400_vitb (--workdir= names another)"
  assert done.stdout.splitlines()[0] == first
  assert not (tmp_path / "runs").exists()  # nothing has begun
  for text in (
    "manifest 'data/k400/train.csv' does not exist",
    "sigma_jax.data.layouts kinetics400 --out=data/k400",
    "docs/datasets/kinetics400.md",
    "--config=configs/toy.py",
  ):
    assert text in error


@pytest.mark.parametrize(
  ("config", "init", "workdir"),
  [
    ("configs/k400_vitb.py:dino", "", "runs/k400_vitb_dino"),
    ("toy", "", "runs/toy"),
    ("toy", "runs/other", "runs/toy"),  # a pre-training from another one
    ("eval/knn", "~/runs/mine/", "runs/mine/knn"),
    ("eval/finetune_toy", "weights/vmae.pth", "runs/vmae/finetune_toy"),
    ("eval/finetune_toy", "", "runs/finetune_toy"),
  ],
)
def test_a_run_has_a_usual_workdir(capsys, config, init, workdir):
  task = "pretrain" if "eval" not in config else "supervised"
  settings_ = settings.Settings(init=init, task=task)
  assert main_lib._usual_workdir(config, settings_) == workdir
  assert capsys.readouterr().out.startswith(f"workdir: {workdir} (")


def test_a_workdir_that_cannot_be(tmp_path):
  path = tmp_path / "file"
  path.touch()
  assert "cannot be made" in one_line(main(TOY, f"--workdir={path}"))
  assert "--workdir is empty" in one_line(main(TOY, "--workdir="))


@pytest.fixture
def main_that(tmp_path, monkeypatch):
  """`main_that(error)`: main's exit code where the task raises it."""
  values = {"_WORKDIR": str(tmp_path), "_DISTRIBUTED": None}
  for flag, value in (values | {"_PROFILE_STEPS": ""}).items():
    monkeypatch.setattr(main_lib, flag, types.SimpleNamespace(value=value))
  monkeypatch.setattr(main_lib, "_parse", lambda argv: settings.Settings())

  def call(error):
    def task(*args):
      raise error

    monkeypatch.setattr(tasks, "run", task)
    return main_lib.main(["main"])

  return call


@pytest.mark.parametrize(
  ("error", "code", "line"),
  [
    (
      KeyboardInterrupt(),
      130,
      "interrupted; the same command starts again",
    ),
    (errors.Interrupted("stopped by Ctrl-C"), 130, "stopped by Ctrl-C"),
    (errors.Preempted("stopped after step 3"), 143, "stopped after step 3"),
    (
      OSError(28, "No space left on device", "runs/metrics.jsonl"),
      1,
      "error: [Errno 28] No space left on device: 'runs/metrics.jsonl'",
    ),
  ],
)
def test_ends_are_one_line(main_that, capsys, error, code, line):
  assert main_that(error) == code
  assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize(
  ("flag", "words"),
  [
    ("--profile_steps=5", "'5' is not understood; it is FIRST:LAST"),
    ("--profile_steps=9:5", "is not understood"),
    ("--distributed=two", "'two' is not understood; it is auto, none or"),
  ],
)
def test_flags_that_make_no_sense(tmp_path, flag, words):
  assert words in one_line(main(TOY, f"--workdir={tmp_path / 'run'}", flag))


def test_steps_are_profiled_where_there_are_some(tmp_path):
  flags = (f"--workdir={tmp_path / 'run'}", "--profile_steps=1:2")
  error = one_line(main("--config=configs/eval/knn.py", *flags))
  assert "task 'probe' trains no steps" in error


def test_profiled_steps_leave_a_trace(toy_command, tmp_path):
  workdir = tmp_path / "run"
  done = run(*toy_command(workdir, *SHORT, "--profile_steps=2:3"))
  assert done.returncode == 0, done.stderr
  assert f"profile of steps 2 to 3: {workdir}/profile" in done.stdout
  assert list((workdir / "profile").rglob("*.xplane.pb"))


def test_a_finished_run_says_so_and_what_is_next(toy_command, tmp_path):
  """And what an earlier call left of its end goes."""
  workdir = tmp_path / "a run"
  workdir.mkdir()
  (workdir / "traceback.txt").write_text("old")
  done = run(*toy_command(workdir, *SHORT))
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  where = next(i for i, x in enumerate(lines) if x.startswith("done: "))
  assert lines[where].endswith(f"metrics and config are in {workdir}")
  quoted = f"'{workdir}'"
  assert f"python -m sigma_jax.report {quoted}" in lines[where + 1]
  judge = f"--config=configs/eval/knn.py --config.init={quoted}"
  assert judge in lines[where + 2]
  assert f"sigma_jax.features --init={quoted}" in lines[where + 3]
  assert len(lines) == where + 4
  assert not (workdir / "traceback.txt").exists()


def test_what_is_next_is_said_in_the_words_of_the_call(monkeypatch):
  monkeypatch.setattr(sys, "argv", ["sigma-jax train"])
  assert "sigma-jax report runs/toy" in main_lib._done("pretrain", "runs/toy")
  assert main_lib._done("probe", "x").endswith("in x/results.json")


def test_missing_manifest(tmp_path):
  path = tmp_path / "nothing.csv"
  flags = (f"--config.data.train={path}", f"--workdir={tmp_path}/runs/a")
  error = one_line(main(TOY, *flags))
  assert str(path) in error and "data.train" in error
  assert not list(tmp_path.iterdir())  # the run never began


def test_manifest_line_that_cannot_be_read(tmp_path):
  path = tmp_path / "train.csv"
  path.write_text('a.mp4 0\n"b.mp4 1\n')
  flags = (f"--config.data.train={path}", f"--workdir={tmp_path}/run")
  error = one_line(main(TOY, *flags))
  assert f"manifest {path}, line 2: the quote that begins" in error


def test_batch_that_the_devices_do_not_divide(toy_command, tmp_path):
  done = run(*toy_command(tmp_path / "run", "--config.mesh.data=3"))
  assert "mesh.data x mesh.fsdp must be the number of devices" in one_line(done)
  assert not (tmp_path / "run").exists()


@pytest.fixture
def broken_clips(toy_clips, tmp_path):
  """`broken_clips(n)`: the toy set's manifest with n of 40 files spoilt."""

  def make(count):
    folder = tmp_path / "clips"
    shutil.copytree(toy_clips, folder)
    files = sorted((folder / "videos" / "train").glob("*.mp4"))
    for file in files[:count]:
      file.write_bytes(b"not a video")
    return folder / "train.csv"

  return make


def test_too_many_bad_files_end_the_run_in_one_line(
  toy_command, broken_clips, tmp_path
):
  manifest = broken_clips(30)
  done = run(
    *toy_command(tmp_path / "run", *SHORT, f"--config.data.train={manifest}")
  )
  assert done.returncode == 1, done.stderr
  assert "Traceback" not in done.stderr
  lines = done.stderr.splitlines()
  assert lines[-1].startswith("error: ")
  assert sum(line.startswith("error: ") for line in lines) == 1
  for text in ("cannot be read", "data.max_bad_share", "bad_files.jsonl"):
    assert text in lines[-1]
  assert (tmp_path / "run" / "traceback.txt").exists()


def test_a_bad_file_is_skipped_and_a_probe_follows(
  toy_command, broken_clips, tmp_path
):
  manifest, workdir = broken_clips(1), tmp_path / "run"
  data = f"--config.data.train={manifest}"
  # Label sets count where they lie beside both manifests.
  beside = [
    f"--config.data.{key}={manifest.with_name(name)}"
    for key, name in (("val", "val.csv"), ("label_sets", "label_sets.json"))
  ]
  # 12 steps of 4 clips: more than an epoch, so the bad one comes up.
  steps = ("--config.train.steps=12", "--config.train.log_every=6")
  done = run(*toy_command(workdir, *SHORT, data, *steps))
  assert done.returncode == 0, done.stderr
  listed = (workdir / "bad_files.jsonl").read_text().splitlines()
  assert len(listed) == 1
  entry = json.loads(listed[0])
  assert entry["file"].endswith("videos/train/00000.mp4") and entry["reason"]
  # A slow machine may draw remarks from libraries, which are not ours.
  ours = [x for x in done.stderr.splitlines() if x.startswith("warning: ")]
  assert len(ours) == 1, done.stderr
  assert ours[0].startswith("warning: skipped unreadable ")
  assert "Traceback" not in done.stderr
  assert [row["step"] for row in metrics.read(workdir)] == [6, 12]

  judged = tmp_path / "probe"
  done = run(
    *toy_command(
      judged,
      data,
      *beside,
      f"--config.init={workdir}",
      "--config.probe.batch_size=8",
      "--config.probe.knn_k=5",
      "--config.probe.penalties=(0.01,)",
      config="configs/eval/knn_toy.py",
    )
  )
  assert done.returncode == 0, done.stderr
  results = json.loads((judged / "results.json").read_text())
  assert results["step"] == 12
  found = {
    (row["encoder"], row["label_set"], row["protocol"])
    for row in results["rows"]
  }
  assert len(found) == len(results["rows"]) == 8
  for row in results["rows"]:
    # 39 readable videos of two clips each; 12 to judge on.
    assert (row["num_train"], row["num_test"]) == (78, 12)
    assert 0 <= row["low"] <= row["top1"] <= row["high"] <= 1
  assert "pretrained" in done.stdout and "random" in done.stdout
  assert np.isfinite(results["rows"][0]["chance"])
