"""What a training was begun from, by content, so that no other one goes on.

A path says little: the checkpoint behind it may have been trained further, the
list of files sorted, the label sets replaced. The workdir keeps hashes of them.
"""

import hashlib
import json
import os
from typing import Any, NamedTuple

import jax

from sigma_jax import errors, files
from sigma_jax.train import checksums, stored
from sigma_jax.train import workdir as workdir_lib

IDENTITY = "identity.json"


class Thing(NamedTuple):
  """shown: in words, for messages. content: its hash; "": there is none."""

  shown: str
  content: str


def of_weights(tree: Any) -> str:
  """Sixteen hex digits that change with any number in a pytree of arrays."""
  return of_sums(checksums.of(tree))


def of_sums(sums: dict[str, int]) -> str:
  """The same of what `checksums.of` gave."""
  text = json.dumps(sums, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def init(path: str, weights: Any, step: int | None) -> Thing:
  """`config.init` as a run starts from it.

  Args:
    path: the option; empty: random weights.
    weights: those that are taken from it.
    step: of the checkpoint; None where it has none.
  """
  if not path:
    return Thing("random weights", "")
  shown = path if step is None else f"step {step} of {path}"
  return Thing(shown, of_weights(weights))


def claim(workdir: str | os.PathLike, things: dict[str, Thing]) -> None:
  """Notes what a training begins from, or compares if there is one already.

  Args:
    workdir: of the run.
    things: name -> what stands behind it now.

  Raises:
    UserError: the checkpoints in the workdir come of others; names them.
  """
  file = workdir_lib.path(workdir) / IDENTITY
  before = _read(file) if trained(workdir) else {}
  differing = [
    f"{name} ({before[name][0]} there, {thing.shown} here)"
    if before[name][0] != thing.shown
    else f"{name} (the content of {thing.shown} has changed)"
    for name, thing in things.items()
    if name in before and before[name][1] != thing.content
  ]
  if differing:
    raise errors.UserError(
      f"{workdir} holds a training of something else: {', '.join(differing)}; "
      "choose another --workdir, or give what it was begun with"
    )
  if jax.process_index() == 0:
    file.parent.mkdir(parents=True, exist_ok=True)
    # A run from before this file existed: what it has now is all we know.
    content = {name: list(thing) for name, thing in things.items()} | before
    files.write_whole(file, json.dumps(content, indent=1) + "\n")


def init_is_gone(workdir: str | os.PathLike, init: str) -> bool:
  """Whether a training goes on whose `init` has been removed since.

  It is needed for a fresh start alone: what was trained of it is in the
  workdir's own checkpoints.

  Args:
    workdir: of the run.
    init: the option, which has to be the one that the run was begun with.
  """
  if not init or not trained(workdir) or workdir_lib.path(init).exists():
    return False
  return workdir_lib.read_config(workdir).init == init


def _read(file) -> dict[str, list[str]]:
  try:
    return json.loads(file.read_text())
  except FileNotFoundError:
    return {}
  except ValueError as error:
    raise errors.UserError(
      f"{file} is damaged ({error}): remove it if the workdir's training is "
      "the one that is meant"
    ) from error


def trained(workdir: str | os.PathLike) -> bool:
  """Whether a training in the workdir goes on rather than begins."""
  # By listing: `exists` says no where the storage does not answer.
  found = stored.entries(workdir_lib.checkpoints(workdir))
  return any(name.isdigit() for name in found)
