#!/usr/bin/env bash
# The whole job, small: makes data, pre-trains, trains a probe, writes a report.
#
#   bash launch/demo.sh [ARGUMENTS OF THE PRE-TRAINING COMMAND...]
#
# DATA (data/toy), WORKDIR (runs/toy), VARIANT (cpu, cuda or tpu) and PYTHON
# can be set in the environment; the last two are for launch/setup.sh.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"

# Paths from the caller are relative to where the caller is.
absolute() {
  case "$1" in
    /* | *://*) echo "$1" ;;
    *) echo "$PWD/$1" ;;
  esac
}
DATA="$(absolute "${DATA:-$ROOT/data/toy}")"
WORKDIR="$(absolute "${WORKDIR:-$ROOT/runs/toy}")"
config_data=(
  "--config.data.train=$DATA/train.csv"
  "--config.data.val=$DATA/val.csv"
  "--config.data.label_sets=$DATA/label_sets.json"
)
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"

# stage NAME COMMAND...: runs it and prints how long it took.
stage() {
  local name="$1" start=$SECONDS
  shift
  echo "== $name"
  "$@" || {
    local code=$?
    echo "== $name failed (exit $code, $((SECONDS - start)) s): $*" >&2
    exit "$code"
  }
  echo "== $name: $((SECONDS - start)) s"
}

PYTHON_VENV="$ROOT/.venv/bin/python"
stage setup bash "$ROOT/launch/setup.sh" ${VARIANT:+"$VARIANT"}
cd "$ROOT"
stage data "$PYTHON_VENV" -m sigma_jax.data.toy --out "$DATA"
stage pretrain "$PYTHON_VENV" -m sigma_jax.main --config=configs/toy.py \
  --workdir="$WORKDIR" "${config_data[@]}" "$@"
stage probe "$PYTHON_VENV" -m sigma_jax.main --config=configs/eval/knn_toy.py \
  --workdir="$WORKDIR/probe" --config.init="$WORKDIR" \
  "${config_data[@]}"
stage report "$PYTHON_VENV" -m sigma_jax.report "$WORKDIR"
echo "total: $SECONDS s"
echo "report: $WORKDIR/report.html"
