#!/usr/bin/env bash
# Checks style and runs the tests; arguments go to pytest.
#
#   bash launch/test.sh [PYTEST ARGUMENTS...]
#
# VARIANT and PYTHON in the environment are for launch/setup.sh.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
help_first "$@"
cd "$ROOT"

bash launch/setup.sh ${VARIANT:+"$VARIANT"} --test
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
echo "setup and style: $SECONDS s"
# A worker a core; a file's tests share what they compile, so they stay together.
# The longest files come first (tests/conftest.py), or a core would wait for one.
exec .venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder "$@"
