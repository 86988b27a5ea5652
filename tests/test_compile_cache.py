"""Where compiled programs are kept."""

import os
import subprocess
import sys

from sigma_jax import compile_cache

SCRIPT = """
from sigma_jax import compile_cache
compile_cache.use()
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x * x + 1)(3.0)
print(jax.config.jax_compilation_cache_dir or "off")
"""


def run(kilobytes="unlimited", **variables):
  """What the script prints, its one line of warning first."""
  env = {**os.environ, "JAX_PLATFORMS": "cpu", **variables}
  limit = f'ulimit -f {kilobytes}; exec "$@"'
  done = subprocess.run(
    ["bash", "-c", limit, "bash", sys.executable, "-c", SCRIPT],
    env=env,
    capture_output=True,
    text=True,
    check=True,
    timeout=60,
  )
  assert done.stderr.count("\n") <= 1, done.stderr
  return (done.stderr + done.stdout).strip()


def test_programs_are_kept_in_the_users_cache(tmp_path):
  where = run(XDG_CACHE_HOME=str(tmp_path))
  assert where.startswith(str(tmp_path / "sigma_jax"))
  assert list((tmp_path / "sigma_jax").rglob("*-cache"))


def test_the_users_own_choice_is_kept(tmp_path):
  chosen = tmp_path / "chosen"
  where = run(
    XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=str(chosen)
  )
  assert where == str(chosen)
  assert list(chosen.rglob("*-cache"))
  assert not (tmp_path / "sigma_jax").exists()
  assert run(JAX_COMPILATION_CACHE_DIR="") == "off"


def test_processors_do_not_share_programs(monkeypatch):
  mine = compile_cache.folder()
  monkeypatch.setattr(compile_cache, "_features", lambda: "flags : avx")
  assert compile_cache.folder() != mine
  assert compile_cache.folder().parent == mine.parent


def test_half_a_program_is_not_kept(tmp_path):
  """JAX writes none where there is one, and would warn at every start."""
  where = {"XDG_CACHE_HOME": str(tmp_path)}
  assert "warning" not in run(**where)
  (program,) = tmp_path.rglob("jit__lambda*-cache")
  whole = program.read_bytes()
  program.write_bytes(whole[:100])  # as a kill leaves it
  assert run(**where).startswith("warning: reading compiled programs in ")
  assert len(program.read_bytes()) > 100
  assert "warning" not in run(**where)
  program.unlink()
  found = run(1, **where)
  assert found.startswith("warning: writing compiled programs in ")
  assert "File too large): they are compiled again\n" in found
  assert not program.exists()
