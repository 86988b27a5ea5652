"""Keeps compiled programs between runs: a resumed run starts at once."""

import os
import pathlib
import platform
import re
import sys
import warnings
import zlib

# What JAX warns of a program, and names it.
_TROUBLE = re.compile(
  r"Error (?P<verb>reading|writing) persistent compilation cache entry for "
  r"'(?P<program>[^']*)': (?P<reason>.*)",
  re.DOTALL,
)


def use() -> None:
  """Points JAX to a folder of the user's cache, unless the user has chosen one.

  JAX_COMPILATION_CACHE_DIR is JAX's own variable for another folder, gs://
  among them; empty, it switches the cache off. Otherwise it is
  $XDG_CACHE_HOME/sigma_jax, or ~/.cache/sigma_jax. A folder that cannot be
  written costs a warning, not the run.
  """
  if "JAX_COMPILATION_CACHE_DIR" in os.environ:
    return
  import jax

  jax.config.update("jax_compilation_cache_dir", str(folder()))
  _mend(folder())


def folder() -> pathlib.Path:
  """The folder for programs compiled on this kind of processor.

  JAX's key does not tell processors apart, and a home directory is often
  shared: a program for one CPU may end another's with an illegal instruction.
  """
  home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  kind = f"{platform.machine()}-{zlib.crc32(_features().encode()):08x}"
  return pathlib.Path(home) / "sigma_jax" / kind


def _features() -> str:
  """The CPU's instruction sets, as the kernel lists them."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return platform.processor()
  return next((x for x in lines if x.startswith(("flags", "Features"))), "")


def _mend(cache: pathlib.Path) -> None:
  """Removes halves of programs as JAX meets them, and says so in one line.

  A full disk and a kill leave them. JAX writes no entry where there is one, so
  it would warn of the half, and compile, at every start.
  """
  before = warnings.showwarning
  if getattr(before, "mends", None) == cache:
    return
  told = set()

  def show(message, *args, **kwargs):
    found = _TROUBLE.match(str(message))
    if not found:
      before(message, *args, **kwargs)
      return
    for entry in cache.glob(f"{found['program']}-*"):
      entry.unlink(missing_ok=True)
    if found["verb"] not in told:
      reason = " ".join(found["reason"].split())
      print(
        f"warning: {found['verb']} compiled programs in {cache} fails "
        f"({reason}): they are compiled again",
        file=sys.stderr,
        flush=True,
      )
    told.add(found["verb"])

  show.mends = cache
  warnings.showwarning = show
