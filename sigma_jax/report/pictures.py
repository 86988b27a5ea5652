"""Frames, masks and tubes as inline images with vector marks on top.

Frames are images (enlarged by the browser, pixelated); masks, colours and
outlines are SVG over them, sharp at any size and of the page's colours.
"""

import base64
import html
import io
import pathlib
from collections.abc import Callable

import numpy as np
from PIL import Image

Grid = tuple[int, int, int]
_MAX_SIDE = 112  # pixels a frame is stored with; wider ones are shrunk
_PNG_SIDE = 64  # frames up to this side are stored without loss
_MAX_WIDTH = 1400  # pixels of picture files
_MAX_SLOTS = 8
_MAX_PATHS = 16  # along a frame's side
_GAP = 1 / 16  # between frames, in frames


def data_uri(image: np.ndarray) -> str:
  """uint8 [h, w, 3 or 4] -> data URI, at most 112 px wide.

  PNG for small pictures, whose pixels one looks at, and for those with an
  opacity channel; JPEG for photographs.
  """
  picture = Image.fromarray(np.ascontiguousarray(image))
  if max(picture.size) > _MAX_SIDE:
    factor = _MAX_SIDE / max(picture.size)
    size = tuple(round(side * factor) for side in picture.size)
    picture = picture.resize(size, Image.Resampling.LANCZOS)
  small = max(picture.size) <= _PNG_SIDE
  return _encoded(picture, photo=not small and image.shape[-1] == 3)


def file_uri(path: pathlib.Path, photo: bool) -> str:
  """A picture file -> data URI, at most 1400 px wide.

  Args:
    path: of the picture.
    photo: stored as JPEG; graphics, whose lines one looks at, as PNG.

  Raises:
    OSError: it is no picture, or not whole.
  """
  with Image.open(path) as picture:
    picture = picture.convert("RGB")
  if picture.width > _MAX_WIDTH:
    height = round(picture.height * _MAX_WIDTH / picture.width)
    picture = picture.resize((_MAX_WIDTH, height), Image.Resampling.LANCZOS)
  return _encoded(picture, photo)


def _encoded(picture: Image.Image, photo: bool) -> str:
  buffer, kind = io.BytesIO(), "jpeg" if photo else "png"
  if photo:
    picture.save(buffer, "JPEG", quality=85)
  else:
    picture.save(buffer, "PNG", optimize=True)
  text = base64.b64encode(buffer.getvalue()).decode()
  return f"data:image/{kind};base64,{text}"


def slots(grid: Grid) -> list[int]:
  """The time slots that a strip shows: all of them, or eight evenly spaced."""
  return np.unique(np.linspace(0, grid[0] - 1, _MAX_SLOTS).astype(int)).tolist()


def strip(
  name: str, video: np.ndarray, grid: Grid, rows: list[str], alt: str
) -> str:
  """A clip's frames, repeated in one row for every overlay.

  Args:
    name: unique on the page; `reuse` refers to the same frames by it.
    video: uint8 [t, h, w, 3].
    grid: tubes along time, height, width.
    rows: SVG put over each row of frames, in units of tubes (see `overlay`);
      "" for none.
    alt: what the picture shows, for readers who cannot see it.
  """
  step = len(video) // grid[0]
  frames = "".join(
    f'<image id="{name}-{slot}" width="{grid[2]}" height="{grid[1]}" '
    f'preserveAspectRatio="none" href="{data_uri(video[slot * step])}"/>'
    for slot in slots(grid)
  )
  return _rows(name, grid, rows, alt, f"<defs>{frames}</defs>")


def reuse(name: str, grid: Grid, rows: list[str], alt: str) -> str:
  """As `strip`, with the frames of a strip that is on the page already."""
  return _rows(name, grid, rows, alt, "")


def overlay(
  grid: Grid, draw: Callable[[np.ndarray], str], values: np.ndarray
) -> str:
  """Marks over one row of frames.

  Args:
    grid: tubes along time, height, width.
    draw: values of one time slot [h, w, ...] -> SVG in units of tubes.
    values: [t, h, w, ...].
  """
  return "".join(
    f'<g transform="translate({_offset(i, grid[2]):.3f} 0)">'
    f"{draw(values[slot])}</g>"
    for i, slot in enumerate(slots(grid))
  )


def squares(where: np.ndarray) -> str:
  """Path data of the unit squares at the true places of a bool [h, w]."""
  return "".join(f"M{x} {y}h1v1h-1z" for y, x in np.argwhere(where))


def masked(hidden: np.ndarray) -> str:
  """Covers the hidden tubes of a bool [h, w]."""
  return f'<path class="hole" d="{squares(hidden)}"/>'


