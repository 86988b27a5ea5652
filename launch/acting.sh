#!/usr/bin/env bash
# Sourced by the scripts beside it: help, errors of one line, and commands that
# --dry-run prints instead of running them.

dry_run=""

# help_first ARGUMENTS...: where the first is -h or --help, prints the comment at
# the script's head, and ends it.
help_first() {
  local line
  case "${1:-}" in
    -h | --help) ;;
    *) return 0 ;;
  esac
  while IFS= read -r line; do
    case "$line" in
      '#!'* | '#SBATCH'*) ;;
      '#'*)
        line="${line#\#}"
        printf '%s\n' "${line# }"
        ;;
      *) break ;;
    esac
  done <"$0"
  exit 0
}

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
