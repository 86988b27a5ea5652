"""Every command of docs/QUESTIONS.md runs, in the page's order."""

import dataclasses
import json
import pathlib
import re
import shlex

import jax
import numpy as np
import pytest

from sigma_jax import __main__ as command_line
from sigma_jax import tasks
from sigma_jax.models import sigma
from sigma_jax.settings import config_file, given
from sigma_jax.train import checkpoint, metrics

av = pytest.importorskip("av")

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "QUESTIONS.md"


def blocks():
  """(language, code) of the page's blocks, in its order."""
  return re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def video(path, seed, frames=40):
  random = np.random.default_rng(seed)
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
    image = random.integers(0, 256, (32, 48, 3), np.uint8)
    for number in range(frames):
      picture = np.ascontiguousarray(np.roll(image, number, 1))
      container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
  """A folder as the page has it: data/mine, two lists, and weights."""
  folder = tmp_path_factory.mktemp("questions")
  (folder / "data" / "mine").mkdir(parents=True)
  for number in range(8):
    video(folder / "data" / "mine" / f"{number}.mp4", number)
  for name, rows in (("train", range(6)), ("val", (6, 7))):
    lines = [f"mine/{row}.mp4 {row % 2}\n" for row in rows]
    (folder / "data" / f"{name}.csv").write_text("".join(lines))
  (folder / "weights").mkdir()
  params = sigma.init_params(tiny, jax.random.key(1))
  checkpoint.write_params(folder / "weights" / "run", tiny, params)
  source, out = (str(folder / "weights" / x) for x in ("run", "trained.pth"))
  assert command_line.main(["export", source, out, "--format", "pth"]) == 0
  return folder


def small(run, tiny, keys, steps):
  """The command's run, at a size that a test can pay for."""
  train = {"steps": steps, "epochs": 0.0, "log_every": 1}
  train["checkpoint_every"] = steps
  if "train.batch_size" not in keys:
    train["batch_size"] = 8
  data, optimizer = {"workers": 1}, {"warmup_epochs": 0.0}
  if run.task == "pretrain":
    data |= {"num_frames": 4, "size": 16, "val": ""}
    loss = dataclasses.replace(run.loss, num_prototypes=12)
    target = dataclasses.replace(run.target, hidden=(24,), dim=16)
    run = dataclasses.replace(run, model=tiny.model, loss=loss, target=target)
  return dataclasses.replace(
    run,
    train=dataclasses.replace(run.train, **train),
    data=dataclasses.replace(run.data, **data),
    optimizer=dataclasses.replace(run.optimizer, **optimizer),
    # bfloat16 does not trace under the tests' strict promotion.
    model=dataclasses.replace(run.model, dtype="float32"),
    augment=dataclasses.replace(
      run.augment, num_ops=0, erase_prob=0.0, mixup=0.0, cutmix=0.0
    ),
    probe=dataclasses.replace(run.probe, bootstrap=10, knn_k=2),
    supervised=dataclasses.replace(run.supervised, bootstrap=10, views=(1, 1)),
  )


def train_or_evaluate(arguments, tiny, begun):
  """What the command says, by its config, its options and its workdir."""
  options = dict(word.lstrip("-").split("=", 1) for word in arguments)
  workdir, name = options.pop("workdir"), options.pop("config")
  changes = {key.removeprefix("config."): x for key, x in options.items()}
  run = config_file.changed(config_file.load(name), changes)
  given.check_read(run, changes)
  begun.append(workdir)
  # A command that is given again goes on, for a step.
  run = small(run, tiny, changes, begun.count(workdir))
  tasks.run(run, pathlib.Path(workdir))
  if run.task == "pretrain":
    assert len(metrics.read(pathlib.Path(workdir))) == run.train.steps
  else:
    results = json.loads(pathlib.Path(workdir, "results.json").read_text())
    assert results["rows"][0]["num_test"] == 2


def test_every_command_runs(place, tiny, monkeypatch, capsys):
  monkeypatch.chdir(place)
  begun, pooled = [], []
  for kind, block in blocks():
    if kind == "python":
      names = {}
      exec(block, names)
      pooled.append(np.asarray(names["pooled"]))
      continue
    for line in block.replace("\\\n", " ").splitlines():
      program, name, *arguments = shlex.split(line)
      assert program == "sigma-jax"
      if name in ("train", "evaluate"):
        train_or_evaluate(arguments, tiny, begun)
      else:
        assert command_line.main([name, *arguments]) == 0, line
  told = capsys.readouterr().out
  # Given again, with records, after a NaN, in two parts, from a file.
  assert begun.count("runs/mine") == 3 and len(set(begun)) >= 6
  assert told.count("resuming after step") == 2
  assert "from weights/trained.pth" in told
  features, coarse = (np.load(f"{x}.npz") for x in ("features", "coarse"))
  assert features["features"].shape == (8, tiny.model.encoder_dim)
  assert np.abs(features["features"] - coarse["features"]).max() > 1e-4
  windows, one = pooled
  assert windows.shape == (4, tiny.model.encoder_dim)
  place_of = [pathlib.Path(x).name for x in features["path"]].index("0.mp4")
  np.testing.assert_allclose(one[0], features["features"][place_of], rtol=1e-4)
  assert np.abs(windows - windows[0]).max() > 1e-4
  assert {path.name for path in pathlib.Path().iterdir()} >= {
    *("mine.pth", "mine_hf", "features.npz", "runs", "data")
  }
