"""200 damaged files through the whole pipeline: none crashes, none is lost."""

import faulthandler
import json
import sys
import time

import numpy as np
import pytest

from sigma_jax import settings
from sigma_jax.data import pipeline, sources
from sigma_jax.data.bad_files import BadFiles
from sigma_jax.data.video import decode

COUNT = 200
TIMEOUT = 5.0  # seconds a file
ORIGINALS = (
  (".mp4", {"gop": 12}),
  (".mp4", {"gop": 12, "muxer": {"movflags": "faststart"}}),
  (".mkv", {"bf": "2"}),
  (".avi", {"codec": "mpeg4"}),
  (".webm", {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"}),
)


def flip_bits(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """1 to 200 bits, anywhere."""
  places = rng.integers(len(data), size=rng.choice([1, 10, 200]))
  np.bitwise_xor.at(data, places, np.uint8(1) << rng.integers(8, dtype="u1"))
  return data


def truncate(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Loses the end."""
  return data[: rng.integers(len(data))]


def zero_run(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """A block that was never written."""
  begin, length = rng.integers(len(data)), rng.choice([16, 512, 4096])
  data[begin : begin + length] = 0
  return data


def swap_blocks(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Two blocks in each other's place."""
  size = min(int(rng.choice([64, 512, 4096])), len(data) // 4)
  first, second = rng.choice(len(data) // size, 2, replace=False) * size
  block = data[first : first + size].copy()
  data[first : first + size] = data[second : second + size]
  data[second : second + size] = block
  return data


def absurd_header(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """A number among the first or last 600 bytes becomes huge."""
  place = int(rng.integers(8, 600)) * int(rng.choice([1, -1]))
  place = min(max(place % len(data), 0), len(data) - 4)
  value = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x40"])
  data[place : place + len(value)] = list(value)
  return data


MUTATIONS = (flip_bits, truncate, zero_run, swap_blocks, absurd_header)


def mutate(content: bytes, seed: int) -> bytes:
  """One mutation, which the seed picks in turn."""
  rng = np.random.default_rng(seed)
  data = np.frombuffer(content, np.uint8).copy()
  return MUTATIONS[seed % len(MUTATIONS)](data, rng).tobytes()


@pytest.fixture(scope="module")
def damaged(write_video, tmp_path_factory):
  """A manifest of every original and its mutations; labels are rows."""
  folder = tmp_path_factory.mktemp("damaged")
  names = []
  for number, (suffix, options) in enumerate(ORIGINALS):
    path = folder / f"original{number}{suffix}"
    write_video(path, frames=20, height=64, width=80, **options)
    content = path.read_bytes()
    names.append(path.name)
    for seed in range(number, COUNT, len(ORIGINALS)):
      # Each original meets each mutation: the seeds of one share a residue.
      path = folder / f"{seed}{suffix}"
      path.write_bytes(mutate(content, seed // len(ORIGINALS)))
      names.append(path.name)
  manifest = folder / "all.txt"
  lines = [f"{name} {row}\n" for row, name in enumerate(names)]
  manifest.write_text("".join(lines))
  return sources.load(str(manifest))


def outcomes(source, workdir):
  """Whether each row is valid, its pixels' hash, and the account of the run."""
  wanted = settings.Settings(
    data=settings.Data(
      num_frames=4, stride=4, size=32, workers=2, file_timeout=TIMEOUT
    ),
    model=settings.Model(patch=16),
  )
  bad = BadFiles(str(workdir), 1.0, source.files)
  found = {}
  with pipeline.eval_batches(
    wanted, source, batch_size=5, on_bad=bad.report, on_tried=bad.tried
  ) as batches:
    for batch in batches:
      for row, valid, video in zip(
        batch["index"], batch["valid"], batch["video"], strict=True
      ):
        found[int(row)] = (bool(valid), hash(video.tobytes()))
  return found, bad


def test_every_damaged_file_is_read_or_reported(damaged, tmp_path):
  # A hang ends the tests.
  faulthandler.dump_traceback_later(150, exit=True, file=sys.__stderr__)
  start = time.monotonic()
  found, bad = outcomes(damaged, tmp_path / "first")
  again, _ = outcomes(damaged, tmp_path / "second")
  faulthandler.cancel_dump_traceback_later()
  assert time.monotonic() - start < 100
  found.pop(-1, None), again.pop(-1, None)  # padding
  assert found == again
  assert sorted(found) == list(range(len(damaged))) and len(damaged) == 205
  invalid = {damaged.files[row] for row in found if not found[row][0]}
  lists = []
  for name in ("first", "second"):
    lines = (tmp_path / name / "bad_files.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    lists.append({entry["file"]: entry["reason"] for entry in entries})
    assert len(entries) == len(lists[-1])
  assert lists[0] == lists[1] and lists[0].keys() == invalid
  assert all(reason and "\n" not in reason for reason in lists[0].values())
  assert not any("timeout" in reason for reason in lists[0].values())
  assert (bad.num_tried, bad.num_bad) == (len(damaged), len(invalid))
  # The originals are good; most mutations are met, and not all of them.
  originals = {path for path in damaged.files if "original" in path}
  assert {p: r for p, r in lists[0].items() if p in originals} == {}
  assert 0.3 * COUNT < len(invalid) < 0.95 * COUNT


def test_mutations_change_something_and_can_be_repeated():
  content = np.random.default_rng(0).bytes(20_000)
  for seed in range(3 * len(MUTATIONS)):
    changed = mutate(content, seed)
    assert changed != content and changed == mutate(content, seed)


@pytest.mark.parametrize("size", [(65535, 65535), (40000, 40000), (0, 64)])
def test_a_header_of_absurd_size(size, write_video, tmp_path):
  """An MP4's sample description holds width and height after `avc1`."""
  path = tmp_path / "video.mp4"
  write_video(path, width=64, height=48)
  data = bytearray(path.read_bytes())
  for name, offset, scale in ((b"avc1", 28, 1), (b"tkhd", 80, 65536)):
    place = data.find(name) + offset
    step = 2 if scale == 1 else 4
    for value in size:
      number = min(value * scale, 2 ** (8 * step) - 1)
      data[place : place + step] = number.to_bytes(step, "big")
      place += step
  path.write_bytes(data)
  start = time.monotonic()
  # What counts is what is decoded: x264's own header still says 64 x 48.
  try:
    info = decode.probe(str(path), TIMEOUT)
    assert (info.width, info.height) == (64, 48)
  except decode.DecodeError as error:
    assert "absurd size" in error.reason
  assert time.monotonic() - start < TIMEOUT
