"""Resizing against an independent bilinear average."""

import av
import numpy as np
import PIL.Image
import pytest
from av.video.reformatter import VideoReformatter

from sigma_jax import settings as settings_lib
from sigma_jax.data import examples, prepare, sources
from sigma_jax.data.video import transforms


def test_a_box_of_the_right_size_is_copied_exactly():
  video = np.random.default_rng(0).integers(0, 256, (2, 9, 11, 3), np.uint8)
  out = transforms.crop_resize(video, (3, 2, 6, 6), 6)
  np.testing.assert_array_equal(out, video[:, 2:8, 3:9])


def _triangle(size_in, size_out):
  """Rows of antialiased bilinear weights, [size_out, size_in]."""
  scale = size_in / size_out
  support = max(scale, 1.0)
  centres = (np.arange(size_out) + 0.5) * scale - 0.5
  distance = np.abs(np.arange(size_in)[None] - centres[:, None]) / support
  weights = np.maximum(1 - distance, 0)
  return weights / weights.sum(1, keepdims=True)


def test_resizing_is_bilinear_antialiased_and_keeps_colour():
  rng = np.random.default_rng(0)
  video = rng.integers(0, 256, (1, 70, 90, 3), np.uint8)
  for x, y, w, h, size in [(5, 3, 64, 56, 32), (0, 0, 40, 44, 56)]:
    out = transforms.crop_resize(video, (x, y, w, h), size)
    rows, columns = _triangle(h, size), _triangle(w, size)
    crop = video[0, y : y + h, x : x + w].astype(float)
    expected = np.einsum("ih,hwc,jw->ijc", rows, crop, columns)
    assert out.dtype == np.uint8 and out.shape == (1, size, size, 3)
    error = np.abs(out[0] - expected)[2:-2, 2:-2]
    assert error.mean() < 0.5 and error.max() < 6


def line(*values):
  """One clip of two equal rows of grey pixels."""
  return (
    np.asarray(values, np.uint8)[None, None, :, None].repeat(2, 1).repeat(3, 3)
  )


def test_without_antialiasing_by_hand():
  # Centres fall half-way between 0 and 100, and between 200 and 50.
  cut = transforms.crop_resize(line(0, 100, 200, 50), (0, 0, 4, 2), 2, False)
  assert cut[0, 0, :, 0].tolist() == [50, 125]
  # To a quarter: of four pixels the middle two, whatever the others are.
  eight = line(255, 10, 30, 255, 255, 0, 7, 255)
  cut = transforms.crop_resize(eight, (0, 0, 8, 2), 2, False)
  assert cut[0, 0, :, 0].tolist() == [20, 4]  # 3.5 to the even one
  # Enlarged: a quarter and three quarters of the way; borders repeat.
  cut = transforms.crop_resize(line(0, 100), (0, 0, 2, 2), 4, False)
  assert cut[0, 0, :, 0].tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize("box", [(5, 3, 64, 56), (0, 0, 20, 33), (1, 2, 33, 7)])
def test_without_antialiasing_is_pytorchs(box):
  """What the published fine-tuning calls, on float frames."""
  torch = pytest.importorskip("torch", reason="compares with PyTorch")
  video = np.random.default_rng(0).integers(0, 256, (2, 70, 90, 3), np.uint8)
  x, y, w, h = box
  theirs = torch.nn.functional.interpolate(
    torch.tensor(video[:, y : y + h, x : x + w]).permute(0, 3, 1, 2).float(),
    size=(32, 32),
    mode="bilinear",
    align_corners=False,
  )
  theirs = theirs.permute(0, 2, 3, 1).numpy()
  ours = transforms.crop_resize(video, box, 32, False)
  assert np.abs(ours - theirs).max() <= 0.5 + 1e-3
  other = transforms.crop_resize(video, box, 32)
  if w > 40:  # noise that is averaged is another picture
    assert np.abs(other - theirs).mean() > 10


