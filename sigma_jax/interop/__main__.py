"""Command line: `python -m sigma_jax.interop import|export|parity ...`."""

import argparse
import sys

from sigma_jax import errors, paths


def main(argv: list[str] | None = None) -> int:
  """Runs one command.

  Returns:
    Exit code: 0 done, 1 parity is not given, 2 the input has to change.
  """
  args = _parser().parse_args(argv)
  try:
    return args.run(args)
  except (errors.UserError, ValueError, OSError) as error:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return 2


class _Parser(argparse.ArgumentParser):
  def error(self, message: str):
    self.exit(2, f"error: {message}\n")


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(prog="python -m sigma_jax.interop", description=__doc__)
  commands = parser.add_subparsers(
    required=True, metavar="COMMAND", parser_class=_Parser
  )
  add = commands.add_parser("import", help="a checkpoint -> a workdir")
  add.add_argument(
    "source", type=paths.argument, help=".pth, transformers folder or workdir"
  )
  add.add_argument(
    "workdir", type=paths.argument, help="made; `--config.init=` takes it"
  )
  add.add_argument(
    "--config", type=paths.argument, help="configs/<name>.py it must agree with"
  )
  add.add_argument("--frames", type=int, default=0, help="of a clip; 16")
  add.add_argument("--size", type=int, default=0, help="pixels; 224")
  add.add_argument("--encoder-heads", type=int, default=0)
  add.add_argument("--decoder-heads", type=int, default=0)
  add.set_defaults(run=_import)
  out = commands.add_parser("export", help="a workdir -> PyTorch's formats")
  out.add_argument(
    "workdir", type=paths.argument, help="or anything that import takes"
  )
  out.add_argument(
    "out", type=paths.argument, help="the .pth, or the folder for transformers"
  )
  out.add_argument("--format", choices=("pth", "hf"), required=True)
  out.set_defaults(run=_export)
  check = commands.add_parser("parity", help="compare with published numbers")
  check.add_argument(
    "case", type=paths.argument, nargs="+", help="CASE.json or CASE.npz"
  )
  shape = check.add_mutually_exclusive_group()
  shape.add_argument("--json", action="store_true", help="one JSON object")
  shape.add_argument("--markdown", action="store_true", help="docs/PARITY.md")
  check.set_defaults(run=_parity)
  return parser


def _note(line: str) -> None:
  print(f"note: {line}", flush=True)


def _import(args: argparse.Namespace) -> int:
  from sigma_jax.interop import store

  config = store.config_file(args.config) if args.config else None
  model = store.read(
    args.source,
    config=config,
    num_frames=args.frames,
    size=args.size,
    encoder_heads=args.encoder_heads,
    decoder_heads=args.decoder_heads,
    note=_note,
  )
  store.write_workdir(args.workdir, model, args.source, _note)
  print(f"{model.layout.kind} model in {args.workdir}", flush=True)
  return 0


def _export(args: argparse.Namespace) -> int:
  from sigma_jax.interop import store

  store.export(store.read(args.workdir), args.out, args.format, _note)
  return 0


def _parity(args: argparse.Namespace) -> int:
  from sigma_jax.interop import parity

  return parity.run(args.case, as_json=args.json, as_markdown=args.markdown)


if __name__ == "__main__":
  sys.exit(main())
