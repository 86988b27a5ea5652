#!/usr/bin/env bash
# Sourced by the scripts that start Ray clusters: what the machines of one are
# told, each in the folder of its checkout.
# shellcheck disable=SC2034 # used there

# Ray would report to its makers that it was used.
RAY="env RAY_USAGE_STATS_ENABLED=0 .venv/bin/ray"

# ray_command NAME: dies where it is no command of these scripts.
ray_command() {
  case "$1" in
    setup | start | status | run | logs | stop) ;;
    "") die "no command: setup, start, status, run, logs or stop" ;;
    *) die "unknown command '$1': setup, start, status, run, logs or stop" ;;
  esac
}

ray_setup() {
  echo "bash launch/setup.sh $1 &&" \
    ".venv/bin/python -m pip install -r requirements-cluster.txt"
}

ray_head() { echo "$RAY start --head --port=$1 --include-dashboard=false"; }

ray_worker() { echo "$RAY start --address=$1"; }

# ray_work ARGUMENTS...: dies where they are no command that runs on Ray.
ray_work() {
  case "${1:-}" in
    prepare | check | features | suite | ablate) ;;
    "") die "no command of sigma_jax, such as prepare" \
      "--manifest=/shared/train.csv --out=/shared/records" ;;
    *) die "'$1' does not run on Ray: prepare, check, features, suite and" \
      "ablate do" ;;
  esac
}

# ray_run ARGUMENTS...: starts the command and returns. The process that hands
# out the pieces needs no GPU or TPU, and would keep it from them.
ray_run() {
  echo "{ JAX_PLATFORMS=cpu nohup .venv/bin/python -m sigma_jax $(quoted "$@")" \
    "--ray=auto >>ray.log 2>&1 </dev/null & }"
}
