"""launch/gpu.sh and launch/slurm.sbatch, stand-ins for the driver and SLURM."""

import pathlib
import shlex
import shutil
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
H100 = "580.65.06, NVIDIA H100 80GB HBM3, 81559 MiB"


@pytest.mark.parametrize("script", ["gpu.sh", "slurm.sbatch"])
def test_dry_run_shows_the_run_and_calls_nothing(cluster, script):
  out = cluster.output(script, "--dry-run", "--config=c")
  assert "python -m sigma_jax.main" in out.splitlines()[-1]
  assert out.endswith(" --config=c\n")
  assert cluster.calls == []


def test_gpu_checks_and_runs(cluster):
  cluster.add_environment()
  arguments = ("--config=c", "--x=a b")
  out = cluster.output("gpu.sh", *arguments, FAKE_NVIDIA_SMI_OUT=H100)
  assert out.splitlines() == [H100, "setup cuda"]
  ran = pathlib.Path(f"{cluster.log}.python").read_text().splitlines()
  assert ran[-1] == "-m sigma_jax.main --config=c --x=a b"


@pytest.mark.parametrize(
  "environment, word",
  [
    ({"FAKE_NVIDIA_SMI_OUT": "550.54.15, A100, 1 MiB"}, "550.54.15 is too old"),
    ({"FAKE_NVIDIA_SMI_CODE": "9"}, "nvidia-smi finds no GPU"),
    ({"FAKE_NO_GPU": "1"}, "JAX does not see the GPUs"),
  ],
)
def test_gpu_refusals(cluster, environment, word):
  cluster.add_environment()
  environment = {"FAKE_NVIDIA_SMI_OUT": H100} | environment
  assert word in cluster.refusal("gpu.sh", "--config=c", **environment)
  ran = pathlib.Path(f"{cluster.log}.python")
  assert not ran.exists() or "sigma_jax.main" not in ran.read_text()


def test_gpu_without_arguments_or_driver(cluster):
  assert "no arguments" in cluster.refusal("gpu.sh")
  (cluster.bin / "nvidia-smi").unlink()
  if shutil.which("nvidia-smi"):
    pytest.skip("this machine has nvidia-smi")
  assert "not on PATH" in cluster.refusal("gpu.sh", "--config=c")


def in_job(cluster, **more):
  """What SLURM sets in the environment of a job with 4 GPUs a node."""
  return {
    "SLURM_JOB_ID": "7",
    "SLURM_SUBMIT_DIR": str(cluster.root),
    "SLURM_GPUS_ON_NODE": "4",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_CPUS_PER_TASK": "6",
    **more,
  }


def start(cluster, *arguments):
  """A job's process: SLURM runs a copy of the script that lies elsewhere."""
  spool = cluster.root.parent / "spool"
  spool.mkdir()
  script = shutil.copy(cluster.root / "launch" / "slurm.sbatch", spool)
  return subprocess.Popen(
    ["bash", script, *arguments],
    env=cluster.environment(**in_job(cluster)),
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    text=True,
  )


def test_slurm_starts_one_process_a_gpu(cluster, awkward):
  cluster.add_environment()
  job = start(cluster, *awkward)
  job.communicate(timeout=60)
  assert job.returncode == 0
  ((name, *arguments),) = cluster.calls
  assert name == "srun"
  at = arguments.index(".venv/bin/python")
  assert {"--kill-on-bad-exit=0", "--gpu-bind=none"} <= set(arguments[:at])
  assert "--cpus-per-task=6" in arguments[:at]
  main = ["-m", "sigma_jax.main", "--distributed=auto"]
  assert arguments[at + 1 :] == [*main, *awkward]


def test_slurm_one_process_a_node_is_given_all_its_gpus(cluster):
  asked = {"SLURM_NTASKS_PER_NODE": "1", "SLURM_GPUS_ON_NODE": "4"}
  out = cluster.output("slurm.sbatch", "--dry-run", "--config=c", **asked)
  lines = [shlex.split(line) for line in out.splitlines()]
  assert [words[0] for words in lines] == ["sbatch", "export", "srun"]
  assert lines[1][1] == "JAX_LOCAL_DEVICE_IDS=0,1,2,3"


@pytest.mark.parametrize("code, again", [(0, False), (1, False), (143, True)])
def test_slurm_queues_again_what_saved_its_state(cluster, code, again):
  cluster.add_environment()
  environment = in_job(cluster, FAKE_SRUN_CODE=str(code))
  result = cluster.run("slurm.sbatch", "--config=c", **environment)
  assert result.returncode == code
  assert cluster.calls[1:] == ([["scontrol", "requeue", "7"]] if again else [])


# Saves for half a second once it is signalled, by scancel alone.
SAVING_STEP = """#!/bin/bash
trap 'sleep 0.5; echo saved >>$FAKE_LOG.saved; exit 143' TERM
echo $$ >$FAKE_LOG.step
while :; do sleep 0.05; done
"""
SCANCEL = """#!/bin/bash
echo "$*" >>$FAKE_LOG.scancel
kill -TERM $(<$FAKE_LOG.step)
"""


def test_slurm_passes_sigterm_on_and_waits_for_the_save(cluster):
  cluster.add_environment()
  cluster.add("srun", SAVING_STEP)
  cluster.add("scancel", SCANCEL)
  step = pathlib.Path(f"{cluster.log}.step")
  job = start(cluster, "--config=c")
  for _ in range(600):
    if step.exists() and step.read_text().strip():
      break
    time.sleep(0.05)
  job.send_signal(signal.SIGTERM)
  out, _ = job.communicate(timeout=60)
  assert job.returncode == 143
  assert pathlib.Path(f"{cluster.log}.saved").read_text() == "saved\n"
  sent = pathlib.Path(f"{cluster.log}.scancel").read_text()
  assert sent == "--signal=TERM 7\n"
  assert cluster.calls == [["scontrol", "requeue", "7"]]
  assert "the state is saved: queued again" in out


def test_slurm_refusals(cluster):
  name, job = "slurm.sbatch", in_job(cluster)
  assert "not a SLURM job" in cluster.refusal(name, "--config=c")
  assert "no arguments" in cluster.refusal(name, **job)
  line = cluster.refusal(name, "--config=c", **job)
  assert "launch/setup.sh cuda" in line
  cluster.add_environment()
  uneven = job | {"SLURM_NTASKS_PER_NODE": "3"}
  line = cluster.refusal(name, "--config=c", **uneven)
  assert "3 processes for 4 GPUs" in line
  elsewhere = job | {"SLURM_SUBMIT_DIR": str(cluster.bin)}
  line = cluster.refusal(name, "--config=c", **elsewhere)
  assert "submit from its folder" in line
  assert cluster.calls == []


def test_slurm_asks_for_the_signal_and_for_requeueing():
  head = (ROOT / "launch" / "slurm.sbatch").read_text().split("set -euo")[0]
  options = [x[8:] for x in head.splitlines() if x.startswith("#SBATCH ")]
  assert {"--requeue", "--signal=B:TERM@120"} <= set(options)
