"""Command line of the installed package: `sigma-jax COMMAND ...`.

Each command is also a module of its own, `python -m sigma_jax.features` for
one; `sigma-jax COMMAND --help` says which options it takes.
"""

import difflib
import importlib
import importlib.metadata
import os
import sys
from typing import NamedTuple

from sigma_jax import cli


class Command(NamedTuple):
  """module: has main(argv). first: words that its argv begins with. help: one
  line."""

  module: str
  help: str
  first: tuple[str, ...] = ()


# Modules are named here and imported when called: --help answers at once.
COMMANDS = {
  "train": Command(
    "sigma_jax.main", "pre-trains by a config file: --config=k400_vitb"
  ),
  "evaluate": Command(
    "sigma_jax.main",
    "judges an encoder, as train: --config=knn --config.init=RUN",
  ),
  "suite": Command(
    "sigma_jax.evaluate.__main__",
    "every evaluation whose data is there, in one table",
    ("suite",),
  ),
  "features": Command(
    "sigma_jax.features", "one vector a video, as .npz or .parquet"
  ),
  "prepare": Command(
    "sigma_jax.data.prepare", "records that are read faster than videos"
  ),
  "check": Command(
    "sigma_jax.data.check.command", "reads all videos of lists: what is wrong"
  ),
  "manifests": Command(
    "sigma_jax.data.layouts.__main__",
    "lists of public data sets from their official annotations",
  ),
  "export": Command(
    "sigma_jax.interop.__main__",
    "a run as a .pth or a folder of transformers",
    ("export",),
  ),
  "import": Command(
    "sigma_jax.interop.__main__",
    "a published checkpoint as a workdir",
    ("import",),
  ),
  "parity": Command(
    "sigma_jax.interop.__main__",
    "compares with numbers of the published code",
    ("parity",),
  ),
  "bench": Command(
    "sigma_jax.bench.__main__", "speed and memory, beside PyTorch"
  ),
  "demo": Command(
    "sigma_jax.demo",
    "toy videos, pre-training, probes and a report, in minutes",
  ),
  "ablate": Command(
    "sigma_jax.ablate.__main__",
    "a grid of pre-trainings times seeds, each judged, in one table",
  ),
  "report": Command(
    "sigma_jax.report.__main__", "a run, or several compared, as one HTML page"
  ),
}


def main(argv: list[str] | None = None) -> int:
  """Runs one command; returns its exit code."""
  argv = sys.argv[1:] if argv is None else argv
  name, *rest = argv or ["--help"]
  if name in ("-h", "--help", "help"):
    print(_help())
    return 0
  if name == "--version":
    print(importlib.metadata.version("sigma-jax"))
    return 0
  if name not in COMMANDS:
    near = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    error = f"no such command: {name}{hint} ({cli.PROGRAM} --help lists them)"
    return cli.fail(error, 2)
  command = COMMANDS[name]
  # As with `python -m`: a method of one's own may lie here. Last, so that it
  # hides nothing.
  if not {"", os.getcwd()} & set(sys.path):
    sys.path.append(os.getcwd())
  # Read by what prints how to call it. Where its words begin with its own
  # subcommand, its parser adds that.
  sys.argv[0] = cli.PROGRAM if command.first else f"{cli.PROGRAM} {name}"
  return importlib.import_module(command.module).main([*command.first, *rest])


def _help() -> str:
  width = max(map(len, COMMANDS))
  lines = [f"  {name:{width}}  {each.help}" for name, each in COMMANDS.items()]
  return "\n".join(
    [
      f"usage: {cli.PROGRAM} COMMAND [OPTIONS]",
      "",
      *lines,
      "",
      f"{cli.PROGRAM} COMMAND --help says more of one; "
      f"{cli.PROGRAM} --version.",
    ]
  )


if __name__ == "__main__":
  sys.exit(main())
