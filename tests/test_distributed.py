"""What a process makes of its flag and its environment; see also test_hosts."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from sigma_jax import distributed, errors

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
  ("environ", "words"),
  [
    (
      {"SLURM_NTASKS": "4", "SLURM_PROCID": "1"},
      "one of 4 processes that SLURM started: pass --distributed=auto",
    ),
    (
      {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
      "one of 2 processes that Open MPI started",
    ),
    ({"TPU_WORKER_HOSTNAMES": "a,b,c"}, "one of 3 hosts of a TPU slice"),
    ({"JOB_COMPLETION_INDEX": "0"}, "indexed Kubernetes job"),
  ],
)
def test_one_of_many_does_not_run_alone_unasked(environ, words):
  with pytest.raises(errors.UserError, match=words):
    distributed.start(None, environ)
  distributed.start("none", environ)


@pytest.mark.parametrize(
  "environ",
  [
    {},
    # A batch script's own process, before srun, is no task.
    {"SLURM_NTASKS": "4"},
    {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
    {"TPU_WORKER_HOSTNAMES": "localhost"},
  ],
)
def test_a_process_of_its_own_runs(environ):
  distributed.start(None, environ)


@pytest.mark.parametrize(
  ("how", "words"),
  [
    ("all", "'all' is not understood; it is auto, none or HOST:PORT,N,I"),
    ("host,2,0", "is not understood"),
    ("host:1,2", "is not understood"),
    ("host:1,2,2", "process 2 of 2 does not exist; they are numbered 0 to 1"),
  ],
)
def test_a_flag_that_makes_no_sense(how, words):
  with pytest.raises(errors.UserError, match=words):
    distributed.start(how, {})


def test_an_ipv6_address_is_understood():
  assert distributed._parse("[::1]:99,3,2") == ("[::1]:99", 3, 2)


def test_no_cluster_is_told():
  """In a process of its own: this one has used its devices."""
  error = ValueError("coordinator_address should be defined.")
  assert "no cluster found" in distributed._explain("auto", error)


def test_fewer_processes_than_started_are_told():
  with pytest.raises(errors.UserError, match=r"started 4 .* 1 joined"):
    distributed._check_count({"SLURM_NTASKS": "4"})
  distributed._check_count({"SLURM_NTASKS": "1"})
  distributed._check_count({})


HOST = """
import sys
from sigma_jax import distributed, errors

distributed.start(sys.argv[1])
from sigma_jax.data import manifest


def load(path):
  rows = distributed.agreed(
    lambda: manifest.load(path),
    lambda rows: {f"list {path}": " ".join(rows.files)},
  )
  return len(rows)


for path in sys.argv[2:]:
  try:
    print('>', load(path))
  except (errors.UserError, FileNotFoundError) as error:
    print('>', error)
"""


def test_hosts_with_unlike_lists(tmp_path):
  """Each in a folder of its own: one list is alike, one is older on host 1, one
  is there on host 0 alone."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  lists = ("same.csv", "other.csv", "one.csv")
  processes = []
  for host in range(2):
    folder = tmp_path / str(host)
    folder.mkdir()
    (folder / "same.csv").write_text("/a.mp4 0\n/b.mp4 1\n")
    (folder / "other.csv").write_text("/a.mp4 0\n/b.mp4 1\n"[: 9 * (2 - host)])
    if not host:
      (folder / "one.csv").write_text("/a.mp4 0\n")
    processes.append(
      subprocess.Popen(
        [sys.executable, "-c", HOST, f"{address},2,{host}", *lists],
        cwd=folder,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
      )
    )
  said = [process.communicate(timeout=120)[0] for process in processes]
  for host, text in enumerate(said):
    lines = [x[2:] for x in text.splitlines() if x.startswith("> ")]
    same, other, one = lines
    assert same == "2"
    assert other.startswith("processes 1 have another list other.csv than proc")
    assert ("'one.csv' does not exist" in one) == (host == 1)
    assert ("processes 1 cannot read their lists" in one) == (host == 0)


def test_one_process_agrees_with_itself():
  assert distributed.agreed(lambda: 3, lambda _: 1 / 0) == 3