def held(shares: np.ndarray) -> str:
  """Tints each tube of a float [h, w] by its share of the largest."""
  return "".join(
    f'<path class="held" fill-opacity="{shares[y, x]:.2f}" '
    f'd="M{x} {y}h1v1h-1z"/>'
    for y, x in np.argwhere(shares >= 0.01)
  )


def arrows(motion: np.ndarray) -> str:
  """A line from each tube's middle to where a float [h, w, 2] moves it.

  Motion is in tubes a frame, x first; tubes that stay are left out.
  """
  moved = np.argwhere(np.abs(motion).max(axis=-1) > 0.02)
  lines = "".join(
    f"M{x + 0.5} {y + 0.5}l{motion[y, x, 0]:.2f} {motion[y, x, 1]:.2f}"
    for y, x in moved
  )
  dots = "".join(f"M{x + 0.5} {y + 0.5}h0" for y, x in moved)
  return f'<path class="arrow" d="{lines}"/><path class="foot" d="{dots}"/>'


def paths(points: np.ndarray) -> str:
  """Lines through the points of a float [r, c, k, 2], in tubes, x first.

  A line that stays where it begins, or has no numbers, is left out; of many,
  every second one or fewer is drawn.
  """
  thin = -(-max(points.shape[:2]) // _MAX_PATHS)
  lines = points[thin // 2 :: thin, thin // 2 :: thin].reshape(
    -1, *points.shape[2:]
  )
  far = np.abs(lines - lines[:, :1]).max(axis=(1, 2))
  lines = lines[far > 0.02]  # which is false of what is no number
  drawn = "".join(
    "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in line) for line in lines
  )
  feet = "".join(f"M{x:.2f} {y:.2f}h0" for x, y in lines[:, 0])
  return f'<path class="arrow" d="{drawn}"/><path class="foot" d="{feet}"/>'


def assigned(
  labels: np.ndarray, colours: list[str], numbers: bool = False
) -> str:
  """Colours the tubes of an int [h, w] by prototype, and writes its number."""
  out = "".join(
    f'<path class="tint" fill="{colours[k]}" d="{squares(labels == k)}">'
    f"<title>prototype {k}</title></path>"
    for k in np.unique(labels)
  )
  if numbers:
    out += "".join(
      f'<text x="{x + 0.5}" y="{y + 0.62}">{labels[y, x]}</text>'
      for y, x in np.ndindex(labels.shape)
    )
  return out


def tile(
  video: np.ndarray, grid: Grid, tube: int, tubelet: int, note: str
) -> str:
  """A tube's first frame with its surroundings, outlined in the middle.

  Args:
    video: uint8 [t, h, w, 3].
    grid: tubes along time, height, width.
    tube: 0 .. n - 1 in (time, row, column) order.
    tubelet: frames a tube.
    note: shown when pointed at.
  """
  slot, row, column = np.unravel_index(tube, grid)
  patch = video.shape[1] // grid[1]
  margin = patch // 2
  frame = video[slot * tubelet]
  opaque = np.full((*frame.shape[:2], 1), 255, np.uint8)
  # Beyond the frame there is nothing, and the page shows through.
  frame = np.pad(
    np.concatenate([frame, opaque], axis=-1),
    ((margin, margin), (margin, margin), (0, 0)),
  )
  side = patch + 2 * margin
  y, x = row * patch, column * patch
  cut = frame[y : y + side, x : x + side]
  inset = f"{100 * margin / side:.2f}%"
  return (
    f'<span class="tile" title="{html.escape(note)}"><img '
    f'alt="{html.escape(note)}" src="{data_uri(cut)}">'
    f'<i style="inset:{inset}"></i></span>'
  )


def _rows(name: str, grid: Grid, rows: list[str], alt: str, defs: str) -> str:
  shown = slots(grid)
  body = ""
  for r, marks in enumerate(rows):
    uses = "".join(
      f'<use href="#{name}-{slot}" x="{_offset(i, grid[2]):.3f}"/>'
      for i, slot in enumerate(shown)
    )
    y = _offset(r, grid[1])
    body += f'<g transform="translate(0 {y:.3f})">{uses}{marks}</g>'
  width = _offset(len(shown) - 1, grid[2]) + grid[2]
  height = _offset(len(rows) - 1, grid[1]) + grid[1]
  return (
    f'<div class="scroll"><svg class="strip" role="img" '
    f'aria-label="{html.escape(alt)}" viewBox="0 0 {width:.3f} {height:.3f}">'
    f"{defs}{body}</svg></div>"
  )


def _offset(place: int, side: int) -> float:
  return place * side * (1 + _GAP)
