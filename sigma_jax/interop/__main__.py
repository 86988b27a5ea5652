"""Command line: `python -m sigma_jax.interop import|export|parity ...`."""

import argparse
import sys

from sigma_jax import cli, paths


def main(argv: list[str] | None = None) -> int:
  """Runs one command.

  Returns:
    Exit code: 0 done, 1 parity is not given, 2 the input has to change.
  """
  args = _parser().parse_args(argv)
  return cli.answer(lambda: args.run(args))


def _parser() -> argparse.ArgumentParser:
  parser = cli.parser("sigma_jax.interop", __doc__)
  commands = parser.add_subparsers(
    required=True, metavar="COMMAND", parser_class=cli.Parser
  )
  add = commands.add_parser("import", help="a checkpoint -> a workdir")
  add.add_argument(
    "source",
    type=paths.argument,
    help=".pth, .safetensors, folder of transformers or DeepSpeed",
  )
  add.add_argument(
    "workdir", type=paths.argument, help="made; `--config.init=` takes it"
  )
  add.set_defaults(run=_import)
  out = commands.add_parser("export", help="a workdir -> PyTorch's formats")
  out.add_argument(
    "source",
    type=paths.argument,
    help="a workdir, or anything that import takes",
  )
  out.add_argument(
    "out", type=paths.argument, help="the .pth, or the folder for transformers"
  )
  out.add_argument("--format", choices=("pth", "hf"), required=True)
  out.set_defaults(run=_export)
  for command in (add, out):
    command.add_argument(
      "--config",
      type=paths.argument,
      help="configs/<name>.py it must agree with",
    )
    command.add_argument("--frames", type=int, default=0, help="of a clip; 16")
    command.add_argument("--size", type=int, default=0, help="pixels; 224")
    command.add_argument("--encoder-heads", type=int, default=0)
    command.add_argument("--decoder-heads", type=int, default=0)
    command.add_argument(
      "--weights",
      choices=("last", "average"),
      default="",
      help="which, where both are there; of a run, what was tested",
    )
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
  from sigma_jax.interop import destinations, store

  destinations.check_workdir(args.workdir, args.source)
  model = _read(args)
  store.write_workdir(args.workdir, model, args.source, _note)
  print(f"{model.layout.kind} model in {args.workdir}", flush=True)
  return 0


def _export(args: argparse.Namespace) -> int:
  from sigma_jax.interop import destinations, store

  destinations.check_export(args.out, args.format, args.source)
  store.export(_read(args), args.out, args.format, _note, args.source)
  return 0


def _read(args: argparse.Namespace):
  from sigma_jax.interop import store
  from sigma_jax.settings import config_file

  config = config_file.load(args.config) if args.config else None
  return store.read(
    args.source,
    config=config,
    num_frames=args.frames,
    size=args.size,
    encoder_heads=args.encoder_heads,
    decoder_heads=args.decoder_heads,
    weights=args.weights,
    note=_note,
  )


def _parity(args: argparse.Namespace) -> int:
  from sigma_jax.interop import parity

  return parity.run(args.case, as_json=args.json, as_markdown=args.markdown)


if __name__ == "__main__":
  sys.exit(main())
