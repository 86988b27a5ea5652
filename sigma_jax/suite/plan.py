"""Which runs a suite consists of, and how they are told from other ones."""

import dataclasses
import functools
import glob
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.evaluate.segmentation import dense
from sigma_jax.interop import store
from sigma_jax.settings import config_file, given
from sigma_jax.train import workdir as workdir_lib

# Options that the suite sets itself, and what sets them.
_OWN = {
  "task": "--configs",
  "init": "--init",
  "probe.random_baseline": "--baseline",
  "segmentation.random_baseline": "--baseline",
}


class Run(NamedTuple):
  """One protocol from one encoder.

  name: of its folder. stem: of its config file. encoder: dense.PRETRAINED, or
  RANDOM where it is trained from a random one. key: changes with the config,
  `init`'s content and the lists of files.
  """

  name: str
  stem: str
  encoder: str
  config: settings_lib.Settings
  key: str


class Skipped(NamedTuple):
  """A config whose data is not there; reason names what is missing."""

  name: str
  reason: str


def plan(
  patterns: Sequence[str],
  init: str,
  changes: dict[str, str],
  baseline: bool,
) -> tuple[list[Run], list[Skipped]]:
  """Configs to runs.

  Args:
    patterns: of config files; `:argument` after one goes to their get_config.
    init: the checkpoint that is judged.
    changes: dotted option -> text, for all configs.
    baseline: whether a random encoder is judged beside.

  Raises:
    UserError: a pattern fits nothing, a config cannot be read, is of
      pre-training or does not take the changes, no config reads one of them, or
      there is no checkpoint.
  """
  checkpoint = identity(init)
  trained = functools.cache(lambda: store.read(init).settings)
  runs, skipped = [], []
  for name, source in _sources(patterns).items():
    config = _config(source, init, changes, baseline)
    reason, stem = missing(config), _stem(source)
    if reason:
      skipped.append(Skipped(name, reason))
      continue
    key = _key(config, checkpoint)
    runs.append(Run(name, stem, dense.PRETRAINED, config, key))
    if baseline and config.task == "supervised":
      try:
        config = _from_scratch(config, trained())
      except ValueError as error:
        raise errors.UserError(f"{source} with --baseline: {error}") from error
      key = _key(config, None)
      runs.append(Run(f"{name}_random", stem, dense.RANDOM, config, key))
  for key in changes:
    reasons = [given.unread(run.config, key) for run in runs]
    if reasons and all(reasons):
      raise errors.UserError(
        f"--set {key} would have no effect on any of these configs: "
        f"{reasons[0]}"
      )
  return runs, skipped


def identity(init: str) -> list:
  """What a checkpoint is: plain values that change with its content.

  Raises:
    UserError: there is none.
  """
  path = workdir_lib.path(init)
  if not path.exists():
    raise errors.UserError(f"no such checkpoint: {init}")
  if not path.is_dir():
    return [_digest(path)]
  if folder := store.folder_of_weights(path):
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [[file.name, _digest(file)] for file in files]
  config, step = workdir_lib.read_config(init), dense.step_of(init)
  if step is None:
    raise errors.UserError(f"no complete checkpoint in {init}")
  sums = workdir_lib.checkpoints(init) / str(step) / "checksums" / "metadata"
  content = _digest(sums) if sums.exists() else None
  return [config.fingerprint(), step, content]


def missing(config: settings_lib.Settings) -> str:
  """The first file or folder that a config needs and that is not there.

  Returns:
    One line; "" where all are there.
  """
  for key, path in _inputs(config).items():
    if not path:
      return f"{key} is not set"
    if not workdir_lib.path(path).exists():
      return f"{key} is not there: {path}"
  return ""


def _inputs(config: settings_lib.Settings) -> dict[str, str]:
  """Option -> path of everything that its task opens by name."""
  data, supervised = config.data, config.supervised
  if config.task == "segmentation":
    return {"data.val": data.val}
  found = {"data.train": data.train, "data.val": data.val}
  if config.task == "supervised" and supervised.targets != "classes":
    found["supervised.train_targets"] = supervised.train_targets
    found["supervised.val_targets"] = supervised.val_targets
  elif data.label_sets:
    found["data.label_sets"] = data.label_sets
  return found


def _sources(patterns: Sequence[str]) -> dict[str, str]:
  """Name of each run -> config file, with the argument."""
  found: dict[str, str] = {}
  for pattern in patterns:
    files, colon, argument = pattern.partition(":")
    paths = sorted(glob.glob(files, recursive=True))
    if not paths:
      raise errors.UserError(f"--configs {pattern!r}: there is no such file")
    for path in paths:
      name = pathlib.Path(path).stem + (f"_{argument}" if argument else "")
      source = path + colon + argument
      if found.setdefault(name, source) != source:
        raise errors.UserError(
          f"--configs: {found[name]} and {source} would both be called {name}"
        )
  return found


def _stem(source: str) -> str:
  return pathlib.Path(source.partition(":")[0]).stem


def _config(source, init, changes, baseline) -> settings_lib.Settings:
  config = config_file.load(source)
  if config.task == "pretrain":
    raise errors.UserError(
      f"{source} is of pre-training: a suite runs configs that judge an encoder"
    )
  for key in changes:
    if key in _OWN:
      raise errors.UserError(f"--set {key}: {_OWN[key]} sets it")
  try:
    config = config_file.changed(config, changes | {"init": init})
    if config.task == "supervised":
      return config
    # The other tasks judge an untrained encoder themselves.
    own = {f"{config.task}.random_baseline": str(baseline)}
    return config_file.changed(config, own)
  except ValueError as error:
    raise errors.UserError(f"{source} with --set: {error}") from error


def _from_scratch(
  config: settings_lib.Settings, trained: settings_lib.Settings
) -> settings_lib.Settings:
  """As the task runs it with an `init` of this run, without its weights."""
  model = trained.model.computed_as(config.model)
  return dataclasses.replace(config, init="", model=model).like(trained)


def _key(config: settings_lib.Settings, checkpoint: list | None) -> str:
  # Not the name of `init`, but what it holds.
  parts = [dataclasses.replace(config, init="").fingerprint(), checkpoint]
  parts += [_digest(workdir_lib.path(p)) for p in _inputs(config).values()]
  return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _digest(path) -> str:
  """Of a file's content; of a folder (records, frames), its name."""
  if path.is_dir():
    return str(path)
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
