#!/usr/bin/env bash
# A Ray cluster on machines that ssh reaches: prepare, check, features, suite or
# ablate on all of them.
#
#   bash launch/ray_gpu.sh --hosts a,b,c [OPTIONS] COMMAND [ARGUMENTS...]
#
#   setup            the environment, with Ray, on the first host
#   start            Ray on all hosts; the first one is the head
#   status           what the cluster has, and what of it is in use
#   run ARGUMENTS... starts sigma_jax ARGUMENTS... --ray=auto on the first host,
#                    and returns; for example run prepare --manifest=...
#   logs             follows what it says
#   stop             ends Ray, and what runs on it, on all hosts
#
#   --hosts HOSTS    (RAY_HOSTS) comma-separated, as ssh and each other knows them
#   --dir FOLDER     the checkout, the same shared folder on all (this one)
#   --variant NAME   of launch/setup.sh: cuda or cpu (cuda)
#   --port PORT      of the head (6379)
#   --dry-run        prints the commands instead of running them
#
# Whoever reaches a Ray cluster's ports can run programs on it: keep them inside
# a network of your own. All files that ARGUMENTS name have to be on storage that
# all hosts share, or in a bucket. A host that fails costs the pieces that it was
# doing: others do them again. The same run command goes on where it was.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
# shellcheck source=launch/ray.sh
. "$ROOT/launch/ray.sh"
help_first "$@"

hosts="${RAY_HOSTS:-}" dir="$ROOT" variant=cuda port=6379
while [ $# -gt 0 ]; do
  case "$1" in
    --hosts | --dir | --variant | --port)
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
[[ "$hosts" =~ ^[A-Za-z0-9@._-]+(,[A-Za-z0-9@._-]+)*$ ]] ||
  die "$command needs --hosts or RAY_HOSTS, for example --hosts node1,node2"
need ssh "install OpenSSH"
IFS=, read -ra hosts <<<"$hosts"
head="${hosts[0]}"

# on HOST SCRIPT: in the checkout there.
on() { act ssh -o BatchMode=yes "$1" "cd $(quoted "$dir") && $2"; }

case "$command" in
  setup) on "$head" "$(ray_setup "$variant")" ;;
  start)
    on "$head" "$(ray_head "$port")"
    for host in "${hosts[@]:1}"; do
      on "$host" "$(ray_worker "${head#*@}:$port")"
    done
    ;;
  status) on "$head" "$RAY status" ;;
  run)
    ray_work "$@"
    on "$head" "$(ray_run "$@")"
    ;;
  logs) on "$head" "tail -n 100 -F ray.log" ;;
  stop)
    for host in "${hosts[@]}"; do
      on "$host" "$RAY stop"
    done
    ;;
esac
