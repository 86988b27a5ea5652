#!/usr/bin/env bash
# Makes the virtual environment .venv in the checkout, or reuses it.
#
#   bash launch/setup.sh [cpu|cuda|tpu] [--test]
#
# The first argument picks the jax build; without one, that of the environment
# already there is kept, or else cpu is taken. --test adds what the tests need.
# PYTHON=... picks the interpreter; without it, that of an environment that is
# up to date is kept, or else the first suitable one on PATH is taken.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
help_first "$@"
VENV="$ROOT/.venv"
STAMP="$VENV/setup.stamp"
REQUIREMENTS="$ROOT/requirements.txt"
TEST_REQUIREMENTS="$ROOT/requirements-test.txt"
CLUSTER_REQUIREMENTS="$ROOT/requirements-cluster.txt" # which are tested, too
# What the pins support; above it tensorflow has no wheels.
OLDEST=11
NEWEST=13
SUPPORTED="Python 3.$OLDEST to 3.$NEWEST"

say() { echo "setup: $*"; }
die() {
  echo "setup: error: $*" >&2
  exit 1
}

variant=""
with_test=""
for arg in "$@"; do
  case "$arg" in
    cpu | cuda | tpu)
      [ -z "$variant" ] || die "more than one variant: $variant and $arg"
      variant="$arg"
      ;;
    --test | test) with_test=1 ;;
    *) die "unknown argument '$arg'; usage: setup.sh [cpu|cuda|tpu] [--test]; --help says more" ;;
  esac
done

checksum() {
  if command -v sha256sum >/dev/null; then
    sha256sum <"$1" | cut -d' ' -f1
  else
    shasum -a 256 <"$1" | cut -d' ' -f1
  fi
}

# Prints "VERSION HAS_VENV BASE_EXECUTABLE". A name on PATH may be a shim that
# fails, so a candidate counts only if it runs. The base executable is used
# because the candidate may be the python of the very .venv to be replaced.
probe() {
  "$1" -c '
import sys
try:
  import ensurepip, venv
  has_venv = "yes"
except ImportError:
  has_venv = "no"
base = getattr(sys, "_base_executable", None) or sys.executable
print("%d.%d.%d %s %s" % (sys.version_info[:3] + (has_venv, base)))
' 2>/dev/null </dev/null
}

# age VERSION: prints "old", "new" or "fits".
age() {
  local major="${1%%.*}" rest="${1#*.}"
  local minor="${rest%%.*}"
  if [ "$major" -lt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -lt $OLDEST ]; }; then
    echo old
  elif [ "$major" -gt 3 ] || [ "$minor" -gt $NEWEST ]; then
    echo new
  else
    echo fits
  fi
}

# Sets python_version and python_exe, or ends with a line that says what to do.
find_python() {
  local candidates candidate found has_venv seen="" no_venv=""
  if [ -n "${PYTHON:-}" ]; then
    candidates=("$PYTHON")
  else
    candidates=(python3.12 python3.13 python3.11 python3 python)
  fi
  for candidate in "${candidates[@]}"; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    found="$(probe "$candidate")" || continue
    [ -n "$found" ] || continue
    read -r python_version has_venv python_exe <<<"$found"
    if [ "$(age "$python_version")" != fits ]; then
      seen="$seen $candidate=$python_version"
    elif [ "$has_venv" = no ]; then
      no_venv="$candidate"
    else
      return 0
    fi
  done
  if [ -n "$no_venv" ]; then
    die "$no_venv has no venv or pip: install them (Debian, Ubuntu: apt-get" \
      "install python3-venv) or set PYTHON to another $SUPPORTED"
  elif [ -n "${PYTHON:-}" ] && [ -z "$seen" ]; then
    die "PYTHON=$PYTHON does not run: set PYTHON to a working $SUPPORTED"
  elif [ -n "${PYTHON:-}" ]; then
    die "PYTHON=$PYTHON is Python $python_version, too" \
      "$(age "$python_version"): install $SUPPORTED and set PYTHON to it"
  else
    die "no $SUPPORTED found (on PATH:${seen:- no python that runs}):" \
      "install one, or set PYTHON to it"
  fi
}

