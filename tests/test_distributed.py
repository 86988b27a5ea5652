"""What a process makes of its flag and its environment; see also test_hosts."""

import pytest

from sigma_jax import distributed, errors


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
