"""Pieces on a Ray cluster: retries, and a node that is killed in the middle."""

import importlib.util
import json
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.data import prepare
from sigma_jax.pieces import on_ray, pieces

ROOT = pathlib.Path(__file__).parents[2]
needs_ray = pytest.mark.skipif(
  importlib.util.find_spec("ray") is None,
  reason="Ray is not installed: pip install -r requirements-cluster.txt",
)
KNN = """
from sigma_jax import settings

def get_config():
  config = settings.default_config()
  config.task = "probe"
  config.data.train = "{folder}/train.csv"
  config.data.val = "{folder}/val.csv"
  config.data.workers = config.probe.train_samples = 1
  config.probe.batch_size = 4
  config.probe.bootstrap = 20
  config.probe.penalties = (1e-3,)
  config.probe.knn_k = {neighbours}
  return config
"""


def test_prepare_loses_a_node(cluster, alone, listing, content, tmp_path):
  def command(out):
    return [
      *(sys.executable, "-m", "sigma_jax.data.prepare", "--max-bad-share=0.1"),
      *(f"--manifest={listing}", f"--out={tmp_path / out}"),
    ]

  alone(command("one"))
  notes = tmp_path / "ray" / "progress"
  said = cluster.run(command("ray"), lambda: len([*notes.glob("*.npz")]) > 1)
  assert "11/11 files" in said and "1 unreadable" in said
  assert content(tmp_path / "ray") == content(tmp_path / "one")


def test_features_lose_a_node(
  cluster, alone, listing, encoder, content, tmp_path
):
  def command(out):
    return [
      *(sys.executable, "-m", "sigma_jax.features", f"--init={encoder}"),
      *(f"--manifest={listing}", f"--out={tmp_path / out / 'x.npz'}"),
      *("--batch-size=2", "--part-size=2"),
    ]

  (tmp_path / "one").mkdir()
  alone(command("one"))
  parts = tmp_path / "ray" / "x.npz.parts"
  said = cluster.run(command("ray"), lambda: any(parts.glob("part-*.npz")))
  assert "11/11 clips" in said
  assert content(tmp_path / "ray") == content(tmp_path / "one")
  with np.load(tmp_path / "ray" / "x.npz") as found:
    assert found["features"].shape == (10, 32)


@pytest.fixture
def told():
  """`told(path)`: content of a JSON file, without times."""

  def without(value):
    if isinstance(value, dict):
      left = {k: v for k, v in value.items() if k not in ("seconds", "peak")}
      return {k: without(v) for k, v in left.items()}
    return [without(v) for v in value] if isinstance(value, list) else value

  return lambda path: without(json.loads(path.read_text()))


def test_check_loses_a_node(cluster, alone, listing, told, tmp_path):
  def command(out):
    return [
      *(sys.executable, "-m", "sigma_jax.data.check", str(listing)),
      f"--parts={tmp_path / out}",
    ]

  alone(command("one"), code=1)  # a file is broken, and one stands twice
  parts = tmp_path / "ray"
  cluster.run(command("ray"), lambda: any(parts.rglob("*.json")), code=1)
  one, ray = (
    {path.name: told(path) for path in (tmp_path / out).glob("*.json")}
    for out in ("one", "ray")
  )
  assert len(one) > 1 and ray == one


def test_a_suite_loses_a_node(cluster, alone, listing, encoder, told, tmp_path):
  for name, rows in (("train", (0, 1, 2, 4, 5, 6)), ("val", (7, 8, 9))):
    lines = [f"{row}.mp4 {row % 3}\n" for row in rows]
    (listing.parent / f"{name}.csv").write_text("".join(lines))
  for name, neighbours in (("few", 1), ("more", 3)):
    lines = KNN.format(folder=listing.parent, neighbours=neighbours)
    (tmp_path / f"{name}.py").write_text(lines)

  def command(out):
    return [
      *(sys.executable, "-m", "sigma_jax.evaluate", "suite"),
      *("--configs", str(tmp_path / "few.py"), str(tmp_path / "more.py")),
      *(f"--init={encoder}", f"--workdir={tmp_path / out}"),
    ]

  alone(command("one"))
  cluster.run(command("ray"), (tmp_path / "ray" / "few").exists)
  found = told(tmp_path / "ray" / "results.json")
  assert found == told(tmp_path / "one" / "results.json")
  assert len(found["rows"]) >= 4 and not found["failed"]


