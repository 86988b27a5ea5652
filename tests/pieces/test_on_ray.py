"""Pieces on a Ray cluster: retries, and a node that is killed in the middle."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import time
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

# Two nodes of one core; the second is killed and made anew by lines on stdin.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

small = {"num_cpus": 1, "object_store_memory": 80 << 20}
cluster = Cluster(True, head_node_args=small | {"include_dashboard": False})
node = cluster.add_node(**small)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
  if line == "kill\\n":
    cluster.remove_node(node, allow_graceful=False)
  else:
    node = cluster.add_node(**small)
    cluster.wait_for_nodes()
  print("done", flush=True)
cluster.shutdown()
"""


class Cluster:
  def __init__(self):
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    self._process = subprocess.Popen(
      [sys.executable, "-c", CLUSTER],
      env=environment,
      cwd=ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    self.address = self._process.stdout.readline().strip()
    self.nodes = 2

  def ask(self, word):
    self._process.stdin.write(word + "\n")
    self._process.stdin.flush()
    assert self._process.stdout.readline() == "done\n"

  def close(self):
    self._process.stdin.close()
    self._process.wait(60)
    self._process.stdout.close()

  def run(self, command, begun):
    """Runs a command on two nodes, one of which is killed once it has begun.

    Returns: what it said on stderr.
    """
    if self.nodes == 1:
      self.ask("add")
    process = subprocess.Popen(
      [*command, f"--ray={self.address}"],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    end = time.monotonic() + 240
    while not begun():
      assert process.poll() is None, process.communicate()
      assert time.monotonic() < end
      time.sleep(0.01)
    self.ask("kill")
    self.nodes = 1
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def cluster():
  made = Cluster()
  yield made
  made.close()


def alone(command):
  done = subprocess.run(
    command, cwd=ROOT, capture_output=True, text=True, timeout=240
  )
  assert done.returncode == 0, done.stderr


@needs_ray
def test_prepare_loses_a_node(cluster, listing, content, tmp_path):
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


@needs_ray
def test_features_lose_a_node(cluster, listing, encoder, content, tmp_path):
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
