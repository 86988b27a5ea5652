"""launch/tpu_vm.sh with a stand-in for gcloud."""

import os
import pathlib
import shlex
import shutil
import subprocess
import time

import pytest

TPU = shlex.split("tpu_vm.sh --name n --project p --zone z")
WHERE = ["--project=p", "--zone=z"]
TPUS = ["gcloud", "compute", "tpus"]


@pytest.mark.parametrize(
  "command",
  [
    *[["create"], ["queue"], ["wait"], ["status"], ["copy"], ["setup"]],
    *[["run", "--config=c"], ["logs"], ["stop"], ["each", "ls"], ["delete"]],
  ],
  ids=lambda command: command[0],
)
def test_dry_run_shows_gcloud_and_calls_nothing(cluster, command):
  if command == ["copy"]:
    commit(cluster)
  options = ["--type", "v6e-8", "--dry-run"]
  out = cluster.output(*TPU, *options, *command)
  assert "gcloud compute tpus" in out
  assert cluster.calls == []


@pytest.mark.parametrize(
  "kind, system",
  [
    ("v6e-16", "v2-alpha-tpuv6e"),
    ("v5p-32", "v2-alpha-tpuv5"),
    ("v5litepod-256", "v2-alpha-tpuv5-lite"),
    ("v4-64", "tpu-ubuntu2204-base"),
  ],
)
def test_create_and_queue(cluster, kind, system):
  cluster.output(*TPU, "--type", kind, "--spot", "create")
  cluster.output(*TPU, "--type", kind, "queue")
  asked = f"--accelerator-type={kind}"
  assert cluster.calls == [
    [*TPUS, "tpu-vm", "create", "n", f"--version={system}", asked]
    + ["--spot", *WHERE],
    [*TPUS, "queued-resources", "create", "n", "--node-id=n"]
    + [f"--runtime-version={system}", asked, *WHERE],
  ]


def test_a_disk_goes_to_all_hosts(cluster):
  cluster.output(*TPU, "--type", "v6e-16", "--disk", "videos", "queue")
  source = "source=projects/p/zones/z/disks/videos,mode=read-only"
  assert f"--data-disk={source}" in cluster.calls[0]


def test_the_environment_describes_the_slice_too(cluster):
  described = {"TPU_NAME": "n", "TPU_PROJECT": "p", "TPU_ZONE": "z"}
  described |= {"TPU_TYPE": "v9-8", "TPU_VERSION": "future"}
  cluster.output("tpu_vm.sh", "create", **described)
  ((*_, version, kind, project, zone),) = cluster.calls
  assert (kind, version) == ("--accelerator-type=v9-8", "--version=future")
  assert [project, zone] == WHERE


def on_host(cluster, script, home, **environment):
  """Runs what a host is sent as its login shell would."""
  return subprocess.run(
    [shutil.which("bash"), "-c", script.removeprefix("--command=")],
    env=cluster.environment(HOME=str(home), **environment),
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    timeout=60,
  )


def test_run_reaches_every_host_as_typed_and_once(cluster, awkward, tmp_path):
  cluster.output(*TPU, "run", *awkward)
  ((*_, name, worker, script, project, zone),) = cluster.calls
  assert [name, worker, project, zone] == ["n", "--worker=all", *WHERE]
  python = tmp_path / "sigma_jax" / ".venv" / "bin" / "python"
  python.parent.mkdir(parents=True)
  cluster.add("python").rename(python)
  assert on_host(cluster, script, tmp_path).returncode == 0
  pid = tmp_path / "sigma_jax" / "run.pid"
  assert pid.read_text().strip().isdigit()
  for _ in range(200):  # it runs in the background
    if len(cluster.calls) > 1:
      break
    time.sleep(0.05)
  main = ["python", "-m", "sigma_jax.main", "--distributed=auto"]
  assert cluster.calls[1:] == [[*main, *awkward]]
  pid.write_text(str(os.getpid()))
  again = on_host(cluster, script, tmp_path)
  assert again.returncode == 1
  assert "a run is going on: stop it first" in again.stderr


