"""launch/k8s.sh: the manifest it makes, with a stand-in for kubectl."""

import pathlib
import shlex

import pytest
import yaml

GPU_JOB = shlex.split("k8s.sh --name run1 --image r.io/s:1 --pods 4 --gpus 8")
TPU_JOB = shlex.split(
  "k8s.sh --name run1 --image i --pods 4 --tpu tpu-v5-lite-podslice"
  " --topology 4x4 --chips 4"
)


def manifest(cluster, *arguments):
  """(service, job, pod, container) that a dry run shows."""
  script, *options = arguments
  out = cluster.output(script, "--dry-run", *options)
  service, job = yaml.safe_load_all(out)
  pod = job["spec"]["template"]["spec"]
  (container,) = pod["containers"]
  return service, job, pod, container


def test_gpu_pods_find_each_other(cluster):
  service, job, pod, container = manifest(cluster, *GPU_JOB, "--", "--config=c")
  # <pod>.<subdomain> resolves where the subdomain is a headless service that
  # selects the job's pods.
  assert service["metadata"]["name"] == pod["subdomain"] == "run1"
  assert service["spec"]["clusterIP"] == "None"
  assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
  assert service["spec"]["publishNotReadyAddresses"] is True
  spec = job["spec"]
  assert spec["completionMode"] == "Indexed"
  assert spec["completions"] == spec["parallelism"] == 4
  who, _ = container["args"]
  assert who == "--distributed=run1-0.run1:8476,4,$(JOB_COMPLETION_INDEX)"
  assert container["ports"] == [{"containerPort": 8476}]
  assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}


def test_arguments_arrive_as_typed(cluster, awkward):
  *_, container = manifest(cluster, *GPU_JOB, "--", *awkward)
  _, *arguments = container["args"]
  # Kubernetes would fill in $(NAME), and reads $$ as $.
  assert [text.replace("$$", "$") for text in arguments] == awkward
  assert "--x=$$HOME" in arguments
  assert container["image"] == "r.io/s:1"


def test_names_that_yaml_takes_for_something_else(cluster):
  service, *_ = manifest(
    cluster, *GPU_JOB, "--name", "true", "--", "--config=c"
  )
  assert service["metadata"]["name"] == "true"


def test_claim_is_mounted(cluster):
  arguments = (*GPU_JOB, "--claim", "nfs", "--", "--config=c")
  *_, pod, container = manifest(cluster, *arguments)
  mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
  volumes = {volume["name"]: volume for volume in pod["volumes"]}
  assert mounts == {"memory": "/dev/shm", "shared": "/mnt"}
  claim = volumes["shared"]["persistentVolumeClaim"]["claimName"]
  assert (claim, set(volumes)) == ("nfs", set(mounts))


def test_tpu_slice(cluster):
  *_, pod, container = manifest(cluster, *TPU_JOB, "--", "--config=c")
  assert pod["nodeSelector"] == {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
    "cloud.google.com/gke-tpu-topology": "4x4",
  }
  assert container["resources"]["limits"] == {"google.com/tpu": 4}
  assert container["args"] == ["--distributed=auto", "--config=c"]


def test_preemption_is_no_failure(cluster):
  _, job, pod, container = manifest(cluster, *GPU_JOB, "--", "--config=c")
  rules = job["spec"]["podFailurePolicy"]["rules"]
  actions = [rule["action"] for rule in rules]
  assert actions == ["Ignore", "Ignore", "FailJob"]
  assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget"}]
  assert rules[1]["onExitCodes"]["values"] == [143]
  assert rules[2]["onExitCodes"]["values"] == [2]
  assert rules[1]["onExitCodes"]["containerName"] == container["name"]
  assert pod["restartPolicy"] == "Never"  # the policy needs it
  assert pod["terminationGracePeriodSeconds"] >= 60
  assert container["command"][0].endswith("python")  # gets SIGTERM itself


def test_kubectl_is_handed_what_the_dry_run_shows(cluster):
  script, *options = (*GPU_JOB, "--", "--config=c")
  shown = cluster.output(script, "--dry-run", *options)
  assert cluster.calls == []
  cluster.output(script, *options)
  assert cluster.calls == [["kubectl", "apply", "-f", "-"]]
  assert pathlib.Path(f"{cluster.log}.stdin").read_text() == shown


@pytest.mark.parametrize(
  "change, word",
  [
    (["--name", "Run_1"], "--name cannot be 'Run_1'"),
    (["--pods", "0"], "--pods cannot be '0'"),
    (["--gpus", ""], "neither GPUs nor TPUs"),
    (["--tpu", "tpu-v5-lite-podslice"], "both --gpus and --tpu"),
    (["--image", ""], "--image is missing"),
    (["--claim", "a b"], "--claim cannot be"),
    (["run"], "unknown option 'run'"),
  ],
)
def test_refusals(cluster, change, word):
  assert word in cluster.refusal(*GPU_JOB, *change, "--", "--config=c")
  assert cluster.calls == []


def test_refusals_of_slices_and_arguments(cluster):
  line = cluster.refusal(*TPU_JOB, "--pods", "3", "--", "--config=c")
  assert "3 pods of 4 chips are not a slice of 4x4" in line
  assert "after --" in cluster.refusal(*GPU_JOB)
  line = cluster.refusal(*GPU_JOB, "--", "--config=a\nb")
  assert "control character" in line
