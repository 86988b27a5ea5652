"""Command line: `python -m sigma_jax.main --config=configs/toy.py ...`.

Every key of the config can be overridden, `--config.train.batch_size=64`.

Exit codes: 0 done; 1 the run stopped itself; 2 the input has to change; 130
stopped by Ctrl-C and 143 by SIGTERM, after saving: the same command resumes. A
second Ctrl-C ends the process at once.
"""

import contextlib
import os
import pathlib
import re
import shlex
import sys
import textwrap
import traceback

from absl import flags, logging
from ml_collections import config_flags

from sigma_jax import cli, errors, nearest, paths, settings
from sigma_jax.settings import config_file, given

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "Config file of the run: a path, or one of configs/ by name; "
  "k400_vitb:dino gives it an argument. --config.KEY=VALUE changes an option.",
  lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder for checkpoints, metrics and results; a run found there is resumed. "
  "runs/<config> if not given.",
)
_DISTRIBUTED = flags.DEFINE_string(
  "distributed",
  None,
  "How this process finds the others of the run: auto (Cloud TPU, SLURM, "
  "Kubernetes, Open MPI), HOST:PORT,N,I (process I of N), or none.",
)
_PROFILE_STEPS = flags.DEFINE_string(
  "profile_steps",
  "",
  "FIRST:LAST, steps of a training to trace with JAX's profiler.",
)


def main(argv: list[str] | None = None) -> int:
  """Runs one task; the exit codes are the module's."""
  argv = sys.argv[1:] if argv is None else argv
  if {"-h", "-help", "--help"} & set(argv):
    print(_help())
    return 0
  try:
    run = _parse(argv)
    profile_steps = _steps(_PROFILE_STEPS.value, run.task)
    named = _WORKDIR.value or _usual_workdir(
      flags.FLAGS["config"].config_filename, run
    )
    made = _to_be_made(named)
    workdir = _workdir(named)
  except (errors.UserError, ValueError, flags.Error) as error:
    return _fail(error, 2)
  cli.hush_tensorflow()
  logging.set_verbosity(logging.WARNING)
  # Imported late, so that a typo is answered at once and not after the
  # seconds that JAX and TensorFlow take to load.
  from sigma_jax import distributed, tasks
  from sigma_jax.train import metrics, preemption

  try:
    distributed.start(_DISTRIBUTED.value)
    distributed.check_agreement(run.fingerprint(), workdir)
    with preemption.watching():
      tasks.run(run, workdir, profile_steps)
  except (errors.UserError, FileNotFoundError) as error:
    _leave_nothing(made)
    told = isinstance(error, errors.UserError)  # its line says it all
    return _fail(error, 2, None if told else workdir)
  except errors.Preempted as error:
    print(error, file=sys.stderr, flush=True)
    return error.code
  except (errors.RunStopped, OSError) as error:  # such as: no space left
    return _fail(error, 1, workdir)
  except KeyboardInterrupt:
    # Before there was anything to save: later, the run itself notices.
    print("interrupted; the same command starts again", file=sys.stderr)
    return 130
  metrics.say(_done(run.task, str(workdir)))
  return 0


def _done(task: str, workdir: str) -> str:
  """Where the results of a finished run are, and what may come next."""
  if task != "pretrain":
    return f"done: the results are in {workdir}/results.json"
  # The whole command's options are the user's own data: named, not guessed.
  quoted = shlex.quote(workdir)
  report = cli.another("report", "sigma_jax.report")
  judge = cli.another("evaluate", "sigma_jax.main")
  features = cli.another("features", "sigma_jax.features")
  return "\n".join(
    [
      f"done: checkpoints, metrics and config are in {workdir}",
      f"  a page on the run:  {report} {quoted}",
      f"  judge its encoder:  {judge} --config=configs/eval/knn.py "
      f"--config.init={quoted} --config.data.train=... --config.data.val=...",
      f"  features of videos: {features} --init={quoted} --manifest=... "
      "--out=features.npz",
    ]
  )


def _help() -> str:
  program = cli.program("sigma_jax.main")
  lines = [
    f"usage: {program} --config=CONFIG [--workdir=FOLDER]",
    f"       {' ' * len(program)} [--config.KEY=VALUE ...]",
    "",
    *__doc__.splitlines()[2:],
    "",
  ]
  for flag in (_CONFIG, _WORKDIR, _DISTRIBUTED, _PROFILE_STEPS):
    indent = {"initial_indent": "  ", "subsequent_indent": " " * 6}
    text = " ".join(flags.FLAGS[flag.name].help.split())
    lines += textwrap.wrap(f"--{flag.name}: {text}", 80, **indent)
  return "\n".join(
    [
      *lines,
      "",
      "All options, with their defaults: docs/OPTIONS.md, or what "
      "`python -m sigma_jax.settings` prints.",
    ]
  )


def _usual_workdir(source: str, run: settings.Settings) -> str:
  """The folder of a run for which none is named; it is said.

  runs/<config>; what judges a checkpoint goes below runs/<checkpoint>.
  """
  file, _, argument = source.partition(":")
  name = pathlib.PurePath(file).stem
  name += "_" + re.sub(r"[^\w.-]+", "_", argument) if argument else ""
  below = pathlib.PurePath("runs")
  if run.init and run.task != "pretrain":
    below /= pathlib.PurePath(run.init).stem
  workdir = str(below / name)
  print(f"workdir: {workdir} (--workdir= names another)", flush=True)
  return workdir