def test_frames_are_cut_without_antialiasing_too():
  frame, _ = yuv_frame(90, 70)
  whole = transforms.to_rgb(frame, VideoReformatter())
  box = (10, 4, 60, 62)
  cutter = transforms.FrameCutter([box], 24, False)
  np.testing.assert_array_equal(
    cutter(frame)[0], transforms.crop_resize(whole[None], box, 24, False)[0]
  )


@pytest.mark.parametrize("kind", ["image", "video", "record"])
def test_the_option_reaches_every_kind_of_file(tmp_path, write_video, kind):
  """Of black and white columns one way makes grey, the other the near ones."""
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[:, ::4] = stripes[:, 3::4] = 255  # white, black, black, white
  path = tmp_path / "a.png"
  PIL.Image.fromarray(stripes).save(path)
  if kind != "image":
    path = tmp_path / "a.mp4"
    frames = [av.VideoFrame.from_ndarray(stripes, "rgb24")] * 2
    with av.open(str(path), "w") as container:
      stream = container.add_stream("libx264", 10, {"qp": "0"})
      stream.width = stream.height = 64
      stream.pix_fmt = "yuv444p"
      for frame in frames:
        container.mux(stream.encode(frame.reformat(format="yuv444p")))
      container.mux(stream.encode(None))
  listed = tmp_path / "list.csv"
  listed.write_text(f"{path} 0\n")
  if kind == "record":
    out = str(tmp_path / "records")
    command = ["--manifest", str(listed), "--out", out, "--workers=1"]
    assert prepare.main(command) == 0
    listed = out
  source = sources.load(str(listed))
  found = {}
  for antialias in (True, False):
    run = settings_lib.Settings(
      data=settings_lib.Data(num_frames=2, size=16, antialias=antialias),
      model=settings_lib.Model(patch=4),
    )
    clips, *_ = examples.Examples(run, source, None).evaluate(0, 1, (1, 1))
    found[antialias] = clips["video"].astype(int)
  assert 110 < found[True].mean() < 145
  assert found[False].mean() < 40


def test_flat_colour_is_kept():
  video = np.full((1, 50, 60, 3), (255, 0, 128), np.uint8)
  out = transforms.crop_resize(video, (0, 0, 50, 50), 24)
  assert np.abs(out.astype(int) - (255, 0, 128)).max() <= 1


# Red and blue in luma: ITU-T H.273, by colorspace; what does not say is 601.
MATRICES = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 9: (0.2627, 0.0593)}


def yuv_frame(width, height, name="yuv420p", colorspace=2, color_range=0):
  """A frame of smoothed noise, and its three planes as float."""
  rng = np.random.default_rng(0)
  frame = av.VideoFrame(width, height, name)
  planes = []
  for number, plane in enumerate(frame.planes):
    noise = rng.uniform(-1, 1, (plane.height, plane.width))
    for axis in (0, 1):
      noise = noise + np.roll(noise, 1, axis)
    middle, reach = ((125, 65), (128, 28))[number > 0]
    planes.append(np.rint(middle + reach * noise / np.abs(noise).max()))
    padded = np.zeros((plane.height, plane.line_size), np.uint8)
    padded[:, : plane.width] = planes[-1]
    plane.update(padded)
  frame.colorspace, frame.color_range = colorspace, color_range
  return frame, planes


def cut_by_hand(planes, box, size, full, colorspace):
  """What FrameCutter should give, in float: resize the planes, then convert."""
  resized = []
  for number, plane in enumerate(planes):
    part = 2 if number else 1  # pixels that a sample stands for
    rows = _placed(box[1] / part, box[3] / part, size, len(plane))
    columns = _placed(box[0] / part, box[2] / part, size, plane.shape[1])
    resized.append(rows @ plane @ columns.T)
  luma, blue, red = resized[0], resized[1] - 128, resized[2] - 128
  if not full:
    luma, blue, red = (
      (luma - 16) * 255 / 219,
      *(plane * 255 / 224 for plane in (blue, red)),
    )
  of_red, of_blue = MATRICES[colorspace]
  red, blue = luma + 2 * (1 - of_red) * red, luma + 2 * (1 - of_blue) * blue
  green = (luma - of_red * red - of_blue * blue) / (1 - of_red - of_blue)
  return np.stack([red, green, blue], -1).clip(0, 255)


