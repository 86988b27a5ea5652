"""Job arrays and Ray clusters: what SLURM, ssh, gcloud and kubectl are told."""

import pathlib
import re
import shlex
import subprocess

import pytest
import yaml

from sigma_jax.data import prepare
from sigma_jax.inference import features

PREPARE = ["prepare", "--manifest=a b.csv", "--out=/shared/it's"]
ARRAY = ["slurm_array.sh", "--parts", "64"]
HOSTS = ["ray_gpu.sh", "--hosts", "me@a,b,c", "--dir", "/shared/a checkout"]
SLICE = shlex.split("ray_tpu.sh --name n --project p --zone z")
JOB = shlex.split(
  "kuberay.sh --name job1 --image r.io/s:1 --claim nfs --pods 8"
)


def after(script, tmp_path, name):
  """What a script given to a shell passes to `name` of the environment."""
  stub = tmp_path / "here" / ".venv" / "bin" / name
  stub.parent.mkdir(parents=True, exist_ok=True)
  stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "$JAX_PLATFORMS" >got\n')
  stub.chmod(0o755)
  done = subprocess.run(
    ["sh", "-c", script + "\nwait"],
    cwd=tmp_path / "here",
    env={"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "5"},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 0, done
  return (tmp_path / "here" / "got").read_text().splitlines()


def test_an_array_and_what_merges_it(cluster, tmp_path):
  cluster.add_environment()
  options = ["--at-once", "8", "--gpus", "1", "--name", "k400"]
  cluster.output(*ARRAY, *options, "--", *PREPARE, FAKE_SBATCH_OUT="77;big")
  array, merge = cluster.calls
  common = ["sbatch", "--parsable", f"--chdir={cluster.root}"]
  common += ["--cpus-per-task=8", "--time=4:00:00", "--gpus=1"]
  assert array[:6] == merge[:6] == common
  assert array[6:-1] == [
    *("--job-name=k400", "--output=k400-%A_%a.log", "--array=0-63%8"),
  ]
  assert merge[6:-1] == [
    *("--job-name=k400-merge", "--output=k400-%j.log"),
    "--dependency=afterany:77",
  ]
  for call, how in ((array, "--only=5/64"), (merge, "--merge")):
    got = after(call[-1].removeprefix("--wrap="), tmp_path, "python")
    assert got == ["-m", "sigma_jax", *PREPARE, how, ""]


def test_an_array_that_is_only_shown(cluster):
  out = cluster.output(*ARRAY, "--dry-run", "--", *PREPARE)
  assert "--array=0-63 " in out and "--dependency=afterany:ARRAY" in out
  assert cluster.calls == []


def test_a_cluster_by_ssh(cluster, tmp_path):
  cluster.add("ssh")
  for command in (["setup"], ["start"], ["run", *PREPARE], ["stop"]):
    cluster.output(*HOSTS, *command)
  calls = [call[3:] for call in cluster.calls]
  hosts = ["me@a", "b", "c"]
  assert [host for host, _ in calls] == ["me@a", *hosts, "me@a", *hosts]
  scripts = [script for _, script in calls]
  folder = "cd /shared/a\\ checkout && "
  assert all(script.startswith(folder) for script in scripts)
  scripts = [script.removeprefix(folder) for script in scripts]
  assert "setup.sh cuda && " in scripts[0]
  assert "-r requirements-cluster.txt" in scripts[0]
  for script, words in zip(
    scripts[1:4],
    ["start --head --port=6379 --include-dashboard=false"]
    + 2 * ["start --address=a:6379"],
    strict=True,
  ):
    assert after(script, tmp_path, "ray") == [*words.split(), ""]
  got = after(scripts[4], tmp_path, "python")
  assert got == ["-m", "sigma_jax", *PREPARE, "--ray=auto", "cpu"]
  assert after(scripts[7], tmp_path, "ray") == ["stop", ""]


def test_a_cluster_of_a_tpu_slice(cluster, tmp_path):
  # The second call asks for the address of host 0.
  cluster.output(*SLICE, "start", FAKE_GCLOUD_OUT="ok|10.0.0.7|ok")
  cluster.output(*SLICE, "run", *PREPARE)
  head, describe, join, run = cluster.calls
  where = ["--project=p", "--zone=z"]
  assert head[4:7] == ["ssh", "n", "--worker=0"] and head[-2:] == where
  assert describe[4:6] == ["describe", "n"]
  assert join[4:7] == ["ssh", "n", "--worker=all"]
  assert run[4:7] == ["ssh", "n", "--worker=0"]
  scripts = [call[7].removeprefix("--command=") for call in (head, join, run)]
  home = "cd ~/sigma_jax && "
  assert all(script.startswith(home) for script in scripts)
  head, join, run = (script.removeprefix(home) for script in scripts)
  assert after(head, tmp_path, "ray")[:2] == ["start", "--head"]
  assert after(join, tmp_path, "ray") == [
    "start",
    "--address=10.0.0.7:6379",
    "",
  ]
  got = after(run, tmp_path, "python")
  assert got == ["-m", "sigma_jax", *PREPARE, "--ray=auto", "cpu"]


@pytest.mark.parametrize("start", [HOSTS, SLICE], ids=["ssh", "tpu"])
@pytest.mark.parametrize(
  "command", ["setup", "start", "status", "run", "logs", "stop"]
)
def test_a_dry_run_calls_nothing(cluster, start, command):
  more = PREPARE if command == "run" else []
  out = cluster.output(*start, "--dry-run", command, *more)
  assert out.startswith(("ssh ", "gcloud compute tpus tpu-vm "))
  assert cluster.calls == []


def test_a_job_on_kubernetes(cluster, tmp_path):
  options = ["--cpus", "16", "--memory", "64", "--gpus", "2", "--dry-run", "--"]
  job = yaml.safe_load(cluster.output(*JOB, *options, *PREPARE))
  assert (job["kind"], job["apiVersion"]) == ("RayJob", "ray.io/v1")
  spec = job["spec"]["rayClusterSpec"]
  (workers,) = spec["workerGroupSpecs"]
  assert workers["replicas"] == workers["maxReplicas"] == 8
  pods = [x["template"]["spec"] for x in (spec["headGroupSpec"], workers)]
  for pod in pods:
    (container,) = pod["containers"]
    assert container["image"] == "r.io/s:1"
    assert container["volumeMounts"] == [
      {"name": "shared", "mountPath": "/mnt"}
    ]
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == "nfs"
  # The head does no pieces.
  assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
  limits = pods[1]["containers"][0]["resources"]["limits"]
  assert limits == {"cpu": "16", "memory": "64G", "nvidia.com/gpu": 2}
  script = job["spec"]["entrypoint"]
  assert script.startswith("cd /sigma_jax && ")
  got = after(script.removeprefix("cd /sigma_jax && "), tmp_path, "python")
  assert got == ["-m", "sigma_jax", *PREPARE, "--ray=auto", "cpu"]
  assert cluster.calls == []
  cluster.output(*JOB, "--", *PREPARE)
  assert cluster.calls == [["kubectl", "apply", "-f", "-"]]


@pytest.mark.parametrize(
  "command, line",
  [
    (["slurm_array.sh", "--", "prepare"], "--parts cannot be ''"),
    ([*ARRAY, "--", "train"], "'train' is not done in parts"),
    ([*ARRAY], "no command"),
    ([*ARRAY, "prepare"], "unknown option 'prepare'"),
    ([*ARRAY, "--", "prepare"], "no environment in "),
    (["ray_gpu.sh", "start"], "start needs --hosts or RAY_HOSTS"),
    ([*HOSTS], "no command: setup, start"),
    ([*HOSTS, "create"], "unknown command 'create'"),
    ([*HOSTS, "--dry-run", "run", "bench"], "'bench' does not run on Ray"),
    ([*SLICE[:3], "start"], "start needs --project or TPU_PROJECT"),
    ([*SLICE, "run"], "no command of sigma_jax"),
    ([*JOB, "--pods", "0", "--", "check"], "--pods cannot be '0'"),
    ([*JOB[:5], "--", "check"], "--pods is missing"),
    ([*JOB], "no command of sigma_jax"),
  ],
)
def test_mistakes_are_one_line(cluster, command, line):
  cluster.add("ssh")
  assert line in cluster.refusal(*command)
  assert cluster.calls == []


def documented():
  """The commands of docs/CLUSTER.md, and what they export before."""
  page = pathlib.Path(__file__).parents[2] / "docs" / "CLUSTER.md"
  blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
  exported, found = {}, []
  for line in "".join(blocks).replace("\\\n", " ").splitlines():
    words = shlex.split(line, comments=True)
    if words[0] == "export":
      exported |= dict(word.split("=", 1) for word in words[1:])
    found.append((words, dict(exported)))
  return found


def test_the_commands_of_the_page_are_understood(cluster):
  ran = set()
  for words, exported in documented():
    if words[0] == "bash":
      script = words[1].removeprefix("launch/")
      assert cluster.output(script, "--dry-run", *words[2:], **exported)
      ran.add(script)
    elif words[:2] == ["python", "-m"]:
      module = {"prepare": prepare, "features": features}
      parser = module[words[2].rpartition(".")[2]]._parser()
      parser.parse_args(words[3:])
      ran.add(words[2])
  assert len(ran) == 6 and cluster.calls == []
