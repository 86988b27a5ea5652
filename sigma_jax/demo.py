"""The whole job, small: makes and prepares data, pre-trains, probes, reports.

sigma-jax demo [--data data/toy] [--workdir runs/toy] [OPTIONS OF TRAINING...]

Toy videos are drawn into --data and prepared there: records are read in a
fraction of the time that mp4 files take. The rest goes to --workdir.
Interrupted, the same command goes on where it was. Further options go to the
pre-training, such as --config.train.steps=100.
"""

import subprocess
import sys
import time

from sigma_jax import cli, errors, paths


def main(argv: list[str] | None = None) -> int:
  """Command line.

  Returns:
    Exit code: 0 done, or that of the stage that failed.
  """
  parser = cli.Parser(
    prog=cli.program("sigma_jax.demo"),
    description=__doc__,
    formatter_class=cli.RAW,
    allow_abbrev=False,
  )
  parser.add_argument(
    "--data", type=paths.argument, default="data/toy", help="%(default)s"
  )
  parser.add_argument(
    "--workdir", type=paths.argument, default="runs/toy", help="%(default)s"
  )
  args, more = parser.parse_known_args(argv)
  return cli.answer(lambda: run(args.data, args.workdir, more))


def run(data: str, workdir: str, more: list[str]) -> int:
  """Runs all stages, each a process of its own; prints how long each took.

  Args:
    data, workdir: folders.
    more: arguments of the pre-training.

  Returns:
    0, or the exit code of the stage that failed.
  """
  start = time.monotonic()
  for name, module, arguments in stages(data, workdir, more):
    begun = time.monotonic()
    print(f"== {name}", flush=True)
    code = _wait([sys.executable, "-m", module, *arguments])
    took = f"{time.monotonic() - begun:.0f} s"
    if code:
      print(f"== {name} failed (exit {code}, {took})", file=sys.stderr)
      return code
    print(f"== {name}: {took}", flush=True)
  print(f"total: {time.monotonic() - start:.0f} s")
  print(f"report: {workdir}/report.html", flush=True)
  return 0


def stages(
  data: str, workdir: str, more: list[str]
) -> list[tuple[str, str, list[str]]]:
  """(name, module, arguments) of each stage, in order."""
  records = {part: f"{data}/records/{part}" for part in ("train", "val")}
  told = [
    *(f"--config.data.{part}={folder}" for part, folder in records.items()),
    f"--config.data.label_sets={data}/label_sets.json",
  ]
  train = ["--config=configs/toy.py", f"--workdir={workdir}", *told, *more]
  probe = ["--config=configs/eval/knn_toy.py", f"--workdir={workdir}/probe"]
  probe += [f"--config.init={workdir}", *told]
  return [
    ("data", "sigma_jax.data.toy", ["--out", data]),
    *(
      (
        f"prepare {part}",
        "sigma_jax.data.prepare",
        [f"--manifest={data}/{part}.csv", f"--out={folder}"],
      )
      for part, folder in records.items()
    ),
    ("pretrain", "sigma_jax.main", train),
    ("probe", "sigma_jax.main", probe),
    ("report", "sigma_jax.report", [workdir]),
  ]


def _wait(command: list[str]) -> int:
  """A stage's exit code; Ctrl-C reaches it too, and it saves what it has."""
  with subprocess.Popen(command) as process:
    while True:
      try:
        code = process.wait()
        break
      except KeyboardInterrupt:
        continue  # a second one ends it
  if code < 0:
    raise errors.RunStopped(f"{command[2]} was ended by signal {-code}")
  return code


if __name__ == "__main__":
  sys.exit(main())
