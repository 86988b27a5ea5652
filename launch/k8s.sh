#!/usr/bin/env bash
# Fills in launch/k8s.yaml and starts it: a run of many pods on Kubernetes.
#
#   bash launch/k8s.sh --name run1 --image IMAGE --pods 4 --gpus 8 \
#       --claim shared -- --config=configs/k400_vitb.py --workdir=/mnt/run1
#   bash launch/k8s.sh --name run1 --image IMAGE --pods 4 --chips 4 \
#       --tpu tpu-v5-lite-podslice --topology 4x4 -- ARGUMENTS...
#
#   --name NAME      of the job and its service: letters, digits and dashes
#   --image IMAGE    made by launch/Dockerfile
#   --pods N         nodes, one pod each
#   --gpus N         GPUs a node
#   --chips N        TPU chips a node, with
#   --tpu KIND         GKE's name of the accelerator and
#   --topology T       of the slice; pods x chips is its product
#   --claim CLAIM    persistent volume claim, mounted at /mnt in every pod
#   --dry-run        prints the manifest instead of starting it
#   --               what follows are sigma_jax.main's arguments
#
# Watch:  kubectl logs -f job/run1
# Stop:   kubectl delete job/run1 service/run1    (the state is saved)
# Resume: the same command again.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
help_first "$@"

PORT=8476 # pod 0 listens here; any free one would do

name="" image="" pods="" gpus="" chips="" tpu="" topology="" claim=""
while [ $# -gt 0 ]; do
  case "$1" in
    --name | --image | --pods | --gpus | --chips | --tpu | --topology | --claim)
      value "$1" $#
      printf -v "${1#--}" '%s' "$2"
      shift
      ;;
    --dry-run) dry_run=1 ;;
    --)
      shift
      break
      ;;
    *) die "unknown option '$1': --help lists the options, and sigma_jax.main's" \
      "arguments come after --" ;;
  esac
  shift
done

# needs OPTION VALUE PATTERN EXAMPLE: dies where the value is not of the pattern.
needs() {
  [ -n "$2" ] || die "--$1 is missing: set it, as in --$1 $4"
  [[ "$2" =~ ^($3)$ ]] || die "--$1 cannot be '$2': set it as in --$1 $4"
}
needs name "$name" '[a-z]([-a-z0-9]{0,50}[a-z0-9])?' run1
needs image "$image" '[^[:space:]]+' registry.example.com/sigma_jax:1
needs pods "$pods" '[1-9][0-9]{0,4}' 4
[ -z "$claim" ] || needs claim "$claim" '[a-z0-9][-.a-z0-9]*' shared
[ $# -gt 0 ] ||
  die "no arguments for sigma_jax.main: give them after --, for example" \
    "-- --config=configs/k400_vitb.py --workdir=/mnt/run1"
for each in "$@"; do
  [[ "$each" != *[[:cntrl:]]* ]] ||
    die "$(quoted "$each") has a control character: leave it out"
done
case "${gpus:+gpu}${tpu:+tpu}" in
  gpu) needs gpus "$gpus" '[1-9][0-9]?' 8 ;;
  tpu)
    needs tpu "$tpu" '[a-z0-9-]+' tpu-v5-lite-podslice
    needs topology "$topology" '[0-9]+(x[0-9]+)+' 4x4
    needs chips "$chips" '[1-9][0-9]?' 4
    [ $((${topology//x/*})) -eq $((pods * chips)) ] ||
      die "$pods pods of $chips chips are not a slice of $topology: change" \
        "--pods or --topology"
    ;;
  gputpu) die "both --gpus and --tpu: choose one" ;;
  *) die "neither GPUs nor TPUs: set --gpus, or --tpu, --topology and --chips" ;;
esac
need kubectl "install it and give it access to the cluster"

# A JSON string, which YAML takes too.
json() {
  local text="${1//\\/\\\\}"
  printf '"%s"' "${text//\"/\\\"}"
}

# As a YAML list. $$ is a plain $ to Kubernetes.
list_arguments() {
  local each line=""
  line="$(json "$1")" # ours: its variable is for Kubernetes to fill in
  shift
  for each in "$@"; do
    line="$line, $(json "${each//\$/\$\$}")"
  done
  echo "[$line]"
}

if [ -n "$gpus" ]; then
  # shellcheck disable=SC2016
  who="$name-0.$name:$PORT,$pods,"'$(JOB_COMPLETION_INDEX)'
  selector="{}"
  limits="{nvidia.com/gpu: $gpus}"
  ports="[{containerPort: $PORT}]"
else
  who=auto
  selector="{cloud.google.com/gke-tpu-accelerator: $tpu"
  selector="$selector, cloud.google.com/gke-tpu-topology: \"$topology\"}"
  limits="{google.com/tpu: $chips}"
  ports="[{containerPort: 8471}, {containerPort: 8482}]" # libtpu's, JAX's
fi
# NCCL passes data between GPUs in /dev/shm, of which a pod has 64 MB.
mounts="{name: memory, mountPath: /dev/shm}"
volumes="{name: memory, emptyDir: {medium: Memory}}"
if [ -n "$claim" ]; then
  mounts="$mounts, {name: shared, mountPath: /mnt}"
  volumes="$volumes, {name: shared, persistentVolumeClaim: {claimName: $(json "$claim")}}"
fi
arguments="$(list_arguments "--distributed=$who" "$@")"

fields=(NAME PODS FAILURES NODES IMAGE ARGUMENTS CHIPS PORTS MOUNTS VOLUMES)
values=("$(json "$name")" "$pods" $((10 * pods)) "$selector" "$(json "$image")"
  "$arguments" "$limits" "$ports" "[$mounts]" "[$volumes]")

# The template with its fields filled in; what is filled in is not looked at
# again.
manifest() {
  local line i
  while IFS= read -r line; do
    for i in "${!fields[@]}"; do
      case "$line" in
        *"@${fields[i]}@"*)
          line="${line%%"@${fields[i]}@"*}${values[i]}${line#*"@${fields[i]}@"}"
          break
          ;;
      esac
    done
    printf '%s\n' "$line"
  done <"$ROOT/launch/k8s.yaml"
}

if [ -n "$dry_run" ]; then
  manifest
else
  manifest | kubectl apply -f -
fi
