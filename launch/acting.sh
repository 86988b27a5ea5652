#!/usr/bin/env bash
# Sourced by the launchers: errors of one line, and commands that --dry-run
# prints instead of running them.

dry_run=""

# die WORDS...: the line on stderr, exit code 2.
die() {
  local script="${0##*/}"
  echo "${script%.*}: error: $*" >&2
  exit 2
}

# Arguments as a shell would take them back.
quoted() {
  local line
  printf -v line '%q ' "$@"
  printf '%s\n' "${line% }"
}

# act COMMAND...: runs it, or says what would be run.
act() {
  if [ -n "$dry_run" ]; then
    quoted "$@"
  else
    "$@"
  fi
}

# value OPTION LEFT: dies where the command line ends after an option.
value() { [ "$2" -gt 1 ] || die "$1 needs a value"; }

# need PROGRAM WORDS...: dies with the words where a program is not there.
need() {
  local program="$1"
  shift
  [ -n "$dry_run" ] || command -v "$program" >/dev/null ||
    die "$program is not on PATH: $*"
}
