#!/usr/bin/env bash
# A Ray cluster on the hosts of a Cloud TPU slice that launch/tpu_vm.sh has made
# and filled (create, copy): prepare, check, features, suite or ablate on all of
# them.
#
#   bash launch/ray_tpu.sh [OPTIONS] COMMAND [ARGUMENTS...]
#
#   setup            the environment, with Ray, on all hosts
#   start            Ray on all hosts; host 0 is the head
#   status           what the cluster has, and what of it is in use
#   run ARGUMENTS... starts sigma_jax ARGUMENTS... --ray=auto on host 0, and
#                    returns; features needs --ray-tpus=1: a chip a piece
#   logs             follows what it says
#   stop             ends Ray, and what runs on it, on all hosts
#
#   --name NAME       (TPU_NAME) of the slice
#   --project PROJECT (TPU_PROJECT)
#   --zone ZONE       (TPU_ZONE)
#   --port PORT       of the head (6379)
#   --dry-run         prints the commands instead of running them
#
# All files that ARGUMENTS name have to be in a bucket, or on storage that is
# mounted on all hosts (Filestore, Cloud Storage FUSE): features, check, suite and
# ablate write to mounted storage alone. A host that is lost costs the pieces that
# it was doing. The same run command goes on where it was.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
# shellcheck source=launch/ray.sh
. "$ROOT/launch/ray.sh"
help_first "$@"

name="${TPU_NAME:-}" project="${TPU_PROJECT:-}" zone="${TPU_ZONE:-}" port=6379
while [ $# -gt 0 ]; do
  case "$1" in
    --name | --project | --zone | --port)
      value "$1" $#
      printf -v "${1#--}" '%s' "$2"
      shift
      ;;
    --dry-run) dry_run=1 ;;
    -*) die "unknown option '$1': --help lists the options" ;;
    *) break ;;
  esac
  shift
done
command="${1:-}"
[ $# -eq 0 ] || shift
ray_command "$command"
[ -n "$name" ] || die "$command needs --name or TPU_NAME"
[ -n "$project" ] || die "$command needs --project or TPU_PROJECT"
[ -n "$zone" ] || die "$command needs --zone or TPU_ZONE"
need gcloud "install the Google Cloud CLI and run gcloud auth login"

cloud() {
  act gcloud compute tpus tpu-vm "$@" --project="$project" --zone="$zone"
}

# on WORKERS SCRIPT: in the checkout of hosts.
on() { cloud ssh "$name" --worker="$1" --command="cd ~/sigma_jax && $2"; }

start_ray() {
  local address
  on 0 "$(ray_head "$port")"
  address="$(cloud describe "$name" \
    --format='value(networkEndpoints[0].ipAddress)')"
  if [ -n "$dry_run" ]; then
    echo "$address"
    address=HEAD
  fi
  [ -n "$address" ] || die "no address of host 0 of $name: is it READY?"
  # On host 0 it is there already.
  on all "{ hostname -I | grep -qw $address || $(ray_worker "$address:$port"); }"
}

case "$command" in
  setup) on all "$(ray_setup tpu)" ;;
  start) start_ray ;;
  status) on 0 "$RAY status" ;;
  run)
    ray_work "$@"
    on 0 "$(ray_run "$@")"
    ;;
  logs) on 0 "tail -n 100 -F ray.log" ;;
  stop) on all "$RAY stop" ;;
esac
