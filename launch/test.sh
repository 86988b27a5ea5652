#!/usr/bin/env bash
# Checks style and runs the tests.
#
#   bash launch/test.sh                the fast ones: a few minutes on 2 cores
#   bash launch/test.sh --all          all of them
#   bash launch/test.sh [PYTEST ARGUMENTS...]    those that pytest is asked for
#
# tests/slow.txt lists what is left out of the fast ones: several hosts, kills,
# notebooks, launch scripts, benchmarks, full grids of options. --all also runs
# the numerical tests a second time as users' programs are compiled, with all of
# XLA's optimisations.
#
# VARIANT and PYTHON in the environment are for launch/setup.sh.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
help_first "$@"
cd "$ROOT"

# The second time: what computes, and is small enough.
numerical=(tests/losses tests/models tests/test_masking.py tests/test_nearest.py)
again=""
case "${1:-}" in
  "") set -- --fast ;;
  --all)
    shift
    again=1
    ;;
esac

bash launch/setup.sh ${VARIANT:+"$VARIANT"} --test
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
echo "setup and style: $SECONDS s"
# A worker a core; a file's tests share what they compile, so they stay together.
# The longest files come first (tests/conftest.py), or a core would wait for one.
run() {
  .venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder "$@"
}
run "$@"
[ -z "$again" ] || SIGMA_JAX_TEST_OPTIMISED=1 run "$@" "${numerical[@]}"
