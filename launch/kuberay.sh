#!/usr/bin/env bash
# prepare, check, features, suite or ablate on a Ray cluster in Kubernetes, which
# the KubeRay operator makes for this one job and removes behind it.
#
#   bash launch/kuberay.sh --name job1 --image IMAGE --pods 8 --cpus 16 \
#       --memory 64 --claim shared -- prepare --manifest=/mnt/train.csv \
#       --out=/mnt/records
#
#   --name NAME    of the RayJob: letters, digits and dashes
#   --image IMAGE  made by launch/Dockerfile with --build-arg CLUSTER=1
#   --pods N       that work, beside the one that hands out the pieces
#   --cpus N       cores a pod (8)
#   --memory N     GB a pod (32)
#   --gpus N       GPUs a pod (0)
#   --claim CLAIM  persistent volume claim, mounted at /mnt in every pod; all
#                  pods write to it: ReadWriteMany
#   --dry-run      prints the manifest instead of starting it
#   --             what follows is the command with its arguments
#
# Watch:  kubectl logs -f job/job1
# Stop:   kubectl delete rayjob/job1
# Resume: the same command again.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
# shellcheck source=launch/ray.sh
. "$ROOT/launch/ray.sh"
help_first "$@"

name="" image="" pods="" cpus=8 memory=32 gpus=0 claim=""
while [ $# -gt 0 ]; do
  case "$1" in
    --name | --image | --pods | --cpus | --memory | --gpus | --claim)
      value "$1" $#
      printf -v "${1#--}" '%s' "$2"
      shift
      ;;
    --dry-run) dry_run=1 ;;
    --)
      shift
      break
      ;;
    *) die "unknown option '$1': --help lists the options, and the command" \
      "comes after --" ;;
  esac
  shift
done

# needs OPTION PATTERN EXAMPLE: dies where the value is not of the pattern.
needs() {
  [ -n "${!1}" ] || die "--$1 is missing: set it, as in --$1 $3"
  [[ "${!1}" =~ ^($2)$ ]] || die "--$1 cannot be '${!1}': set it as in --$1 $3"
}
needs name '[a-z]([-a-z0-9]{0,38}[a-z0-9])?' job1
needs image '[^[:space:]"]+' registry.example.com/sigma_jax:ray
needs pods '[1-9][0-9]{0,3}' 8
needs cpus '[1-9][0-9]{0,2}' 16
needs memory '[1-9][0-9]{0,3}' 64
needs gpus '[0-9]{1,2}' 1
needs claim '[a-z0-9][-.a-z0-9]*' shared
ray_work "$@"
need kubectl "install it and give it access to the cluster"

line="cd /sigma_jax && JAX_PLATFORMS=cpu .venv/bin/python -m sigma_jax"
line="$line $(quoted "$@") --ray=auto"
line="${line//\\/\\\\}"
line="${line//\"/\\\"}"

manifest() {
  cat <<END
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: "$name"
spec:
  entrypoint: "$line"
  # The cluster goes when the job has ended, whichever way.
  shutdownAfterJobFinishes: true
  ttlSecondsAfterFinished: 600
  rayClusterSpec:
    headGroupSpec:
      # It hands out the pieces and does none: it must not run out of memory.
      rayStartParams: {num-cpus: "0"}
      template:
        spec:
          containers:
            - name: ray-head
              image: "$image"
              workingDir: /sigma_jax
              env: [{name: RAY_USAGE_STATS_ENABLED, value: "0"}]
              resources:
                limits: {cpu: "2", memory: 8Gi}
                requests: {cpu: "2", memory: 8Gi}
              volumeMounts: [{name: shared, mountPath: /mnt}]
          volumes: [{name: shared, persistentVolumeClaim: {claimName: "$claim"}}]
    workerGroupSpecs:
      - groupName: workers
        replicas: $pods
        minReplicas: $pods
        maxReplicas: $pods
        rayStartParams: {}
        template:
          spec:
            containers:
              - name: ray-worker
                image: "$image"
                workingDir: /sigma_jax
                env: [{name: RAY_USAGE_STATS_ENABLED, value: "0"}]
                resources:
                  limits: {cpu: "$cpus", memory: ${memory}G$devices}
                  requests: {cpu: "$cpus", memory: ${memory}G$devices}
                volumeMounts: [{name: shared, mountPath: /mnt}]
            volumes: [{name: shared, persistentVolumeClaim: {claimName: "$claim"}}]
END
}

devices=""
[ "$gpus" = 0 ] || devices=", nvidia.com/gpu: $gpus"
if [ -n "$dry_run" ]; then
  manifest
else
  manifest | kubectl apply -f -
fi
