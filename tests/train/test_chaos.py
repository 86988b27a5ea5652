"""A minute of random kills: the end is that of an undisturbed run."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import chaos


def test_a_tormented_run_ends_bitwise_as_an_undisturbed_one(tmp_path):
  seed = time.time_ns() % 2**32
  print(f"seed {seed}")
  found = chaos.torment(60, tmp_path, seed)
  print(found)
  assert found["different"] == []
  kills = ("one killed", "both killed", "SIGTERM", "cut")
  assert sum(found.get(kind, 0) for kind in kills) >= 3
  assert found["resumes"] >= 1
