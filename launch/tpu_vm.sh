#!/usr/bin/env bash
# A Cloud TPU slice: made, filled, run, watched and deleted from here.
#
#   bash launch/tpu_vm.sh [OPTIONS] COMMAND [ARGUMENTS...]
#
#   create           makes the slice now, or fails where none is free
#   queue            asks for it and returns; it comes when there is room
#   wait             until a slice that was queued is there
#   status           what became of the request, and of the slice
#   copy             what is committed here, to all hosts
#   setup            Python where it is missing, launch/setup.sh tpu; all hosts
#   run ARGUMENTS... starts python -m sigma_jax.main on all hosts, and returns
#   logs             follows the log of one host
#   stop             SIGTERM on all hosts: the run saves its state and ends
#   each COMMAND     runs a shell command on all hosts
#   delete           the slice, and the request for it
#
#   --name NAME       (TPU_NAME) of the slice and of its request
#   --project PROJECT (TPU_PROJECT)
#   --zone ZONE       (TPU_ZONE)
#   --type TYPE       (TPU_TYPE) for example v5litepod-256
#   --version VERSION (TPU_VERSION) of the hosts' system; known from the type
#   --disk DISK       (TPU_DISK) of this zone, attached to all hosts, read-only
#   --spot            cheaper, and may be taken away at any moment
#   --worker N        the host that logs follows (0)
#   --every SECONDS   how often wait asks (30)
#   --dry-run         prints the commands instead of running them
#
# A slice that was taken away (status: SUSPENDED or PREEMPTED) does not come
# back by itself. delete, queue, wait, copy, setup, and the same run command:
# the run resumes, given that --workdir is on storage that outlives the slice.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
help_first "$@"

name="${TPU_NAME:-}"
project="${TPU_PROJECT:-}"
zone="${TPU_ZONE:-}"
type="${TPU_TYPE:-}"
version="${TPU_VERSION:-}"
disk="${TPU_DISK:-}"
spot=""
worker=0
every=30

while [ $# -gt 0 ]; do
  case "$1" in
    --name | --project | --zone | --type | --version | --disk | --worker | --every)
      value "$1" $#
      printf -v "${1#--}" '%s' "$2"
      shift
      ;;
    --spot) spot=1 ;;
    --dry-run) dry_run=1 ;;
    -*) die "unknown option '$1': --help lists the options" ;;
    *) break ;;
  esac
  shift
done
command="${1:-}"
[ $# -eq 0 ] || shift

# cloud GROUP VERB ARGUMENTS...: gcloud on this project and zone.
cloud() {
  act gcloud compute tpus "$@" --project="$project" --zone="$zone"
}

# on WORKERS SCRIPT: runs a script on hosts, by their login shell.
on() { cloud tpu-vm ssh "$name" --worker="$1" --command="$2"; }

# What the type's hosts run (https://cloud.google.com/tpu/docs/runtimes).
system_of() {
  case "$1" in
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v2-* | v3-* | v4-*) echo tpu-ubuntu2204-base ;;
    *) die "no system version is known for --type '$1': set --version too" ;;
  esac
}

# ask ARGUMENTS...: creates what the arguments name.
ask() {
  set -- "$@" --accelerator-type="$type"
  [ -z "$disk" ] || set -- "$@" \
    --data-disk="source=projects/$project/zones/$zone/disks/$disk,mode=read-only"
  cloud "$@" ${spot:+--spot}
}

make_slice() {
  need_type
  ask tpu-vm create "$name" --version="$version"
}

queue_slice() {
  need_type
  ask queued-resources create "$name" --node-id="$name" \
    --runtime-version="$version"
}

need_type() {
  [ -n "$type" ] ||
    die "$command needs --type or TPU_TYPE, for example v5litepod-256"
  [ -n "$version" ] || version="$(system_of "$type")"
}

request_state() {
  cloud queued-resources describe "$name" --format='value(state.state)'
}