def _workdir(value: str) -> pathlib.Path:
  """The run's folder, made if it has to be."""
  # A bucket says itself what it does not like.
  if "://" in value:
    from etils import epath

    return epath.Path(value)
  path = pathlib.Path(value)
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.UserError(
      f"--workdir {value!r} cannot be made: {error.strerror}"
    ) from error
  if not os.access(path, os.W_OK):
    raise errors.UserError(f"--workdir {value!r} cannot be written to")
  return path


def _to_be_made(value: str) -> list[pathlib.Path]:
  """The folders that `_workdir` will make, the innermost first."""
  if "://" in value:
    return []
  path = pathlib.Path(value)
  return [folder for folder in (path, *path.parents) if not folder.exists()]


def _leave_nothing(folders: list[pathlib.Path]) -> None:
  """Removes the folders of a run that never began; what they hold stays."""
  from sigma_jax.train import lock

  with contextlib.suppress(OSError):
    if folders and os.listdir(folders[0]) == [lock.NAME]:
      (folders[0] / lock.NAME).unlink()
    for folder in folders:
      folder.rmdir()


def _steps(text: str, task: str) -> range:
  """FIRST:LAST, both traced, as a range."""
  if not text:
    return range(0)
  if task not in ("pretrain", "supervised"):
    raise errors.UserError(
      f"--profile_steps would have no effect: task {task!r} trains no steps"
    )
  match = re.fullmatch(r"(\d+):(\d+)", text)
  if match is None or not 0 < int(match[1]) <= int(match[2]):
    raise errors.UserError(
      f"--profile_steps={text!r} is not understood; it is FIRST:LAST, such as "
      "100:109"
    )
  return range(int(match[1]), int(match[2]) + 1)


def _parse(argv: list[str]) -> settings.Settings:
  """Flags -> settings, every mistake a one-line ValueError."""
  try:
    argv = _found(argv)
    rest = flags.FLAGS([cli.program("sigma_jax.main"), *argv])[1:]
  except errors.UserError:
    raise
  except (flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
    # A locked ConfigDict answers a misspelt key with the last three.
    message = _unknown_key(argv) or _explain(str(error.args[0]))
    raise errors.UserError(message) from error
  if rest:
    raise errors.UserError(
      f"not understood: {' '.join(rest)!r}; options are --key=value, and paths "
      "with spaces need quotes"
    )
  if not flags.FLAGS["config"].present:
    raise errors.UserError(
      "--config is missing; for example: python -m sigma_jax.main "
      "--config=configs/toy.py --workdir=runs/toy"
    )
  if _WORKDIR.value == "":
    raise errors.UserError("--workdir is empty: name a folder, or leave it out")
  config = _CONFIG.value.to_dict()
  chosen = config_flags.get_override_values(flags.FLAGS["config"])
  given.settle(config, chosen)
  run = settings.Settings.from_config(config)
  given.check_read(run, chosen)
  return run


def _found(argv: list[str]) -> list[str]:
  """Flags with paths as they can be opened.

  `~` is the home folder, as in shells elsewhere; the config is a file, or one
  of the project's own by name.
  """
  found, words = [], iter(argv)
  for word in words:
    name, equals, value = word.partition("=")
    flag = name.lstrip("-") if name.startswith("-") else ""
    if flag in ("config", "workdir"):
      value = paths.expand(value if equals else next(words, ""))
      value = config_file.find(value) if flag == "config" else value
      word = f"{name}={value}"
    found.append(word)
  return found


def _unknown_key(argv: list[str]) -> str | None:
  """The first override of a key that does not exist, with the nearest one."""
  valid = _dotted(_config_file(argv))
  for argument in argv:
    match = re.match(r"--?(?:no)?config\.([^=]+)", argument)
    if match and any(key.startswith(match[1] + ".") for key in valid):
      return f"'config.{match[1]}' is a section: set one of its keys"
    if match and match[1] not in valid:
      near = nearest.option(match[1], valid)
      hint = f"; did you mean 'config.{near}'?" if near else ""
      if match[1].startswith("method.") and not near:
        # Another method's, most likely.
        own = sorted(key for key in valid if key.startswith("method."))
        hint = f"; this config's method has {', '.join(own)}"
      return f"unknown config key 'config.{match[1]}'{hint}"
  return None


def _config_file(argv: list[str]) -> dict:
  """What the config file sets: its method has options of its own."""
  for argument in argv:
    match = re.match(r"--?config=(.*)", argument)
    if match:
      with contextlib.suppress(errors.UserError):
        return config_file.load(match[1]).to_dict()
  return settings.Settings().to_dict()


def _explain(message: str) -> str:
  """What absl and ml_collections say of a config, short of its detours."""
  if "Traceback" in message:  # the config file's own, printed into the message
    message = "in the config file: " + message.strip().splitlines()[-1]
  locked = re.search(r'Key "(\w+)" does not exist', message)
  if locked is None:
    return message
  near = nearest.option(locked[1], _dotted(settings.Settings().to_dict()))
  hint = f"; did you mean {near!r}?" if near else ""
  return f"in the config file: unknown config key {locked[1]!r}{hint}"


def _dotted(values: dict, prefix: str = "") -> list[str]:
  keys = []
  for key, value in values.items():
    if isinstance(value, dict):
      keys += _dotted(value, f"{prefix}{key}.")
    else:
      keys.append(prefix + key)
  return keys


def _fail(error: Exception, code: int, workdir=None) -> int:
  """One line to the user; the traceback to a file for whoever needs it."""
  if workdir is not None and workdir.is_dir():
    from sigma_jax import files

    with contextlib.suppress(OSError):
      files.write_whole(workdir / files.TRACEBACK, traceback.format_exc())
  return cli.fail(error, code)


if __name__ == "__main__":
  sys.exit(main())
