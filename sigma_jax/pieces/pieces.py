"""Work cut into pieces, each of which leaves a whole file.

A command says what its pieces are, what does them, and by which file one that
is done is recognised. They are then done here, or part I of N of them here
(`--only`, for job arrays), or on the machines of a Ray cluster (`--ray`). Who
does a piece, when, and how often, makes no difference to its file; what the
command makes of all of them is made once they are there.
"""

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from sigma_jax import cli, errors

_NAMED = 3  # missing pieces in a message


class Piece(NamedTuple):
  """A piece of work.

  name: for messages. job: all that doing it takes; it pickles. size: of what is
  counted while it is done, such as files.
  """

  name: str
  job: Any
  size: int = 1


class Tally:
  """How far the work is, told by what does it, on whichever machine.

  Attributes:
    bad: an entry of the command's for each thing that could not be read.
  """

  def __init__(
    self,
    progress: cli.Progress | None = None,
    after: Callable[[list], None] | None = None,
  ):
    self._progress, self._after = progress, after
    self.bad: list = []

  def add(self, count: int = 1, bad: Sequence = ()) -> None:
    """So many more are done, and these of them could not be read."""
    self.bad += bad
    if self._progress:
      self._progress.bad = len(self.bad)
      self._progress.add(count)
    if self._after:
      self._after(self.bad)


@dataclasses.dataclass(frozen=True)
class Work:
  """All pieces of a command.

  Attributes:
    what: is counted, such as "files".
    pieces: in the order in which they are put together.
    do: given the jobs of some pieces, the number of processes that it may use
      and a Tally; each piece's file is whole or not there. A function of a
      module, so that another machine finds it.
    there: names of the pieces whose files are there now.
    after: called after each `Tally.add` with all that was bad in this call;
      what it raises ends the work.
    left: how much of a piece that is there is to be tried again; None: nothing.
    poll: called now and then while others work; what it raises ends the work.
    lines: whether progress is told here; of Ray's pieces it always is.
  """

  what: str
  pieces: Sequence[Piece]
  do: Callable[[Sequence[Any], int, Tally], None]
  there: Callable[[], Collection[str]]
  after: Callable[[list], None] | None = None
  left: Callable[[Piece], int] | None = None
  poll: Callable[[], None] = lambda: None
  lines: bool = True


@dataclasses.dataclass(frozen=True)
class How:
  """Where the pieces are done.

  Attributes:
    only: "I/N": part I of N of them, from 0 on; empty: all.
    merge: none of them; what is there is put together.
    ray: address of a Ray cluster; empty: one on this machine alone; None: no
      Ray.
    cpus: cores that Ray gives a piece.
    gpus: likewise; 0.5 lets two pieces share one.
    tpus: TPU chips, likewise.
    memory: GB that Ray sets aside for a piece; 0: it does not count them.
  """

  only: str = ""
  merge: bool = False
  ray: str | None = None
  cpus: float = 1.0
  gpus: float = 0.0
  tpus: float = 0.0
  memory: float = 0.0

  def __post_init__(self):
    """Raises UserError for what is no such way."""
    given = [
      *(["--only"] if self.only else []),
      *(["--merge"] if self.merge else []),
      *(["--ray"] if self.ray is not None else []),
    ]
    if len(given) > 1:
      raise errors.UserError(f"{' and '.join(given)}: choose one of them")
    if min(self.cpus, self.gpus, self.tpus, self.memory) < 0:
      raise errors.UserError(
        "--ray-cpus, -gpus, -tpus and -memory must not be negative"
      )
    match = re.fullmatch(r"(\d+)/(\d+)", self.only)
    if self.only and not (match and int(match[1]) < int(match[2])):
      raise errors.UserError(
        f"--only {self.only!r} is not understood; it is I/N, part I of N from "
        "0 on, such as 0/4 to 3/4"
      )

  @property
  def alone(self) -> bool:
    """Whether this call does all, so that nobody else's pieces are awaited."""
    return not self.only and not self.merge

  def workers(self, given: int) -> int:
    """Processes that --workers asks for here; 0: one a core.

    Raises:
      UserError: it would have no effect.
    """
    if given and self.ray is not None:
      raise errors.UserError(
        "--workers is of this machine; with --ray, --ray-cpus says how many "
        "processes a piece has"
      )
    return given or len(os.sched_getaffinity(0))

  def of(self, pieces: Sequence[Any]) -> list[Any]:
    """The pieces of this call."""
    if self.merge:
      return []
    first, step = map(int, (self.only or "0/1").split("/"))
    return list(pieces[first::step])