stamped() { sed -n "s/^$1=//p" "$STAMP" 2>/dev/null || true; }

# What the stamp must say, but for the line on the test requirements.
base_stamp() {
  echo "path=$VENV"
  echo "python=$1"
  echo "variant=$variant"
  echo "requirements=$requirements_sum"
}

# The environment has the right base: nothing to rebuild.
base_fits() {
  local version
  [ -f "$STAMP" ] || return 1
  read -r version _ <<<"$(probe "$VENV/bin/python")" || return 1
  [ -n "$version" ] || return 1
  [ "$(grep -v '^test=' "$STAMP")" = "$(base_stamp "$version")" ] || return 1
  if [ -n "${PYTHON:-}" ]; then
    find_python
    [ "$python_version" = "$version" ] || return 1
  fi
}

# install PIP_ARGUMENTS...: progress in a few lines, all of it in the log.
install() {
  local log="$VENV/setup.log" try line count
  for try in 1 2; do
    count=0
    if "$VENV/bin/python" -m pip install --no-input --progress-bar off \
      --disable-pip-version-check "$@" 2>&1 </dev/null | tee -a "$log" |
      while IFS= read -r line; do
        case "$line" in
          Collecting* | Processing*)
            count=$((count + 1))
            [ $((count % 20)) -ne 0 ] || say "  $count packages found"
            ;;
          "Installing collected packages"*) say "  all found, unpacking" ;;
        esac
      done; then
      return 0
    fi
    [ "$try" -eq 2 ] || say "  pip failed, trying once more"
  done
  grep -v '^WARNING' "$log" | tail -n 15 >&2 || true
  die "pip could not install the requirements: the reason is above, all of" \
    "it in $log; check the network and run again"
}

[ -f "$REQUIREMENTS" ] || die "$REQUIREMENTS is missing: check out the repository whole"
start=$SECONDS

# One setup at a time for this checkout; others wait, then find it up to date.
# Only this shell may hold the lock: hence below.
if command -v flock >/dev/null; then
  exec 9>"$ROOT/.venv.lock"
  if ! flock -n 9; then
    say "waiting for another setup of this checkout"
    flock 9
  fi
fi

if [ -z "$variant" ]; then
  variant="$(stamped variant)"
  variant="${variant:-cpu}"
fi
requirements_sum="$(checksum "$REQUIREMENTS")"
[ "$variant" = cpu ] ||
  requirements_sum+=" $(checksum "$ROOT/requirements-$variant.txt")"
test_sum="$(checksum "$TEST_REQUIREMENTS") $(checksum "$CLUSTER_REQUIREMENTS")"

arguments=(-r "$REQUIREMENTS")
[ "$variant" = cpu ] || arguments+=(-r "$ROOT/requirements-$variant.txt")

if base_fits; then
  if [ -z "$with_test" ] || [ "$(stamped test)" = "$test_sum" ]; then
    say "$variant environment is up to date ($((SECONDS - start)) s)"
    exit 0
  fi
  say "adding the test requirements to $VENV"
  version="$(stamped python)"
  rm -f "$STAMP"
else
  find_python
  version="$python_version"
  [ -n "$(stamped test)" ] && with_test=1
  say "making $VENV for $variant with Python $version, a few minutes"
  rm -rf "$VENV"
  "$python_exe" -m venv "$VENV" ||
    die "$python_exe -m venv failed: install venv and pip for it (Debian," \
      "Ubuntu: apt-get install python3-venv) or set PYTHON to another"
fi

[ -z "$with_test" ] ||
  arguments+=(-r "$TEST_REQUIREMENTS" -r "$CLUSTER_REQUIREMENTS")
install "${arguments[@]}"

# Written last and at once: an environment without it is taken for broken.
{
  base_stamp "$version"
  [ -z "$with_test" ] || echo "test=$test_sum"
} >"$STAMP.new"
mv "$STAMP.new" "$STAMP"
say "$variant environment is ready in $((SECONDS - start)) s"
