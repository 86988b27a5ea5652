"""Freed memory goes back while clips are read."""

import pathlib
import platform

import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.data import memory, pipeline, sources


def resident():
  pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
  return int(pages) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_freed_memory_goes_back():
  blocks = [bytes(8000) for _ in range(20_000)]  # 160 MB
  kept = blocks[::100]
  del blocks
  before = resident()
  memory.give_back()
  assert before - resident() > 80e6 and len(kept) == 200


def test_the_pipeline_gives_memory_back_now_and_then(video_folder, monkeypatch):
  calls = []
  monkeypatch.setattr(memory, "give_back", lambda: calls.append(1))
  monkeypatch.setattr(pipeline, "_CLEAN_EVERY", 5)
  settings = settings_lib.Settings(
    data=settings_lib.Data(num_frames=4, stride=1, size=16, workers=1),
    model=settings_lib.Model(patch=4),
  )
  with pipeline.eval_batches(
    settings,
    sources.load(str(video_folder / "train.txt")),
    batch_size=13,
    on_bad=print,
  ) as batches:
    assert len(list(batches)) == 1
  assert len(calls) == 2  # of 13
