#!/usr/bin/env bash
# Builds the site of docs/ into docs/_build; warnings are errors.
#
#   bash launch/docs.sh [ARGUMENTS OF sphinx-build...]
#
# Open docs/_build/index.html in a browser. VARIANT and PYTHON in the environment
# are for launch/setup.sh.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
help_first "$@"
cd "$ROOT"

bash launch/setup.sh ${VARIANT:+"$VARIANT"}
# What is there already costs a second and needs no network.
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
  -r requirements-docs.txt
.venv/bin/python -m sphinx -W -n --keep-going "$@" docs docs/_build
echo "docs: $ROOT/docs/_build/index.html"
