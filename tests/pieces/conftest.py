"""Some tiny clips, an encoder without training, and a small cluster."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from sigma_jax.models import sigma
from sigma_jax.train import checkpoint

av = pytest.importorskip("av")

ROOT = pathlib.Path(__file__).parents[2]

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


def _video(path, seed):
  image = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8)
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
    for number in range(6):
      picture = np.ascontiguousarray(np.roll(image, number, 1))
      container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def listing(tmp_path_factory):
  """A list of 11 clips: the fourth is broken, the last is the first again."""
  folder = tmp_path_factory.mktemp("clips")
  for row in range(10):
    _video(folder / f"{row}.mp4", row)
  (folder / "3.mp4").write_bytes(b"not a video")
  (folder / "10.mp4").write_bytes((folder / "0.mp4").read_bytes())
  lines = [f"{row}.mp4 {row}\n" for row in range(11)]
  (folder / "list.csv").write_text("".join(lines))
  return folder / "list.csv"


@pytest.fixture(scope="session")
def encoder(tiny, tmp_path_factory):
  """A workdir with untrained weights."""
  workdir = tmp_path_factory.mktemp("run")
  params = sigma.init_params(tiny, jax.random.key(0))
  checkpoint.write_params(workdir, tiny, params)
  return workdir


@pytest.fixture(scope="session")
def content():
  """`content(folder)`: path -> bytes of all files below it."""

  def read(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(x.relative_to(folder)): x.read_bytes() for x in files}

  return read


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

  def run(self, command, begun, code=0):
    """Runs a command on two nodes, one of which is killed once it has begun.

    Returns: what it wrote to stderr.
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
    assert process.returncode == code, said
    return said


@pytest.fixture(scope="module")
def cluster():
  """Two nodes; a test is skipped where there is no Ray."""
  if importlib.util.find_spec("ray") is None:
    pytest.skip("no Ray: pip install -r requirements-cluster.txt")
  made = Cluster()
  yield made
  made.close()


@pytest.fixture(scope="session")
def alone():
  """`alone(command)`: runs it here, in one process."""

  def run(command, code=0):
    done = subprocess.run(
      command, cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == code, done.stderr

  return run