def _placed(start, length, size_out, size_in):
  """_triangle for a stretch of a line; samples outside it repeat its ends."""
  scale = length / size_out
  centres = start + (np.arange(size_out) + 0.5) * scale - 0.5
  inside = np.arange(size_in).clip(int(start), int(np.ceil(start + length)) - 1)
  weights = np.zeros((size_out, size_in))
  for place in range(-size_in, 2 * size_in):
    distance = np.abs(place - centres) / max(scale, 1.0)
    target = np.clip(place, inside.min(), inside.max())
    weights[:, target] += np.maximum(1 - distance, 0)
  return weights / weights.sum(1, keepdims=True)


BOXES = [(10, 4, 60, 62), (11, 4, 60, 62), (10, 5, 60, 62), (11, 5, 44, 30)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("size", [24, 40, 90])
def test_a_cut_from_yuv_is_the_bilinear_one_within_rounding(box, size):
  frame, planes = yuv_frame(90, 70)
  found = transforms.FrameCutter([box], size)(frame)[0]
  wanted = cut_by_hand(planes, box, size, False, 2)
  # An odd start needs half a sample beyond the box: its last line is a guess.
  error = np.abs(found - wanted)[: -size // 6, : -size // 6]
  assert error.mean() < 0.3 and error.max() < 2.5
  # A pixel aside it would be wrong, in colour too.
  aside = cut_by_hand(
    planes[:1] + [np.roll(p, 1, 1) for p in planes[1:]], box, size, False, 2
  )
  assert np.abs(found - aside).mean() > 2


@pytest.mark.parametrize(
  ("name", "colorspace", "color_range"),
  [
    *(("yuv420p", colorspace, r) for colorspace in MATRICES for r in (0, 1, 2)),
    ("yuvj420p", 2, 2),
    ("yuvj420p", 1, 0),
  ],
)
def test_colours_are_what_the_stream_says(name, colorspace, color_range):
  frame, planes = yuv_frame(90, 70, name, colorspace, color_range)
  full = color_range == 2 or name == "yuvj420p"
  for box, exact in ((BOXES[0], True), ((10, 4, 61, 61), False)):
    found = transforms.FrameCutter([box], 40)(frame)[0]
    wanted = cut_by_hand(planes, box, 40, full, colorspace)
    error = np.abs(found - wanted)
    assert error.mean() < (0.5 if exact else 3)
    assert np.abs((found - wanted).mean((0, 1))).max() < (0.3 if exact else 2)


def test_colour_tags_that_swscale_refuses_do_no_harm():
  frame, _ = yuv_frame(90, 70)
  wanted = transforms.FrameCutter([BOXES[0]], 40)(frame)[0]
  frame.color_trc = frame.color_primaries = 3  # reserved by H.273
  found = transforms.FrameCutter([BOXES[0]], 40)(frame)[0]
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
  ("name", "box", "size"),
  [
    ("yuv420p", (11, 5, 40, 40), 40),  # nothing to scale
    ("yuv420p", (10, 4, 61, 40), 40),  # an odd side
    ("yuv444p", (10, 4, 60, 60), 40),
    ("gray", (10, 4, 60, 60), 40),
    ("yuv420p10le", (10, 4, 60, 60), 40),
  ],
)
def test_other_cuts_are_those_of_whole_frames(name, box, size):
  frame = yuv_frame(90, 70)[0].reformat(format=name)
  whole = transforms.to_rgb(frame, VideoReformatter())
  np.testing.assert_array_equal(
    transforms.FrameCutter([box], size)(frame)[0],
    transforms.crop_resize(whole[None], box, size)[0],
  )


def test_one_cutter_takes_frames_of_several_kinds():
  cutter = transforms.FrameCutter([BOXES[1]], 40)
  frames = [yuv_frame(90, 70, colorspace=c)[0] for c in (1, 2, 1)]
  cuts = [cutter(frame)[0] for frame in frames]
  np.testing.assert_array_equal(cuts[0], cuts[2])
  assert (cuts[0] != cuts[1]).any()
