"""Pictures of a segmentation beside the ground truth."""

import io

import numpy as np
from PIL import Image, ImageDraw

_SHEET_FRAMES = 8  # columns of a sheet
_OPACITY = 0.6
# Well apart in hue and lightness.
_COLORS = np.array(
  [
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200)),
    *((245, 130, 48), (145, 30, 180), (70, 240, 240), (240, 50, 230)),
    *((210, 245, 60), (250, 190, 212), (0, 128, 128)),
  ],
  np.float32,
)


def paint(video: np.ndarray, ids: np.ndarray) -> np.ndarray:
  """Colours the pixels of each id but 0.

  Args:
    video: uint8 [t, h, w, 3].
    ids: int [t, h, w]; from 12 on, colours come again.

  Returns:
    uint8 [t, h, w, 3].
  """
  color = _COLORS[(ids.astype(np.int64) - 1) % len(_COLORS)]
  mixed = (1 - _OPACITY) * video.astype(np.float32) + _OPACITY * color
  painted = np.where(ids[..., None] > 0, np.rint(mixed), video)
  return painted.astype(np.uint8)


def sheet(rows: dict[str, np.ndarray]) -> bytes:
  """A PNG of up to eight frames of each video, one video a row.

  Args:
    rows: title -> uint8 [t, h, w, 3], all of one shape.
  """
  videos = list(rows.values())
  count = len(videos[0])
  shown = np.linspace(0, count - 1, min(count, _SHEET_FRAMES)).astype(int)
  lines = [np.concatenate(list(video[shown]), axis=1) for video in videos]
  image = Image.fromarray(np.concatenate(lines))
  pen, height = ImageDraw.Draw(image), videos[0].shape[1]
  for number, title in enumerate(rows):
    _write(pen, (3, number * height + 2), title)
  out = io.BytesIO()
  image.save(out, format="png")
  return out.getvalue()


def beside(rows: dict[str, np.ndarray]) -> np.ndarray:
  """The videos next to each other, titled; uint8 [t, h', w', 3], sides even.

  Args:
    rows: title -> uint8 [t, h, w, 3], all of one shape.
  """
  videos = np.concatenate(list(rows.values()), axis=2)
  _, height, width, _ = videos.shape
  even = np.pad(
    videos, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge"
  )
  frames = []
  for frame in even:
    image = Image.fromarray(frame)
    pen = ImageDraw.Draw(image)
    for number, title in enumerate(rows):
      _write(pen, (3 + number * width // len(rows), 2), title)
    frames.append(np.asarray(image))
  return np.stack(frames)


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str) -> None:
  pen.text(place, text, fill="white", stroke_width=1, stroke_fill="black")
