"""Keeps compiled programs between runs: a resumed run starts at once."""

import os
import pathlib
import platform
import zlib


def use() -> None:
  """Points JAX to a folder of the user's cache, unless the user has chosen one.

  JAX_COMPILATION_CACHE_DIR is JAX's own variable for another folder, gs://
  among them; empty, it switches the cache off. Otherwise it is
  $XDG_CACHE_HOME/sigma_jax, or ~/.cache/sigma_jax. A folder that cannot be
  written costs a warning of JAX, not the run.
  """
  if "JAX_COMPILATION_CACHE_DIR" in os.environ:
    return
  import jax

  jax.config.update("jax_compilation_cache_dir", str(folder()))


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
