"""A full disk ends a command in one line, and no file is left half written.

A limit on the size of files stands for it: the system then refuses to write,
with another number than a full disk and in the same places.
"""

import contextlib
import errno
import os
import pathlib
import resource
import subprocess
import sys

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from sigma_jax import errors, features, files, full_disk
from sigma_jax.interop import __main__ as interop
from sigma_jax.interop import store
from sigma_jax.models import sigma
from sigma_jax.train import checkpoint, metrics, stored, write_faults
from sigma_jax.train import workdir as workdir_lib

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_programs_kept(monkeypatch):
  """tests/test_compile_cache.py has what JAX does there.

  Tests before these may have switched the cache on for their whole process: a
  program that does not fit would be the first error here, and its half one in
  whatever test comes next.
  """
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
  before = jax.config.jax_enable_compilation_cache
  jax.config.update("jax_enable_compilation_cache", False)
  compilation_cache.reset_cache()  # JAX asks once a process
  yield
  jax.config.update("jax_enable_compilation_cache", before)
  compilation_cache.reset_cache()


@contextlib.contextmanager
def full(limit):
  """No file of this process becomes larger than so many bytes."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run(command, kilobytes=None):
  """A program; with a limit, one whose files cannot be larger."""
  if kilobytes:
    limit = f'ulimit -f {kilobytes}; exec "$@"'
    command = ["bash", "-c", limit, "bash", *command]
  more = {
    "JAX_COMPILATION_CACHE_DIR": "",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  }
  return subprocess.run(
    command,
    cwd=ROOT,
    env=os.environ | more,
    capture_output=True,
    text=True,
    timeout=240,
  )


def one_line(text, *words):
  told = "clips, ", " columns: "  # how far it is, what a list was taken for
  lines = [x for x in text.splitlines() if not any(word in x for word in told)]
  assert len(lines) == 1 and lines[0].startswith("error: "), text
  for word in (*words, "File too large", "make room", "the same command"):
    assert word in lines[0]
  assert len(lines[0]) < 400


def names(folder):
  return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def wrapped(inner):
  error = RuntimeError("a task of writing failed")
  error.__cause__ = inner
  return error


@pytest.mark.parametrize(
  ("error", "reason"),
  [
    (OSError(errno.ENOSPC, "x"), "No space left on device"),
    (OSError(errno.EDQUOT, "x"), "Disk quota exceeded"),
    (
      ValueError(
        'RESOURCE_EXHAUSTED: Error writing local file "a": Failed to write 11 '
        "bytes to file 9: ... [os_error_code='28']"
      ),
      "No space left on device",
    ),
    (Exception("serializing: I/O error: ... (os error 27)"), "File too large"),
    (
      RuntimeError("write() failed: No space left on device; writing z"),
      "No space left on device",
    ),
    (wrapped(OSError(errno.EFBIG, "x")), "File too large"),
    (OSError(errno.EIO, "Input/output error"), ""),
    (ValueError("RESOURCE_EXHAUSTED: out of memory [os_error_code='12']"), ""),
    (None, ""),
  ],
)
def test_a_full_disk_is_told_from_other_errors(error, reason):
  assert full_disk.reason(error) == reason
  if error is not None:
    assert bool(full_disk.line(error)) == bool(reason)


def test_an_error_names_the_file_that_is_written(tmp_path):
  for problem in (
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("No space left on device"),
  ):

    def fail(out, problem=problem):
      out.write(b"half")
      raise problem

    with pytest.raises(OSError, match=r"\[Errno 28\] No space.*/a'") as caught:
      files.write_whole(tmp_path / "a", fail)
    assert f"no room for {tmp_path}/a (" in full_disk.line(caught.value)
  with pytest.raises(RuntimeError, match=r"^other$"), full_disk.naming("a"):
    raise RuntimeError("other")
  assert names(tmp_path) == []


def test_a_run_ends_in_one_line_and_resumes(toy_command, tmp_path):
  """The arrays of its first checkpoint do not fit; smaller files do."""
  workdir = tmp_path / "run"
  command = toy_command(
    workdir,
    *("--config.train.steps=4", "--config.train.log_every=1"),
    "--config.train.checkpoint_every=2",
  )
  done = run(command, kilobytes=16)
  assert done.returncode == 1, done.stderr
  one_line(done.stderr, f"written to {workdir}/checkpoints (", "one: none")
  # Where it was noticed depends on the speed; nothing was written twice.
  rows = [row["step"] for row in metrics.read(workdir)]
  assert rows == list(range(1, len(rows) + 1)) and len(rows) >= 2
  done = run(command)
  assert done.returncode == 0 and not done.stderr, done.stderr
  assert [row["step"] for row in metrics.read(workdir)] == [1, 2, 3, 4]
  assert {p.name for p in (workdir / "checkpoints").iterdir()} == {"2", "4"}


def test_numbers_and_curves_of_a_run(tmp_path):
  curves = metrics._tensorboard(tmp_path / "none")
  if curves is None:
    pytest.skip("TensorFlow writes the curves")
  curves.close()
  for limit, name in ((1, metrics.JSONL), (100, "tensorboard")):
    writer = metrics.Writer(tmp_path / name)
    with full(limit):
      with pytest.raises(OSError, match=f"File too large.*{name}") as caught:
        writer.write(1, {"loss": 1.0})
        writer.close()  # curves are written by a thread
      assert f"{tmp_path / name}/{name} (" in full_disk.line(caught.value)
      with contextlib.suppress(OSError):
        writer.close()


@pytest.fixture(scope="module", name="trained")
def trained_fixture(tiny, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("trained")
  params = sigma.init_params(tiny, jax.random.key(0))
  checkpoint.write_params(workdir, tiny, params)
  return workdir


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_features(suffix, trained, toy_clips, tmp_path, capsys):
  out = tmp_path / f"f.{suffix}"
  argv = [f"--init={trained}", f"--manifest={toy_clips / 'val.csv'}"]
  argv += [f"--out={out}", "--part-size=6"]
  # Two parts of 1.6 kB, or the parquet of 3 kB.
  for limit, file in ((1000, f"{out}.parts/part-000000.npz"), (2400, out)):
    with full(limit):
      assert features.main(argv) == 1
    one_line(capsys.readouterr().err, f"no room for {file} (")
    assert not out.exists() and not list(tmp_path.rglob("*.tmp"))
  assert features.main(argv) == 0
  assert "12 x 32 features" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["pth", "hf"])
def test_exports(kind, trained, tmp_path, capsys):
  out = tmp_path / ("x.pth" if kind == "pth" else "x")
  argv = ["export", str(trained), str(out), f"--format={kind}"]
  with full(4096):
    assert interop.main(argv) == 1
  file = out if kind == "pth" else out / "model.safetensors"
  one_line(capsys.readouterr().err, f"no room for {file} (")
  assert names(tmp_path) == ([] if kind == "pth" else ["x"])
  assert interop.main(argv) == 0


@pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning",
)
def test_an_import_is_done_again(trained, tmp_path, capsys):
  model, into = store.read(trained), tmp_path / "run"
  store.export(model, tmp_path / "x", "hf", lambda line: None)
  argv = ["import", str(tmp_path / "x"), str(into)]
  with full(4096):
    assert interop.main(argv) == 1
  text = capsys.readouterr().err
  one_line(text, f"written to {into}/checkpoints (", "one: none")
  assert interop.main(argv) == 0
  assert workdir_lib.read_config(into).model.encoder_dim == 32


def test_a_checkpoint_that_moves_while_the_folder_is_listed(
  trained, monkeypatch
):
  """Orbax looks twice at each: a thread of its own may have renamed it."""
  look, looks = stored.ocp.path.step.checkpoint_steps, []

  def meanwhile(folder):
    looks.append(folder)
    if len(looks) < 3:
      raise ValueError(f"Path {folder}/0 does not exist.")
    return look(folder)

  monkeypatch.setattr(stored.ocp.path.step, "checkpoint_steps", meanwhile)
  folder = workdir_lib.checkpoints(trained)
  with (
    pytest.raises(errors.RunStopped, match="complete one: step 0; make room"),
    write_faults.of_checkpoints(folder),
  ):
    raise OSError(errno.ENOSPC, "No space left on device")
  assert len(looks) == 3


def test_what_is_known_of_the_folder_hides_no_error(tmp_path, monkeypatch):
  def broken(folder):
    raise RuntimeWarning("of a library")

  monkeypatch.setattr(stored, "steps", broken)
  with (
    pytest.raises(errors.RunStopped, match=r"No space left.*one: none"),
    write_faults.of_checkpoints(tmp_path),
  ):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_records(toy_clips, tmp_path):
  out = tmp_path / "records"
  command = [sys.executable, "-m", "sigma_jax.data.prepare", f"--out={out}"]
  command += [f"--manifest={toy_clips / 'val.csv'}", "--workers=1"]
  done = run(command, kilobytes=16)
  assert done.returncode == 1, done.stderr
  shard = "videos-train.array_record-00000-of-00012"
  one_line(done.stderr, f"no room for {out / shard} (")
  assert set(names(out)) == {"prepare.json", "progress", "rejected.jsonl"}
  done = run(command)
  assert done.returncode == 0, done.stderr
  assert '"videos": 12' in done.stdout
