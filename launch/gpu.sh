#!/usr/bin/env bash
# A run on the GPUs of this machine: checks the driver, makes the environment,
# checks that JAX sees the GPUs, starts.
#
#   bash launch/gpu.sh [--dry-run] ARGUMENTS OF sigma_jax.main...
#
# One process drives all GPUs; CUDA_VISIBLE_DEVICES=0,1 in the environment picks
# some. Ctrl-C or SIGTERM reaches the run itself; the same command resumes it.
# Several machines: launch/slurm.sbatch, launch/k8s.sh.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
# shellcheck source=launch/acting.sh
. "$ROOT/launch/acting.sh"
help_first "$@"

OLDEST_DRIVER=580 # of CUDA 13, which setup.sh cuda installs

if [ "${1:-}" = --dry-run ]; then
  dry_run=1
  shift
fi
[ $# -gt 0 ] ||
  die "no arguments: give sigma_jax.main's, for example" \
    "--config=configs/k400_vitb.py --workdir=runs/k400"
need nvidia-smi "install the NVIDIA driver ($OLDEST_DRIVER or newer), or use" \
  "launch/setup.sh cpu on a machine without a GPU"

QUERY=(nvidia-smi "--query-gpu=driver_version,name,memory.total"
  "--format=csv,noheader")
CHECK='
import jax
found = jax.devices()
kinds = sorted({device.device_kind for device in found})
print(f"JAX sees {len(found)} x {kinds[0]}", flush=True)
raise SystemExit(found[0].platform != "gpu")
'

if [ -n "$dry_run" ]; then
  act "${QUERY[@]}"
else
  gpus="$("${QUERY[@]}")" ||
    die "nvidia-smi finds no GPU: ${gpus:-no reason given}; is this machine" \
      "or container given one?"
  echo "$gpus"
  driver="${gpus%%,*}"
  [ "${driver%%.*}" -ge "$OLDEST_DRIVER" ] ||
    die "NVIDIA driver $driver is too old for CUDA 13: install" \
      "$OLDEST_DRIVER or newer"
fi
cd "$ROOT"
act bash launch/setup.sh cuda
act .venv/bin/python -c "$CHECK" ||
  die "JAX does not see the GPUs that nvidia-smi lists: look at its message" \
    "above, and at CUDA_VISIBLE_DEVICES (${CUDA_VISIBLE_DEVICES-not set})"
run=(.venv/bin/python -m sigma_jax.main "$@")
[ -z "$dry_run" ] || {
  act "${run[@]}"
  exit 0
}
exec "${run[@]}"