wait_for_slice() {
  local state
  while :; do
    state="$(request_state)" || die "no request named $name: queue it first"
    [ -z "$dry_run" ] || break
    [ "$state" != ACTIVE ] || return 0
    case "$state" in
      FAILED | SUSPEND*)
        die "the request for $name is $state: delete it and queue it again"
        ;;
    esac
    echo "$name is $state"
    sleep "$every"
  done
  echo "$state"
}

show_status() {
  if [ -n "$dry_run" ]; then
    request_state
  else
    echo "request: $(request_state 2>/dev/null || echo none)"
    echo -n "slice: "
  fi
  cloud tpu-vm describe "$name" --format='value(state,health)'
}

copy_checkout() {
  local packed="${TMPDIR:-/tmp}/sigma_jax-$$.tar.gz"
  git -C "$ROOT" rev-parse --quiet --verify HEAD >/dev/null 2>&1 ||
    die "$ROOT is not a git checkout with a commit: copy sends what is committed"
  git -C "$ROOT" diff --quiet HEAD ||
    echo "${0##*/}: note: changes that are not committed are not sent" >&2
  # shellcheck disable=SC2064 # the file's name is known now
  trap "rm -f '$packed'" EXIT
  act git -C "$ROOT" archive --format=tar.gz --output="$packed" HEAD
  cloud tpu-vm scp "$packed" "$name:sigma_jax.tar.gz" --worker=all
  on all "mkdir -p ~/sigma_jax && tar -xzf ~/sigma_jax.tar.gz -C ~/sigma_jax"
}

# Ubuntu 22.04 has Python 3.10; the pins start at 3.11.
SETUP='set -e
cd ~/sigma_jax
if ! command -v python3.11 python3.12 python3.13 >/dev/null; then
  sudo add-apt-repository --yes ppa:deadsnakes/ppa
  sudo apt-get -o DPkg::Lock::Timeout=600 install --yes \
    python3.12 python3.12-venv
fi
bash launch/setup.sh tpu'

start_run() {
  [ $# -gt 0 ] ||
    die "run needs sigma_jax.main's arguments, for example" \
      "run --config=configs/k400_vitb.py --workdir=..."
  on all "set -e
cd ~/sigma_jax
if [ -s run.pid ] && kill -0 \"\$(cat run.pid)\" 2>/dev/null; then
  echo \"\$(hostname): a run is going on: stop it first\" >&2
  exit 1
fi
nohup .venv/bin/python -m sigma_jax.main --distributed=auto $(quoted "$@") \\
  >>run.log 2>&1 </dev/null &
echo \$! >run.pid"
}

delete_slice() {
  if [ -n "$dry_run" ]; then
    echo "# if it was queued, or else the second:"
  elif ! request_state >/dev/null 2>&1; then
    cloud tpu-vm delete "$name"
    return
  fi
  cloud queued-resources delete "$name" --force
  [ -z "$dry_run" ] || cloud tpu-vm delete "$name"
}

case "$command" in
  create | queue | wait | status | copy | setup | run | logs | stop | each | delete) ;;
  "") die "no command: create, queue, wait, status, copy, setup, run, logs," \
    "stop, each or delete" ;;
  *) die "unknown command '$command': create, queue, wait, status, copy," \
    "setup, run, logs, stop, each or delete" ;;
esac
[ -n "$name" ] || die "$command needs --name or TPU_NAME"
[ -n "$project" ] || die "$command needs --project or TPU_PROJECT"
[ -n "$zone" ] || die "$command needs --zone or TPU_ZONE"
need gcloud "install the Google Cloud CLI and run gcloud auth login"

case "$command" in
  create) make_slice ;;
  queue) queue_slice ;;
  wait) wait_for_slice ;;
  status) show_status ;;
  copy) copy_checkout ;;
  setup) on all "$SETUP" ;;
  run) start_run "$@" ;;
  logs) on "$worker" 'tail -n 100 -F ~/sigma_jax/run.log' ;;
  stop) on all "kill -TERM \"\$(cat ~/sigma_jax/run.pid)\"" ;;
  each)
    [ $# -eq 1 ] || die "each needs one argument, a quoted shell command"
    on all "$1"
    ;;
  delete) delete_slice ;;
esac
