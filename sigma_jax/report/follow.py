"""Rewrites a page as its runs go on."""

import os
import time
from collections.abc import Callable, Sequence

from sigma_jax.train import workdir as workdir_lib


def follow(
  workdirs: Sequence[str | os.PathLike],
  write: Callable[[bool], str],
  seconds: float,
  say: Callable[[str], None],
) -> None:
  """Writes the page again and again; ends with the runs, or on Ctrl-C.

  The last page is written without what makes browsers load it again.

  Args:
    workdirs: of the runs. One that is not there yet is waited for.
    write: writes the page, told whether it will be written again; returns what
      there is to say.
    seconds: between two pages.
    say: is told what the first page and the last one say.
  """
  told = False
  try:
    while waiting := [str(w) for w in workdirs if not _begun(w)]:
      if not told:
        say(f"waiting for a run in {', '.join(waiting)}")
      told = True
      time.sleep(seconds)
    told = False
    while not all(map(workdir_lib.is_done, workdirs)):
      text = write(True)
      if not told:
        say(
          f"{text}; again every {seconds:g} s, until the run is done or Ctrl-C"
        )
      told = True
      time.sleep(seconds)
  except KeyboardInterrupt:
    if not all(map(_begun, workdirs)):
      return
  say(write(False))


def _begun(workdir: str | os.PathLike) -> bool:
  return (workdir_lib.path(workdir) / workdir_lib.CONFIG).is_file()