HERE = How()


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Options that say where the pieces are done; `how` reads them."""
  group = parser.add_argument_group("more than one machine (docs/CLUSTER.md)")
  add = group.add_argument
  add(
    "--only",
    default="",
    metavar="I/N",
    help="part I of N, 0 <= I < N: for job arrays; the last one puts all "
    "together",
  )
  add(
    "--merge",
    action="store_true",
    help="only puts together what calls with --only have made",
  )
  add(
    "--ray",
    nargs="?",
    const="",
    metavar="ADDRESS",
    help="on a Ray cluster, host:port or auto (write --ray=auto); without an "
    "address on this machine",
  )
  add("--ray-cpus", type=float, default=1.0, help="cores a piece")
  add("--ray-gpus", type=float, default=0.0, help="GPUs a piece, also 0.5")
  add("--ray-tpus", type=float, default=0.0, help="TPU chips a piece")
  add(
    "--ray-memory", type=float, default=0.0, help="GB a piece; 0: not counted"
  )


def how(args: argparse.Namespace) -> How:
  """What `add_arguments` has parsed; UserError where it contradicts itself."""
  return How(
    args.only,
    args.merge,
    args.ray,
    args.ray_cpus,
    args.ray_gpus,
    args.ray_tpus,
    args.ray_memory,
  )


def run(work: Work, how: How, workers: int = 1) -> bool:
  """Does the pieces that this call is for.

  Args:
    work: the pieces.
    how: which of them, and where.
    workers: processes, where it is here.

  Returns:
    Whether all pieces are there now, those of other calls too; where they are
    not, a line has said so.

  Raises:
    RunStopped: pieces have failed, or are missing with `merge`.
    UserError: there is no Ray, or no such cluster.
  """
  there, mine = work.there(), how.of(work.pieces)
  left = {piece.name: _left(work, piece, there) for piece in mine}
  todo = [piece for piece in mine if left[piece.name]]
  total = sum(piece.size for piece in mine)
  progress = None
  if work.lines or how.ray is not None:
    progress = cli.Progress(work.what, total)
    if done := total - sum(left.values()):
      progress.skip(done)
      _say(f"{done} of {total} {work.what} are done already")
  tally = Tally(progress, work.after)
  if todo and how.ray is not None:
    from sigma_jax.pieces import on_ray

    on_ray.run(work, todo, how, tally)
  elif todo:
    work.do([piece.job for piece in todo], workers, tally)
  there = work.there() if todo else there
  missing = [piece.name for piece in work.pieces if piece.name not in there]
  if not missing or how.alone:
    return True
  line = f"{len(missing)} of {len(work.pieces)} pieces are not there: "
  line += named(missing)
  if how.merge:
    raise errors.RunStopped(f"{line}; the calls that make them have to end")
  _say(f"part {how.only} is done; {line}: the last part puts all together")
  return False


def named(names: Sequence[str]) -> str:
  """Some of the names, for a message."""
  more = len(names) - _NAMED
  shown = ", ".join(names[:_NAMED])
  return f"{shown} and {more} more" if more > 0 else shown


def _left(work: Work, piece: Piece, there: Collection[str]) -> int:
  """How much of a piece is to be done."""
  if piece.name not in there:
    return piece.size
  return work.left(piece) if work.left else 0


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)
