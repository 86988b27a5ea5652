#!/usr/bin/env bash
# Work in parts as a SLURM array: a job a part, in any order, at any time.
#
#   bash launch/slurm_array.sh --parts 64 [OPTIONS] -- COMMAND [ARGUMENTS...]
#
#   COMMAND      prepare, check, features, suite or ablate
#
#   --parts N    jobs of the array; job I does --only=I/N
#   --at-once N  of them may run at a time (all)
#   --cpus N     cores a job (8)
#   --gpus N     GPUs a job (0)
#   --time TIME  limit of a job (4:00:00)
#   --name NAME  of the jobs, and of their logs (sigma_jax)
#   --dry-run    prints the commands instead of submitting them
#
# Run it in the checkout, which all nodes see, as they do all files that the
# arguments name. SBATCH_PARTITION, SBATCH_ACCOUNT and sbatch's other variables
# hold. Behind the array a job with --merge puts all together, or says which
# parts are missing: the same command again does those alone.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
help_first "$@"

parts="" at_once="" cpus=8 gpus=0 time=4:00:00 name=sigma_jax
while [ $# -gt 0 ]; do
  case "$1" in
    --parts | --at-once | --cpus | --gpus | --time | --name)
      value "$1" $#
      option="${1#--}"
      printf -v "${option//-/_}" '%s' "$2"
      shift
      ;;
    --dry-run) dry_run=1 ;;
    --)
      shift
      break
      ;;
    *) die "unknown option '$1': --help lists the options, and the command" \
      "comes after --" ;;
  esac
  shift
done

[[ "$parts" =~ ^[1-9][0-9]{0,4}$ ]] ||
  die "--parts cannot be '$parts': set it to the number of jobs, as in" \
    "--parts 64"
command="${1:-}"
case "$command" in
  prepare | check | features | suite | ablate) shift ;;
  "") die "no command: give it after --, for example -- prepare" \
    "--manifest=train.csv --out=/shared/records" ;;
  *) die "'$command' is not done in parts: prepare, check, features, suite" \
    "and ablate are" ;;
esac
need sbatch "run this where SLURM is"
[ -n "$dry_run" ] || [ -x "$ROOT/.venv/bin/python" ] ||
  die "no environment in $ROOT: run bash launch/setup.sh there first"

# in_parts HOW: what a job runs. sbatch's own shell fills in the number.
in_parts() {
  echo "exec $(quoted .venv/bin/python -m sigma_jax "$command" "${@:2}") $1"
}

job=(sbatch --parsable --chdir="$ROOT" --cpus-per-task="$cpus" --time="$time")
[ "$gpus" = 0 ] || job+=(--gpus="$gpus")
# shellcheck disable=SC2016
array=("${job[@]}" --job-name="$name" --output="$name-%A_%a.log"
  --array="0-$((parts - 1))${at_once:+%$at_once}"
  --wrap="$(in_parts '--only=$SLURM_ARRAY_TASK_ID/'"$parts" "$@")")
if [ -n "$dry_run" ]; then
  act "${array[@]}"
  number=ARRAY
else
  number="$("${array[@]}")"
  number="${number%%;*}" # a cluster's name may follow
  echo "array $number: $parts jobs"
fi
act "${job[@]}" --job-name="$name-merge" --output="$name-%j.log" \
  --dependency="afterany:$number" --wrap="$(in_parts --merge "$@")"
