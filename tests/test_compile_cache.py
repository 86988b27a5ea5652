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


def run(**variables):
  env = {**os.environ, "JAX_PLATFORMS": "cpu", **variables}
  done = subprocess.run(
    [sys.executable, "-c", SCRIPT],
    env=env,
    capture_output=True,
    text=True,
    check=True,
    timeout=60,
  )
  return done.stdout.strip()


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