@pytest.mark.parametrize("python", ["python3.10", "python3.11", "python3.13"])
def test_setup_installs_a_python_that_is_missing(cluster, tmp_path, python):
  cluster.output(*TPU, "setup")
  script = cluster.calls[-1][-3]
  (tmp_path / "sigma_jax").mkdir()
  for name in (python, "sudo", "bash"):
    cluster.add(name)
  only = {"PATH": str(cluster.bin)}
  assert on_host(cluster, script, tmp_path, **only).returncode == 0
  *before, last = cluster.calls[1:]
  assert last == ["bash", "launch/setup.sh", "tpu"]
  installed = [call[-2:] for call in before if "install" in call]
  wanted = [["python3.12", "python3.12-venv"]]
  assert installed == (wanted if python == "python3.10" else [])


def test_stop_signals_the_process_that_run_noted(cluster, tmp_path):
  cluster.output(*TPU, "stop")
  script = cluster.calls[-1][-3]
  sleeper = subprocess.Popen(["sleep", "60"])
  (tmp_path / "sigma_jax").mkdir()
  (tmp_path / "sigma_jax" / "run.pid").write_text(str(sleeper.pid))
  assert on_host(cluster, script, tmp_path).returncode == 0
  assert sleeper.wait(timeout=10) == -15


def test_wait_asks_until_the_slice_is_there(cluster):
  answers = {"FAKE_GCLOUD_OUT": "WAITING|X|ACTIVE"}
  out = cluster.output(*TPU, "--every", "0", "wait", **answers)
  assert out.splitlines() == ["n is WAITING", "n is X"]
  assert len(cluster.calls) == 3
  line = cluster.refusal(*TPU, "wait", FAKE_GCLOUD_OUT="SUSPENDED")
  assert "SUSPENDED: delete it and queue it again" in line


def test_status(cluster):
  out = cluster.output(*TPU, "status", FAKE_GCLOUD_OUT="READY")
  assert out.splitlines() == ["request: READY", "slice: READY"]
  formats = [call[-3] for call in cluster.calls]
  assert formats == [
    "--format=value(state.state)",
    "--format=value(state,health)",
  ]


def test_delete_takes_the_request_along_where_there_is_one(cluster):
  cluster.output(*TPU, "delete")
  deleted = ["queued-resources", "delete", "n", "--force", *WHERE]
  assert cluster.calls[-1][3:] == deleted
  cluster.run(*TPU, "delete", FAKE_GCLOUD_CODE="1")
  assert cluster.calls[-1][3:] == ["tpu-vm", "delete", "n", *WHERE]


def commit(cluster):
  if not shutil.which("git"):
    pytest.skip("git is not installed")
  git = ["git", "-C", str(cluster.root)]
  git += ["-c", "user.name=a", "-c", "user.email=a@b"]
  subprocess.run([*git, "init", "-q"], check=True)
  subprocess.run([*git, "add", "launch/gpu.sh"], check=True)
  subprocess.run([*git, "commit", "-qm", "c"], check=True)


def test_copy_sends_what_is_committed(cluster, tmp_path):
  assert "not a git checkout" in cluster.refusal(*TPU, "copy")
  commit(cluster)
  # One that keeps what it is given to copy.
  keep = '#!/bin/sh\n[ "$4" = ssh ] || cp "$5" "$FAKE_LOG.tar.gz"\n'
  cluster.add("gcloud", keep)
  (cluster.root / "launch" / "gpu.sh").write_text("changed")
  result = cluster.run(*TPU, "copy", TMPDIR=str(tmp_path))
  assert result.returncode == 0
  assert "not committed are not sent" in result.stderr
  packed = f"{cluster.log}.tar.gz"
  names = subprocess.check_output(["tar", "-tzf", packed], text=True)
  assert names.split() == ["launch/", "launch/gpu.sh"]
  assert not list(pathlib.Path(tmp_path).glob("sigma_jax-*"))


@pytest.mark.parametrize(
  "arguments, word",
  [
    ([], "no command"),
    (["fly"], "unknown command 'fly'"),
    (["--colour", "red", "status"], "unknown option '--colour'"),
    (["--name"], "--name needs a value"),
    (["status"], "TPU_NAME"),
    (["--name", "n", "status"], "TPU_PROJECT"),
    (["--name", "n", "--project", "p", "status"], "TPU_ZONE"),
    ([*TPU[1:], "create"], "TPU_TYPE"),
    ([*TPU[1:], "--type", "v9-8", "create"], "set --version"),
    ([*TPU[1:], "run"], "run needs sigma_jax.main's arguments"),
    ([*TPU[1:], "each", "ls", "-l"], "one argument"),
  ],
)
def test_refusals(cluster, arguments, word):
  assert word in cluster.refusal("tpu_vm.sh", *arguments)
  assert cluster.calls == []
