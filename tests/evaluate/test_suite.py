"""A suite of protocols: one real small one, and the logic with fake tasks."""

import json
import re

import av
import jax
import numpy as np
import pytest

from sigma_jax import errors, tasks
from sigma_jax.evaluate import published
from sigma_jax.evaluate.__main__ import main
from sigma_jax.models import sigma
from sigma_jax.suite import plan, table
from sigma_jax.train import checkpoint

CONFIG = """
from sigma_jax import settings

def get_config(label_set=""):
  config = settings.default_config()
  config.data.train, config.data.val = "{folder}/train.csv", "{folder}/val.csv"
  config.data.num_frames, config.data.size = 4, 16
  config.data.stride = config.data.workers = 1
  config.model.patch, config.train.batch_size = 4, 8
  config.augment.num_ops = 0
  config.supervised.views = (1, 1)
  config.supervised.label_set = label_set
  config.supervised.bootstrap = config.probe.bootstrap = 20
  config.supervised.test_batch_size = config.probe.batch_size = 8
  config.probe.train_samples = 1
  config.probe.penalties = (1e-3,)
  {more}
  return config
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
  """Twelve clips, light and dark, in train.csv (8) and val.csv (4)."""
  folder = tmp_path_factory.mktemp("clips")
  rng = np.random.default_rng(0)
  lines = []
  for number in range(12):
    with av.open(str(folder / f"{number}.mp4"), "w") as file:
      stream = file.add_stream("libx264", rate=8)
      stream.height, stream.width, stream.pix_fmt = 24, 24, "yuv420p"
      low = 128 * (number % 2)
      for _ in range(5):
        image = rng.integers(low, low + 128, (24, 24, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        file.mux(stream.encode(frame))
      file.mux(stream.encode())
    lines.append(f"{number}.mp4 {number % 2}\n")
  (folder / "train.csv").write_text("".join(lines[:8]))
  (folder / "val.csv").write_text("".join(lines[8:]))
  return folder


def save(workdir, model, step=5, seed=0):
  """A pre-trained model, as far as anyone can tell."""
  rng = np.random.default_rng(seed)
  params = jax.tree.map(
    lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype),
    sigma.abstract(model).params,
  )
  checkpoint.write_params(workdir, model, params, step)
  return workdir


@pytest.fixture(scope="module")
def model(tiny, change):
  """One block, which compiles faster."""
  return change(tiny, model__encoder_depth=1, model__encoder_dim=16)


@pytest.fixture(scope="module")
def init(tmp_path_factory, model):
  return save(tmp_path_factory.mktemp("run") / "pre", model)


@pytest.fixture
def config(tmp_path, clips):
  """`config(name, task, more)`: writes a config file; gives its path."""

  def write(name, task, more="", folder=clips):
    path = tmp_path / f"{name}.py"
    more = f"config.task = {task!r}\n  {more}"
    path.write_text(CONFIG.format(folder=folder, more=more))
    return str(path)

  return write


@pytest.fixture
def suite(tmp_path, init):
  """`suite(*arguments)`: runs the command line; gives the exit code."""

  def run(*arguments, init=init):
    options = [f"--init={init}", f"--workdir={tmp_path / 'out'}"]
    return main(["suite", *options, *arguments])

  return run


@pytest.fixture
def results(tmp_path):
  return lambda: json.loads((tmp_path / "out/results.json").read_text())


@pytest.fixture
def fake(monkeypatch):
  """Tasks that note their config and give 60%, or do what `behave` says."""

  class Fake:
    behave, ran, step = {}, (), 5

    def __call__(self, config, workdir):
      self.ran += (workdir.name,)
      if workdir.name in self.behave:
        raise self.behave[workdir.name]
      encoder = "pretrained" if config.init else "random"
      row = {"encoder": encoder, "protocol": "finetune", "label_set": "label"}
      row |= {"top1": 0.6, "low": 0.5, "high": 0.7}
      step = self.step if config.init else None
      (workdir / "results.json").write_text(
        json.dumps({"step": step, "rows": [row]})
      )
      if config.task == "supervised":
        (workdir / "checkpoints").mkdir(exist_ok=True)

    def names(self):
      """Of what has run since the last call."""
      ran, self.ran = list(self.ran), ()
      return ran

  fake = Fake()
  monkeypatch.setattr(tasks, "run", fake)
  return fake


def test_protocols_with_data_run_and_stand_in_one_table(
  tmp_path, suite, config, results, capsys, monkeypatch, model
):
  """The one real run: heads by steps, the probe, and random encoders."""
  more = "config.supervised.trains = 'head'; config.train.steps = 50"
  arguments = [
    "--configs",
    config("linear_clips", "supervised", more),
    config("clips_probe", "probe"),
    config("finetune_absent", "supervised", folder="/absent"),
    "--set=train.steps=2",
    "--baseline",
  ]
  assert suite(*arguments) == 0
  out = capsys.readouterr().out
  assert "skipped finetune_absent: data.train is not there: /absent/t" in out
  assert "[1/3] linear_clips: config" in out and "[3/3] clips_probe: d" in out
  content = results()
  assert {
    (row["name"], row["protocol"], row["encoder"]) for row in content["rows"]
  } == {
    ("linear_clips", "linear, augmented", "pretrained"),
    ("linear_clips_random", "linear, augmented", "random"),
    *(("clips_probe", p, e) for p in ("linear", "knn") for e in (
      "pretrained", "random")),
  }  # fmt: skip
  for row in content["rows"]:
    assert (row["dataset"], row["metric"]) == ("clips", "top1")
    assert row["value"] == row["top1"] and row["low"] <= row["high"]
    assert row["seconds"] > 0
  assert (content["step"], content["failed"]) == (5, [])
  assert content["versions"]["jax"] == jax.__version__
  # The random encoder is of the checkpoint's model, trained as long.
  scratch = json.loads(
    (tmp_path / "out/linear_clips_random/config.json").read_text()
  )
  assert scratch["model"]["encoder_dim"] == model.model.encoder_dim
  assert scratch["init"] == "" and scratch["train"]["steps"] == 2

  text = (tmp_path / "out/results.md").read_text()
  assert "| this run | random encoder |" in text
  assert "SIGMA-DINO (published)" not in text  # not of these clips
  assert "- finetune_absent: data.train is not there" in text
  page = (tmp_path / "out/report.html").read_text()
  for word in ("http", "<script", "<link", "@import", "url("):
    assert word not in page
  assert (
    len(re.findall(r'<img alt="[^"]*confusion[^"]*" src="data:', page)) >= 2
  )
  assert "finetune_absent skipped: data.train is not there" in page

  def never(*_):
    raise AssertionError("it is finished")

  monkeypatch.setattr(tasks, "run", never)
  assert suite(*arguments) == 0
  assert results() == content
  assert capsys.readouterr().out.count("done before, ") == 3


def test_an_error_does_not_end_the_suite(
  tmp_path, suite, config, results, fake, capsys
):
  names = ("a_one", "b_two", "c_three", "d_four")
  for name in names:
    pattern = config(name, "supervised").replace(name, "?_*")
  fake.behave = {
    "a_one": errors.UserError("no such\nlabel"),
    "b_two": errors.RunStopped("loss is not finite"),
    "c_three": FileNotFoundError("gone"),
  }
  assert suite("--configs", pattern) == 1
  assert fake.names() == list(names)
  content = results()
  assert [one["name"] for one in content["failed"]] == list(names[:3])
  assert [row["name"] for row in content["rows"]] == ["d_four"]
  out = capsys.readouterr().out
  assert "failed a_one: no such label" in out
  assert "Traceback" in (tmp_path / "out/a_one/traceback.txt").read_text()
  assert "b_two failed: loss is" in (tmp_path / "out/report.html").read_text()
  # What failed is tried again, and nothing else.
  fake.behave = {}
  assert suite("--configs", pattern) == 0
  assert fake.names() == list(names[:3])
  assert [row["name"] for row in results()["rows"]] == list(names)


def test_parts_of_an_array_give_the_same_table(
  tmp_path, suite, config, results, fake, capsys
):
  paths = [config(n, "supervised") for n in ("a", "b", "c")]
  fake.behave = {"b": errors.RunStopped("no")}
  assert suite("--configs", *paths) == 1

  def table():
    found = results()
    for row in found["rows"]:
      row.pop("seconds")
    return found

  one = table()
  (tmp_path / "out").rename(tmp_path / "one")
  fake.names(), capsys.readouterr()
  assert suite("--configs", *paths, "--only=1/2") == 1
  assert fake.names() == ["b"]
  line = "part 1/2 is done; 2 of 3 pieces are not there: a, c"
  assert line in capsys.readouterr().err
  assert suite("--configs", *paths, "--merge") == 1
  assert "error: 2 of 3 pieces" in capsys.readouterr().err
  assert suite("--configs", *paths, "--only=0/2") == 1
  assert fake.names() == ["a", "c"] and table() == one
  assert suite("--configs", *paths, "--merge") == 1
  assert fake.names() == [] and table() == one


@pytest.mark.parametrize(
  ("end", "code"),
  [(errors.Preempted("saved"), 143), (KeyboardInterrupt(), 130)],
)
def test_an_interruption_ends_it_and_the_same_command_resumes(
  suite, config, results, fake, end, code
):
  paths = [config(n, "supervised") for n in ("a", "b", "c")]
  fake.behave = {"b": end}
  assert suite("--configs", *paths) == code
  assert fake.names() == ["a", "b"]
  assert [row["name"] for row in results()["rows"]] == ["a"]
  fake.behave = {}
  assert suite("--configs", *paths) == 0
  assert fake.names() == ["b", "c"]
  assert [row["name"] for row in results()["rows"]] == ["a", "b", "c"]


def test_what_was_made_of_something_else_is_not_taken(
  tmp_path, suite, config, fake, model, capsys, clips
):
  run = save(tmp_path / "run", model)
  probe, tuned = config("x_probe", "probe"), config("tuned", "supervised")
  both = ["--configs", probe, tuned]
  assert suite(*both, init=run) == 0 and len(fake.names()) == 2
  # The same files under another name are the same checkpoint.
  assert suite(*both, init=run.rename(tmp_path / "moved")) == 0
  assert fake.names() == []
  # Another option: a probe starts again, a training cannot.
  assert (
    suite("--configs", probe, "--set=probe.knn_k=3", init=tmp_path / "moved")
    == 0
  )
  assert fake.names() == ["x_probe"]
  other = save(tmp_path / "other", model, seed=1)
  assert suite("--configs", probe, init=other) == 0
  assert fake.names() == ["x_probe"]
  assert suite(*both, init=other) == 2
  assert fake.names() == []
  assert (
    "tuned holds a training of another checkpoint" in capsys.readouterr().err
  )
  # Another list of files.
  for name in ("train.csv", "val.csv"):
    (tmp_path / name).write_text((clips / name).read_text())
  path = config("x_probe", "probe", folder=tmp_path)
  assert suite("--configs", path, init=other) == 0
  (tmp_path / "val.csv").write_text("0.mp4 1\n")
  assert suite("--configs", path, init=other) == 0
  assert fake.names() == ["x_probe"] * 2


def test_a_checkpoint_that_moves_on_is_noticed(suite, config, results, fake):
  fake.step = 6
  assert suite("--configs", config("a", "probe")) == 1
  (failed,) = results()["failed"]
  assert "step 6 was judged and not step 5" in failed["reason"]


def test_the_baseline_is_asked_for(init, config):
  paths = [config("a_probe", "probe"), config("b", "supervised")]
  for baseline, names in ((False, ["a_probe", "b"]),
                          (True, ["a_probe", "b", "b_random"])):  # fmt: skip
    runs, _ = plan.plan(paths, str(init), {}, baseline)
    assert [run.name for run in runs] == names
    assert runs[0].config.probe.random_baseline is baseline


def test_an_argument_goes_to_the_config(init, config):
  path = config("a", "supervised")
  runs, _ = plan.plan([path, f"{path}:motion"], str(init), {}, False)
  assert [run.name for run in runs] == ["a", "a_motion"]
  assert [r.config.supervised.label_set for r in runs] == ["", "motion"]


def test_options_are_read_as_what_they_are(init, config):
  changes = {
    "data.root": "7",
    "train.steps": "7",
    "supervised.rates": "(1, 0.5)",
    "supervised.trains": "head",
    "optimizer.base_lr": "1e-3",
    "data.flip": "true",
  }
  path = config("a", "supervised")
  ((run,), _) = plan.plan([path], str(init), changes, False)
  found = run.config
  assert (found.data.root, found.train.steps, found.data.flip) == ("7", 7, True)
  assert found.supervised.rates == (1.0, 0.5)
  assert found.optimizer.base_lr == 1e-3
  changes = {"train.epochs": "2"}
  ((run,), _) = plan.plan([path], str(init), changes, False)
  assert (run.config.train.epochs, run.config.train.steps) == (2.0, 0)


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    (["--set=train.stepz=3"], "'train.stepz'; did you mean 'train.steps'?"),
    (["--set=trian.steps=3"], "'trian'; did you mean 'train'?"),
    (["--set=train.steps=many"], "'train.steps' must be int, got 'many'"),
    (["--set=train.steps.x=1"], "'steps' is no section"),
    (["--set=train=3"], "'train' is a section"),
    (["--set=train.epochs=1", "--set=train=3"], "'train' is a section"),
    (["--set=train.epochs=1", "--set=train.steps=3"], "give one of them"),
    (["--set=loss.epsilon=3"], "no effect on any of these configs: task"),
    (["--set=train.steps"], "it is KEY=VALUE"),
    (["--set=init=x"], "--init sets it"),
    (["--set=probe.random_baseline=true"], "--baseline sets it"),
    (["--configs", "/absent/*.py"], "there is no such file"),
    (["--configs", "configs/toy.py"], "configs/toy.py is of pre-training"),
    (["--configs", "sigma_jax/errors.py"], "it has no get_config()"),
    (["--init=/absent"], "no such checkpoint: /absent"),
  ],
)
def test_mistakes_are_told_in_a_line(
  suite, config, fake, capsys, tmp_path, arguments, text
):
  path = config("a", "supervised")
  if "--configs" not in arguments:
    arguments = [*arguments, "--configs", path]
  assert suite(*arguments) == 2
  found = capsys.readouterr().err
  assert text in found and found.count("\n") == 1
  assert not fake.names() and not (tmp_path / "out").exists()


def test_two_configs_of_one_name_are_refused(suite, config, tmp_path, capsys):
  path = config("a", "probe")
  (tmp_path / "deep").mkdir()
  (tmp_path / "deep/a.py").write_text("")
  assert suite("--configs", path, str(tmp_path / "deep/a.py")) == 2
  assert "would both be called a" in capsys.readouterr().err


def test_without_data_there_is_nothing_to_run(suite, config, capsys):
  path = config("a", "supervised", "config.data.val = ''")
  assert suite("--configs", path) == 2
  captured = capsys.readouterr()
  assert "skipped a: data.val is not set" in captured.out
  assert "no config's data is there" in captured.err


def add(rows, stem, task_row, name=""):
  run = plan.Run(name or stem, stem, "pretrained", None, "")
  row = {"encoder": "pretrained", "protocol": "finetune", "low": 0, "high": 1}
  table.add(rows, run, [row | task_row], 1.0)
  return rows[-1]


@pytest.mark.parametrize(
  ("stem", "label_set", "wanted"),
  [
    ("finetune_ssv2", "label", "ssv2"),
    ("linear_k400", "", "kinetics400"),
    ("knn_toy", "motion", "toy motion"),
    ("severe_gym99_1000", "label", "gym99_1000"),
    ("count_toy", "", "toy"),
    ("knn", "label", "own clips"),
  ],
)
def test_data_sets_are_named_as_published(stem, label_set, wanted):
  assert table.dataset(stem, label_set) == wanted


def test_the_mean_of_severe_comes_with_the_eighth_task():
  rows = []
  for number, (name, metric) in enumerate(published.SEVERE_TASKS.items(), 1):
    assert len(rows) == number - 1
    add(rows, f"severe_{name}", {"metric": metric, metric: number / 10})
  *tasks_of, mean = rows
  assert {row["protocol"] for row in rows} == {"severe"}
  assert [row["dataset"] for row in tasks_of] == list(published.SEVERE_TASKS)
  # 0.1 + ... + 0.8 = 3.6; the seventh, 0.7, is an error: 0.3 instead.
  assert (mean["metric"], mean["dataset"]) == ("severe_mean", "mean")
  assert mean["value"] == pytest.approx(3.2 / 8)
  add(rows, "finetune_ssv2", {"top1": 0.5})
  assert [row["metric"] for row in rows].count("severe_mean") == 1


def test_two_results_for_one_cell_are_told_apart():
  rows = []
  add(rows, "finetune_toy", {"top1": 0.5})
  twin = add(rows, "toy_finetune", {"top1": 0.6})
  assert twin["dataset"] == "toy (toy_finetune)"
  assert len(published.markdown(rows).splitlines()) == 6
