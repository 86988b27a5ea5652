"""Compiles a config's program for a TPU pod, without a TPU.

It is the step of a training, with labels or without, or the pass of a frozen
encoder over clips; with --testing, a classifier's test pass.

Nothing runs: the figures are the compiler's, or follow from what it made. The
roofline is what a step would take if its matrix products ran at the published
peak and memory at the published rate, whichever is longer: a floor that real
steps stay above, not a forecast. It leaves out elementwise work, latencies and
the feeding of data. The time on the links between chips is that of the bytes
at the published rate of all links at once; whether it hides behind the rest is
the scheduler's affair, so `seconds_if_nothing_overlaps` adds it up. Collectives
of few bytes, as the assignment's, take latency, which is in none of these.
"""

import argparse
from typing import Any

from sigma_jax import paths
from sigma_jax.bench import output
from sigma_jax.bench.pod import collectives, compiled, topology
from sigma_jax.settings import config_file

_GIGA = 1e9


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
    "--topology", default="v5e:16x16", help="chips to compile for (%(default)s)"
  )
  parser.add_argument(
    "--batch",
    type=int,
    help="clips over all chips; else the config's, rounded up to a multiple "
    "of the number of chips",
  )
  parser.add_argument(
    "--testing",
    action="store_true",
    help="of a training with labels, its test pass",
  )
  parser.add_argument("--fsdp", type=int, help="in place of the config's")
  parser.add_argument("--remat", help="in place of the config's")


def run(args: argparse.Namespace) -> int:
  """Compiles, prints; 0, or 1 where the step does not fit the chip.

  Raises:
    UserError: a flag that has to change, or no libtpu.
  """
  chip = topology.chip(args.topology)
  settings = compiled.load(args.config)
  if args.fsdp is not None:
    settings = config_file.changed(settings, {"mesh.fsdp": args.fsdp})
  if args.remat is not None:
    settings = config_file.changed(settings, {"model.remat": args.remat})
  topology.prepare()
  key = compiled.batch_key(settings, args.testing)
  published = compiled.batch_of(settings, args.testing)
  chips = len(topology.devices(args.topology))
  batch = args.batch
  if batch is None:
    batch = compiled.scaled_batch(published, chips)
  settings = config_file.changed(settings, {key: batch})
  report = compiled.step(settings, args.topology, args.testing)
  why = f"the config's {published}" if args.batch is None else "as given"
  if args.batch is None and batch != published:
    why += f" scaled to the next multiple of {chips} chips"
  result = {
    "title": f"{args.config} on {args.topology}, {batch} clips ({why})",
    **describe(report, chip),
    "remat": settings.model.remat,
    "versions": output.versions("jax", "jaxlib", "libtpu"),
  }
  output.show(result, args.json)
  return 0 if report.memory["total"] <= chip.hbm else 1


def describe(report: compiled.Report, chip: topology.Chip) -> dict[str, Any]:
  """Rows of collectives, and the other figures, of one compiled step."""
  return {
    "rows": rows(report.collectives),
    "chips": report.chips,
    "mesh": report.mesh,
    "clips_per_chip": report.batch // report.chips,
    "memory_gb_per_chip": {
      **{name: size / _GIGA for name, size in report.memory.items()},
      "of": chip.hbm / _GIGA,
    },
    # The compiler itself refuses only temporaries that do not fit alone.
    "fits": report.memory["total"] <= chip.hbm,
    "tflop_per_step": {
      "all_chips": report.flops / 1e12,
      "per_chip": report.flops / report.chips / 1e12,
      "per_chip_by_xla_with_each_loop_once": report.flops_xla / 1e12,
    },
    "hbm_gb_per_step_and_chip": {
      **{part: size / _GIGA for part, size in sorted(report.hbm.items())},
      "all": report.moved / _GIGA,
    },
    **({"loops_counted_once": report.once} if report.once else {}),
    "collective_mb_per_step_and_chip": {
      **{
        purpose: report.bytes_for(purpose) / 1e6
        for purpose in collectives.PURPOSES
      },
      "all": report.bytes_for(*collectives.PURPOSES) / 1e6,
      "sent": report.sent / 1e6,
    },
    "roofline": roofline(report, chip),
    "loss_plan": report.plan,
    "compile_seconds": report.seconds,
  }


def rows(
  found: list[tuple[str, collectives.Collective]],
) -> list[dict[str, Any]]:
  """Collectives of one kind, purpose, loop and group as one row each."""
  groups: dict[tuple, list[collectives.Collective]] = {}
  for purpose, each in found:
    key = (each.kind, purpose, each.loop, each.group)
    groups.setdefault(key, []).append(each)
  made = [
    {
      "collective": kind,
      "for": purpose,
      "in_a_loop_of": loop or None,
      "chips": group,
      "arrays": sum(each.count for each in members),
      "bytes": sum(each.nbytes for each in members),
      "largest": max(members, key=lambda each: each.array.nbytes).array.text,
    }
    for (kind, purpose, loop, group), members in groups.items()
  ]
  return sorted(made, key=lambda row: -row["bytes"])


def roofline(report: compiled.Report, chip: topology.Chip) -> dict[str, float]:
  """Seconds of a step at published rates: see the module's docstring."""
  products = report.flops / report.chips / chip.flops
  memory = report.moved / chip.hbm_rate
  links = report.sent / chip.ici_rate
  return {
    "matrix_products_seconds": products,
    "hbm_seconds": memory,
    "step_at_least_seconds": max(products, memory),
    "links_seconds": links,
    "seconds_if_nothing_overlaps": products + memory + links,
  }
