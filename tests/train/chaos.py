"""Kills a run of two processes at random, again and again, until time is up.

python tests/train/chaos.py --seconds=900

Mischief: SIGKILL to one process (its launcher then ends the other), SIGKILL to
both, SIGTERM to both, and a newest checkpoint cut in half between two starts.
In the end the run is left alone until it is done, and its whole state is
compared, bit by bit, with that of a run that nobody disturbed.
"""

import argparse
import collections
import json
import pathlib
import random
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import hosts as hosts_lib

from sigma_jax import settings as settings_lib

_LONGEST_LIFE = 12.0  # seconds before a run is killed
_LEAST = 3  # interruptions, however slow the machine
_FIRST_SAVE = 300.0  # seconds that a machine may take to it
_PAUSE = 0.2  # seconds a batch: no machine is done within a few lives


def small(steps: int) -> settings_lib.Settings:
  """A model of a few thousand parameters, saved every five steps."""
  tree = settings_lib.Settings().to_dict()
  tree["data"] |= {"num_frames": 4, "size": 16}
  tree["model"] |= {"patch": 4, "encoder_dim": 32, "encoder_depth": 2}
  tree["model"] |= {"encoder_heads": 2, "decoder_dim": 16, "decoder_depth": 1}
  tree["model"] |= {"decoder_heads": 2}
  tree["masking"] |= {"ratio": 0.75}
  tree["target"] |= {"hidden": [24], "dim": 16}
  tree["loss"] |= {"num_prototypes": 12}
  tree["train"] |= {"batch_size": 8, "steps": steps, "checkpoint_every": 5}
  tree["train"] |= {"log_every": 5, "keep": 3}
  tree["optimizer"] |= {"warmup_epochs": 0.0, "base_lr": 1e-2}
  return settings_lib.Settings.from_config(tree)


def torment(seconds: float, folder: pathlib.Path, seed: int) -> dict:
  """Runs the whole test.

  The first run lives until it has saved something, so that there is always
  something to resume from: on a slow machine a start alone can take as long as
  the lives drawn for the others.

  Returns:
    Counts of each mischief, of resumes and of damaged checkpoints, and
    `different`: arrays of the final state that differ.
  """
  draw = random.Random(seed)
  settings = small(steps=max(round(2 * seconds), 60))
  workdir, log = folder / "chaos", folder / "chaos.log"
  counts: collections.Counter = collections.Counter()
  end = time.monotonic() + seconds
  while time.monotonic() < end or sum(counts.values()) < _LEAST:
    hosts = hosts_lib.Hosts(2, 1, settings, workdir, log, pause=_PAUSE)
    if not _steps(workdir):
      _wait(hosts, _FIRST_SAVE, until=lambda: _steps(workdir))
    else:
      _wait(hosts, draw.uniform(0, _LONGEST_LIFE))
    if _ended(hosts):
      break
    kind = draw.choice(("one killed", "both killed", "SIGTERM", "cut"))
    counts[kind] += 1
    if kind == "SIGTERM":
      hosts.send(signal.SIGTERM)
      _wait(hosts, 30)
    elif kind == "one killed":
      hosts.send(signal.SIGKILL, draw.randrange(2))
      _wait(hosts, 1)
    hosts.kill()
    if kind == "cut":
      _cut(workdir)
  hosts = hosts_lib.Hosts(2, 1, settings, workdir, log)
  codes = hosts.wait(600)
  text = hosts.log()
  assert codes == [0, 0], text
  counts["resumes"] = text.count("resuming after step")
  counts["damaged checkpoints"] = text.count("is damaged")
  quiet = hosts_lib.Hosts(2, 1, settings, folder / "quiet", folder / "log")
  assert quiet.wait(600) == [0, 0], quiet.log()
  found, wanted = (_sums(folder / name) for name in ("chaos", "quiet"))
  different = [name for name in wanted if found.get(name) != wanted[name]]
  return dict(counts) | {"steps": settings.train.steps, "different": different}


def _ended(hosts) -> bool:
  return all(process.poll() is not None for process in hosts.processes)


def _wait(hosts, seconds: float, until=lambda: False) -> None:
  end = time.monotonic() + seconds
  while time.monotonic() < end and not _ended(hosts) and not until():
    time.sleep(0.05)


def _steps(workdir: pathlib.Path) -> list[pathlib.Path]:
  folder = workdir / "checkpoints"
  found = folder.iterdir() if folder.exists() else ()
  return sorted(
    (p for p in found if p.name.isdigit()), key=lambda p: int(p.name)
  )


def _cut(workdir: pathlib.Path) -> None:
  """Halves the largest file of the newest of several checkpoints."""
  steps = _steps(workdir)
  if len(steps) > 1:
    files = [f for f in (steps[-1] / "default").rglob("*") if f.is_file()]
    largest = max(files, key=lambda f: f.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def _sums(workdir: pathlib.Path) -> dict[str, int]:
  """A hash of every array of the newest checkpoint, as saved beside it."""
  newest = _steps(workdir)[-1]
  return json.loads((newest / "checksums" / "metadata").read_text())


def main() -> int:
  """0: the final states are the same."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--seconds", type=float, default=900)
  parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
  args = parser.parse_args()
  print(f"seed {args.seed}", flush=True)
  with tempfile.TemporaryDirectory() as folder:
    found = torment(args.seconds, pathlib.Path(folder), args.seed)
  print(json.dumps(found))
  return 1 if found["different"] else 0


if __name__ == "__main__":
  sys.exit(main())
