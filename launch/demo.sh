#!/usr/bin/env bash
# The whole job, small: makes data, pre-trains, trains a probe, writes a report.
#
#   bash launch/demo.sh [ARGUMENTS OF THE PRE-TRAINING COMMAND...]
#
# DATA (data/toy), WORKDIR (runs/toy), VARIANT (cpu, cuda or tpu) and PYTHON
# can be set in the environment; the last two are for launch/setup.sh. Where the
# package is installed, `sigma-jax demo` does the same.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
help_first "$@"

# Paths from the caller are relative to where the caller is.
absolute() {
  case "$1" in
    /* | *://*) echo "$1" ;;
    *) echo "$PWD/$1" ;;
  esac
}
DATA="$(absolute "${DATA:-$ROOT/data/toy}")"
WORKDIR="$(absolute "${WORKDIR:-$ROOT/runs/toy}")"

echo "== setup"
bash "$ROOT/launch/setup.sh" ${VARIANT:+"$VARIANT"}
echo "== setup: $SECONDS s"
cd "$ROOT"
exec .venv/bin/python -m sigma_jax demo --data "$DATA" --workdir "$WORKDIR" "$@"
