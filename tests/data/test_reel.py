"""Videos read once from end to end: the frames of clips, none held, none twice.

What is right is `Clip`, whose frames other tests hold against plain decoding.
"""

import collections

import numpy as np
import pytest

from sigma_jax.data import crops, passes, sources
from sigma_jax.data.video import containers, decoder, index, pairing, reel
from sigma_jax.data.video.decode import Clip, DecodeError
from tests.data import random_videos

TIMEOUT = 30.0


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
  """Nothing is known of a file from an earlier opening."""
  monkeypatch.setattr(index, "recall", lambda key: None)


@pytest.fixture
def decoded(monkeypatch):
  """Packet number of every frame that a decoder has given."""
  found, frames_of = collections.Counter(), decoder.frames_of

  def counting(context, packet):
    frames = frames_of(context, packet)
    found.update(frame.pts for frame in frames or ())
    return frames

  monkeypatch.setattr(decoder, "frames_of", counting)
  return found


def of_clip(path, places) -> tuple[np.ndarray, np.ndarray]:
  with Clip(str(path), TIMEOUT) as clip:
    frames = clip.read(places, crops.square, 24)
    every = np.arange(clip.num_frames)
    clip.read(every, crops.square, 24)  # times are known of what was read
    return frames, clip.times(every)


def of_reel(path, groups) -> tuple[np.ndarray, np.ndarray]:
  with reel.Reel(str(path), TIMEOUT) as video:
    frames = list(video.read(groups, crops.square, 24))
    assert list(map(len, frames)) == list(map(len, groups))
    return np.concatenate(frames), video.times


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5, 6, 7, 8, 95, 424])
def test_any_video_gives_the_frames_and_times_of_clips(seed, tmp_path):
  video = random_videos.Video(tmp_path, seed)
  try:
    with Clip(video.path, TIMEOUT) as clip:
      count = clip.num_frames
  except DecodeError as error:
    with pytest.raises(DecodeError) as caught:
      reel.Reel(video.path, TIMEOUT)
    assert caught.value.reason == error.reason
    return
  rng = np.random.default_rng(seed)
  some = np.flatnonzero(rng.random(count) < 0.3)
  for places in (np.arange(count), some):
    if len(places):
      wanted, times = of_clip(video.path, places)
      groups = np.array_split(places, min(3, len(places)))
      found, found_times = of_reel(video.path, groups)
      np.testing.assert_array_equal(found, wanted, err_msg=video.kind)
      np.testing.assert_array_equal(found_times, times)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_every_frame_is_decoded_once(suffix, write_video, tmp_path, decoded):
  path = write_video(tmp_path / f"a.{suffix}", frames=100, bf="2")
  places = np.arange(100)
  of_reel(path, np.array_split(places, 7))
  assert len(decoded) == 100 and set(decoded.values()) == {1}
  # Far apart, only groups of pictures that hold one: twelve frames each.
  decoded.clear()
  frames, _ = of_reel(path, [np.array([3]), np.array([50, 52])])
  assert sum(decoded.values()) <= 8 + 16
  np.testing.assert_array_equal(frames, of_clip(path, [3, 50, 52])[0])


def test_packets_are_not_held(write_video, tmp_path, monkeypatch):
  """A file larger than what may be held, of which blocks are small."""
  path = write_video(tmp_path / "a.mkv", frames=60)
  wanted, _ = of_clip(path, np.arange(60))
  sizes, blocks_of = [], pairing.blocks_of

  def watched(packets):
    sizes.append(len(packets))
    return blocks_of(packets)

  monkeypatch.setattr(containers, "_MAX_BYTES", 1000)
  monkeypatch.setattr(reel, "_BLOCK_BYTES", 1000)
  monkeypatch.setattr(reel.pairing, "blocks_of", watched)
  with pytest.raises(DecodeError, match="larger than"):
    Clip(path, TIMEOUT)
  with reel.Reel(path, TIMEOUT) as video:
    assert len(sizes) > 3 and sum(sizes) == 60
    assert not any(hasattr(head, "size") for head in video._heads.read)
    (frames,) = video.read([np.arange(60)], crops.square, 24)
  np.testing.assert_array_equal(frames, wanted)


def test_a_stretch_that_does_not_stand_alone_is_read_from_the_start(
  write_video, tmp_path, monkeypatch
):
  """As some streams' key frames: the decoder gives none of what follows."""
  path = write_video(tmp_path / "a.mp4", frames=40)
  wanted, _ = of_clip(path, [2, 20, 30])
  of = decoder.Decoder.of

  def lame(self, packets, keys):
    for key, frame in of(self, packets, keys):
      if key < 12:
        yield key, frame

  monkeypatch.setattr(decoder.Decoder, "of", lame)
  groups = [np.array([2]), np.array([20, 30])]
  np.testing.assert_array_equal(of_reel(path, groups)[0], wanted)


def test_what_cannot_be_read_has_one_line(write_video, tmp_path):
  path = write_video(tmp_path / "a.mp4", frames=60)
  data = (tmp_path / "a.mp4").read_bytes()
  (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
  (tmp_path / "empty.mp4").touch()
  (tmp_path / "text.mp4").write_text("none" * 99)
  for name, why in (
    ("none", "missing file"),
    ("empty", "empty file"),
    ("text", "not a readable video"),
    ("cut", "(not a readable video|truncated)"),
  ):
    with pytest.raises(DecodeError, match=why):
      reel.Reel(str(tmp_path / f"{name}.mp4"), TIMEOUT)
  with reel.Reel(path, TIMEOUT) as video, pytest.raises(DecodeError):
    video._allowed = -1.0
    next(video.read([np.arange(60)], crops.square, 24))


def test_images_are_passes_too(tmp_path):
  import PIL.Image

  PIL.Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(
    tmp_path / "a.png"
  )
  (tmp_path / "list.txt").write_text("a.png 0\n")
  rows = sources.load(str(tmp_path / "list.txt"))
  with passes.opened(rows, 0, TIMEOUT) as video:
    assert video.num_frames == 1 and video.times.tolist() == [0]
    (frames,) = video.read([np.array([0])], crops.square, 16)
  with rows.open(0, TIMEOUT) as still:
    np.testing.assert_array_equal(frames, still.read([0], crops.square, 16))
