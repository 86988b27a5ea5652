"""Clips of sequences with their masks, from folders made here."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from sigma_jax import errors, settings
from sigma_jax.data.annotations import annotated, sequences
from sigma_jax.data.toy import sequences as toy_sequences


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Six frames of 40 x 24 px, frame i of grey 20 i; masks of all but 1."""
  root = tmp_path_factory.mktemp("davis")
  frames, masks = root / "JPEGImages" / "dog", root / "Annotations" / "dog"
  frames.mkdir(parents=True)
  masks.mkdir(parents=True)
  for i in range(6):
    grey = np.full((24, 40, 3), 20 * i, np.uint8)
    Image.fromarray(grey).save(frames / f"{i:05d}.jpg")
    ids = np.zeros((24, 40), np.uint8)
    ids[12:, 20:] = i + 1
    if i != 1:
      Image.fromarray(ids).save(masks / f"{i:05d}.png")
  return root


def read(folder, **data):
  (sequence,) = sequences.load(str(folder))
  return annotated.read(sequence, settings.Data(size=8, **data))


def test_frames_and_masks_of_the_annotated_frames(folder):
  clip = read(folder, num_frames=5, sampling="segments")
  assert clip.video.shape == (5, 8, 8, 3) and clip.video.dtype == np.uint8
  assert np.abs(clip.video[:, 4, 4, 0] - [0.0, 40, 60, 80, 100]).max() <= 2
  quarter = np.zeros((8, 8), bool)
  quarter[4:, 4:] = True  # squeezed to a square, the object stays a quarter
  for mask, label in zip(clip.masks, (1, 3, 4, 5, 6), strict=True):
    np.testing.assert_array_equal(mask, np.where(quarter, label, 0))
  assert clip.distinct.all()


def test_dense_clips_lie_in_the_middle(folder):
  clip = read(folder, num_frames=2, stride=2)
  assert [mask.max() for mask in clip.masks] == [3, 5]


def test_a_frame_that_comes_again_is_said_to(folder):
  clip = read(folder, num_frames=10, sampling="segments")
  assert [mask.max() for mask in clip.masks] == [1, 1, 3, 3, 4, 4, 5, 5, 6, 6]
  np.testing.assert_array_equal(clip.distinct, np.arange(10) % 2 == 0)
  late = read(folder, num_frames=4, stride=3)
  assert list(late.distinct) == [True, True, False, False]


def test_what_cannot_be_read_is_named_in_one_line(folder, tmp_path):
  (whole,) = sequences.load(str(folder))
  data = settings.Data(num_frames=2, size=8)
  bare = dataclasses.replace(whole, masks=(None,) * 6)
  with pytest.raises(errors.UserError, match="sequence dog has no mask"):
    annotated.read(bare, data)
  damaged = tmp_path / "damaged.jpg"
  damaged.write_bytes(b"no jpeg, but long enough to be looked at")
  bad = dataclasses.replace(whole, frames=(str(damaged),) * 6)
  with pytest.raises(errors.UserError, match=r"frame .*damaged\.jpg") as caught:
    annotated.read(bad, data)
  assert "\n" not in str(caught.value)


def test_toy_sequences_are_scenes_of_three_digits(tmp_path):
  assert toy_sequences.main(["--out", str(tmp_path), "--count=2"]) == 0
  first, second = sequences.load(str(tmp_path))
  assert (first.name, second.name) == ("toy-00000", "toy-00001")
  drawn = toy_sequences.draw(0, 1)
  side = toy_sequences.SIDE
  clip = annotated.read(
    second, settings.Data(num_frames=10, stride=1, size=side)
  )
  np.testing.assert_array_equal(clip.masks, drawn.ids)
  error = np.abs(clip.video.astype(int) - drawn.frames)
  assert error.mean() < 2
  for object_id in (1, 2, 3):
    shares = (drawn.ids == object_id).mean((1, 2))
    assert shares.max() > 0.01 and 0 < shares.min() < shares.max()  # it moves
  # Every digit is of one colour of its own, brighter than the ground.
  colours = [
    np.median(drawn.frames[drawn.ids == object_id], 0) for object_id in range(4)
  ]
  assert min(colour.min() for colour in colours[1:]) > 180
  assert colours[0].max() < 140
  assert len({tuple(colour) for colour in colours}) == 4


def test_toy_sequences_need_a_folder(tmp_path, capsys):
  (tmp_path / "file").write_text("")
  assert toy_sequences.main(["--out", str(tmp_path / "file" / "below")]) == 2
  assert capsys.readouterr().err.startswith("error: ")
