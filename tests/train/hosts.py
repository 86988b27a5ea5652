"""Starts the processes of a run, and ends them."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
HOST = pathlib.Path(__file__).with_name("host.py")


class Hosts:
  """`count` processes of host.py with `devices` simulated devices each."""

  def __init__(self, count, devices, settings, workdir, log, **options):
    self.logs = [pathlib.Path(f"{log}.{i}") for i in range(count)]
    where = f"localhost:{free_port()},{count}"
    self.processes = []
    for i, path in enumerate(self.logs):
      how = f"{where},{i}" if count > 1 else "none"
      common = {"how": how, "devices": devices, "workdir": str(workdir)}
      values = common | {"settings": settings.to_dict()} | options
      with path.open("a") as file:
        self.processes.append(
          subprocess.Popen(
            [sys.executable, str(HOST), json.dumps(values)],
            cwd=ROOT,
            env=environment(),
            stdout=file,
            stderr=file,
          )
        )

  def wait(self, seconds=180) -> list[int]:
    """Exit codes; whoever is late is killed, and the test fails."""
    try:
      return [process.wait(seconds) for process in self.processes]
    finally:
      self.kill()

  def send(self, number, which=None) -> None:
    """A signal to one process, or to all that live."""
    for i, process in enumerate(self.processes):
      if which in (None, i) and process.poll() is None:
        process.send_signal(number)

  def kill(self) -> None:
    """SIGKILL for all that live."""
    self.send(signal.SIGKILL)
    for process in self.processes:
      process.wait()

  def log(self) -> str:
    """What all of them printed."""
    return "\n".join(path.read_text() for path in self.logs)


def environment() -> dict[str, str]:
  """Fast to compile rather than fast to run, on CPU, importing this tree."""
  found = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "PYTHONPATH": str(ROOT),
  }
  flags = os.environ.get("SIGMA_JAX_TEST_FLAGS")  # of tests/conftest.py
  return found | {"XLA_FLAGS": flags} if flags else found


def free_port() -> int:
  """A port that nobody listens at."""
  with socket.socket() as found:
    found.bind(("localhost", 0))
    return found.getsockname()[1]
