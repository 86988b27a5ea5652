"""Images as still clips."""

import numpy as np
import PIL.Image
import pytest

from sigma_jax.data import sources
from sigma_jax.data.video import stills
from sigma_jax.data.video.containers import DecodeError


@pytest.fixture
def photo(tmp_path):
  """A 20 x 12 image and its pixels."""
  pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
  PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
  return str(tmp_path / "a.png"), pixels


def test_a_clip_repeats_the_image(photo):
  path, pixels = photo
  with stills.Still(path) as still:
    assert still.num_frames == 1
    clip = still.read(np.zeros(4, int))
    np.testing.assert_array_equal(clip, np.stack([pixels] * 4))
    seen = []
    clip = still.read(
      np.zeros(4, int), lambda w, h: seen.append((w, h)) or (5, 1, 10, 10), 10
    )
    assert seen == [(20, 12)]
    np.testing.assert_array_equal(clip[3], pixels[1:11, 5:15])


def test_a_manifest_may_list_images(photo, tmp_path):
  (tmp_path / "list.txt").write_text("a.png 3\n")
  rows = sources.load(str(tmp_path / "list.txt"))
  with rows.open(0, 1.0) as video:
    assert (video.read(np.array([0]))[0] == photo[1]).all()


def test_exif_orientation_is_obeyed(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
  exif = PIL.Image.Exif()
  exif[0x0112] = 6  # turn by 90 degrees clockwise
  image = PIL.Image.fromarray(pixels)
  image.save(tmp_path / "turned.png", exif=exif)
  with stills.Still(str(tmp_path / "turned.png")) as still:
    np.testing.assert_array_equal(
      still.read(np.array([0]))[0], np.rot90(pixels, -1)
    )


def test_every_kind_of_image_becomes_rgb(photo, tmp_path):
  image = PIL.Image.fromarray(photo[1])
  grey = np.asarray(image.convert("L"))
  fine = grey.astype(np.uint16) * 256 + 99
  palette = image.quantize(16)
  colours = np.asarray(palette.convert("RGB"))
  kinds = {
    "grey.png": (image.convert("L"), grey[..., None], {}),
    "alpha.png": (image.convert("RGBA"), photo[1], {}),
    "fine.png": (PIL.Image.fromarray(fine), grey[..., None], {}),
    "palette.png": (palette, colours, {}),
    "clear.png": (palette, colours, {"transparency": bytes([0, 128, 255])}),
    "two.png": (
      image.convert("1"),
      np.asarray(image.convert("1"))[..., None] * 255,
      {},
    ),
    "print.jpg": (image.convert("CMYK"), None, {"quality": 95}),
    "grey.webp": (image.convert("L"), grey[..., None], {"lossless": True}),
  }
  for name, (kind, pixels, options) in kinds.items():
    kind.save(tmp_path / name, **options)
    with stills.Still(str(tmp_path / name)) as still:
      found = still.read(np.array([0]))[0]
    assert found.shape == (12, 20, 3) and found.dtype == np.uint8
    if pixels is None:  # compressed; ink, not light, and never inverted
      assert np.abs(found.astype(int) - photo[1]).mean() < 5, name
    else:
      np.testing.assert_array_equal(
        found, np.broadcast_to(pixels, found.shape), err_msg=name
      )


def test_pixels_of_unknown_range_are_refused(tmp_path):
  path = tmp_path / "heights.png"  # a TIFF by content: Pillow looks there
  PIL.Image.fromarray(np.ones((4, 4), np.float32)).save(path, format="TIFF")
  with pytest.raises(DecodeError, match="mode F have no known range"):
    stills.Still(str(path))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0"])
def test_a_damaged_image_is_a_decode_error(tmp_path, content):
  path = tmp_path / "bad.png"
  path.write_bytes(content)
  with pytest.raises(DecodeError, match=r"bad\.png: "):
    stills.Still(str(path))


def test_a_second_frame_is_not_there(photo):
  with (
    stills.Still(photo[0]) as still,
    pytest.raises(DecodeError, match="frame 1 wanted of 1"),
  ):
    still.read(np.array([0, 1]))