def test_an_ablation_loses_a_node(cluster, alone, toy_clips, told, tmp_path):
  names = ("train.csv", "val.csv", "label_sets.json")
  data = [
    f"--{kind}=data.{name.partition('.')[0]}={toy_clips / name}"
    for kind in ("set", "judge-set")
    for name in names
  ]

  def command(out):
    return [
      *(sys.executable, "-m", "sigma_jax.ablate"),
      *("configs/ablations/smoke.py", *data, f"--workdir={tmp_path / out}"),
    ]

  alone(command("one"))
  out, saved = tmp_path / "ray", "*/seed*/pretrain/checkpoints/5"
  cluster.run(command("ray"), lambda: any(out.glob(saved)))
  assert told(out / "results.json") == told(tmp_path / "one" / "results.json")
  tables = [(tmp_path / x / "results.md").read_text() for x in ("one", "ray")]
  assert tables[0] == tables[1]


@needs_ray
@pytest.mark.parametrize(
  "address, line",
  [
    ("127.0.0.1:9", "no cluster answers there: "),
    ("list.csv", "is not understood; it is host:port or auto"),
    ("ray://a:1", "is not understood"),
  ],
)
def test_no_cluster_answers(listing, tmp_path, address, line):
  # Importing Ray is not for this process, where warnings are errors.
  done = subprocess.run(
    [
      *(sys.executable, "-m", "sigma_jax.data.prepare", f"--ray={address}"),
      *(f"--manifest={listing}", f"--out={tmp_path / 'out'}"),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=240,
  )
  assert done.returncode == 2
  form, said = done.stderr.splitlines()
  assert "2 columns" in form
  assert said.startswith(f"error: --ray={address}") and line in said


def test_without_ray_it_is_one_line(listing, tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "ray", None)
  argv = [f"--manifest={listing}", f"--out={tmp_path / 'out'}", "--ray"]
  assert prepare.main(argv) == 2
  form, said = capsys.readouterr().err.splitlines()
  assert "2 columns" in form
  assert said == (
    "error: --ray needs Ray, which is not installed: pip install -r "
    "requirements-cluster.txt, or sigma_jax with the extra cluster"
  )


def test_workers_are_of_this_machine(listing, tmp_path, capsys):
  argv = [f"--manifest={listing}", f"--out={tmp_path / 'out'}", "--workers=2"]
  assert prepare.main([*argv, "--ray"]) == 2
  assert "with --ray, --ray-cpus says" in capsys.readouterr().err


class TaskError(Exception):
  """As Ray's: the task has raised its cause."""

  def __init__(self, cause):
    self.cause = cause


class Fake:
  """Ray, as far as it is used; a piece's job are the ends that it takes."""

  exceptions = types.SimpleNamespace(RayTaskError=TaskError)

  def __init__(self):
    self.begun, self.cancelled, self._ends = [], [], []

  def remote(self, do, job, workers, folder):
    self.begun.append(job[0])
    self._ends.append(job[1].pop(0))
    return len(self.begun) - 1

  def wait(self, references, timeout=0, num_returns=1):
    return references[:1], references[1:]

  def get(self, reference):
    end = self._ends[reference]
    if isinstance(end, Exception):
      raise end
    return end

  def cancel(self, reference):
    self.cancelled.append(self.begun[reference])


def tasks(**ends):
  """Has pieces end in these ways; how often each is begun, and what failed."""
  fake, tally = Fake(), pieces.Tally()
  todo = [pieces.Piece(name, (name, of)) for name, of in ends.items()]
  work = pieces.Work("letters", todo, None, set)
  made = on_ray._Tasks(fake, fake, work, pieces.How(ray=""), todo)
  try:
    return fake, made.finish(tally), tally.bad
  except errors.RunStopped as error:
    return fake, error, tally.bad


DEAD = RuntimeError("the worker died")


def test_pieces_of_dead_workers_are_begun_again_a_few_times():
  fake, failed, bad = tasks(a=[DEAD, DEAD, DEAD, ["x"]], b=[[]], c=[DEAD] * 9)
  assert failed == {"c": "RuntimeError: the worker died"} and bad == ["x"]
  assert [fake.begun.count(name) for name in "abc"] == [4, 1, 4]


def test_the_same_error_twice_is_no_accident():
  errors_of = [TaskError(OSError(word)) for word in ("x", "y", "x")]
  fake, failed, _ = tasks(
    a=list(errors_of), b=[TaskError(OSError("z")), []], c=[DEAD, *errors_of]
  )
  assert failed == {"a": "OSError: x", "c": "OSError: x"}
  assert [fake.begun.count(name) for name in "abc"] == [3, 2, 4]


def test_what_the_user_has_to_change_ends_all():
  fake, error, _ = tasks(a=[TaskError(errors.RunStopped("no"))], b=[[]])
  assert str(error) == "no"
  assert fake.begun == ["a", "b"] and fake.cancelled == ["b"]


def test_a_piece_whose_machine_is_taken_away_has_not_failed():
  saved = TaskError(errors.Preempted("saved"))
  fake, failed, _ = tasks(a=[saved, saved, saved, []])
  assert failed == {} and fake.begun == ["a"] * 4
