"""Memory and collectives of a step as chips are added.

The step is compiled for slices of a TPU pod, without a TPU, at the same number
of clips a chip. Nothing runs: the figures are the compiler's and say what a
step holds and sends, not how long it takes. What the assignment sends should
not change with the number of chips nor with the batch; what the gradients
send, neither.
"""

import argparse
from typing import Any

from sigma_jax import errors, paths
from sigma_jax.bench import output
from sigma_jax.bench.pod import compiled, topology
from sigma_jax.settings import config_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The command's flags."""
  parser.add_argument("--json", action="store_true", help="one JSON object")
  parser.add_argument(
    "--config",
    type=paths.argument,
    required=True,
    help="configs/<name>.py or configs/<name>.py:dino",
  )
  parser.add_argument(
    "--chips", default="1,4,16,64,256", help="slices (%(default)s)"
  )
  parser.add_argument(
    "--chip", default="v5e", choices=("v5e", "v6e"), help="(%(default)s)"
  )
  parser.add_argument(
    "--per-chip-batch",
    type=int,
    help="clips a chip; else the config's over the largest slice, rounded up",
  )


def run(args: argparse.Namespace) -> int:
  """Compiles once for each slice, prints; 0.

  Raises:
    UserError: a flag that has to change, or no libtpu.
  """
  slices = [topology.slice_of(args.chip, n) for n in _numbers(args.chips)]
  settings = compiled.load(args.config)
  key = compiled.batch_key(settings, testing=False)
  topology.prepare()
  sizes = [len(topology.devices(name)) for name in slices]
  clips = args.per_chip_batch
  if clips is None:
    clips = -(-compiled.batch_of(settings, testing=False) // max(sizes))
  if clips < 1:
    raise errors.UserError(f"--per-chip-batch must be positive, got {clips}")
  rows = []
  for name, size in zip(slices, sizes, strict=True):
    at_size = config_file.changed(settings, {key: clips * size})
    fsdp = settings.mesh.fsdp
    if fsdp > 0 and size % fsdp:  # a small slice shards over all it has
      at_size = config_file.changed(at_size, {"mesh.fsdp": size})
    rows.append(row(compiled.step(at_size, name)))
  result = {
    "title": f"{args.config} at {clips} clips a chip; MB and GB are of one "
    "chip, collectives those of one step",
    "rows": rows,
    "versions": output.versions("jax", "jaxlib", "libtpu"),
  }
  output.show(result, args.json)
  return 0


def _numbers(text: str) -> list[int]:
  try:
    return [int(part) for part in text.split(",")]
  except ValueError:
    raise errors.UserError(
      f"--chips takes numbers with commas between, got {text!r}"
    ) from None


def row(report: compiled.Report) -> dict[str, Any]:
  """One line of the table."""
  return {
    "topology": report.topology,
    "chips": report.chips,
    "clips": report.batch,
    "arguments_gb": report.memory["arguments"] / 1e9,
    "temporaries_gb": report.memory["temporaries"] / 1e9,
    "total_gb": report.memory["total"] / 1e9,
    "gradients_mb": report.bytes_for("gradients") / 1e6,
    "parameters_mb": report.bytes_for("parameters") / 1e6,
    "assignment_mb": report.bytes_for("assignment") / 1e6,
    "metrics_mb": report.bytes_for("metrics") / 1e6,
    "other_mb": report.bytes_for("other") / 1e6,
    "sent_mb": report.sent / 1e6,
    "compile_s": report.seconds,
  }
