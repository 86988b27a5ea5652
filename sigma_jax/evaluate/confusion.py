"""A confusion matrix as a picture, for 2 to MOST_CLASSES classes."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MOST_CLASSES = 3000  # that a picture has room for: 6000 x 6000 pixels
_SIDE = 1200  # of the matrix, about, pixels
_CELLS = (2, 64)  # least and greatest side of a cell, pixels
_MARGIN = 16
_LEGEND = 480  # width, pixels
_LONGEST = 190  # of a name beside the matrix, pixels
_TEXT = 13  # height of text, pixels
_NAMED = 12  # side of a cell from which every class has room for its name
_NUMBERED = 30  # side of a cell from which it has room for its number
_PAIRS = 12  # confusions told in words
_TICKS = 20  # names along a side, about, where not all have room
# Shares of a class that no clip, few and all clips are: light to dark.
_RAMP = np.array(
  [(255, 255, 255), (198, 219, 239), (66, 146, 198), (8, 48, 107)], np.float64
)
_ABSENT = (228, 228, 228)  # rows of classes without clips
_INK, _FAINT = (30, 30, 30), (150, 150, 150)


def picture(counts: np.ndarray, names: Sequence[str]) -> bytes:
  """Draws a matrix of which a row is a class, and its colours shares of it.

  Colours follow the square root of the share, so that a twentieth of a class
  is seen. Rows of classes without clips are grey. Where cells are too small for
  all names every few classes have one. Below are the commonest confusions.

  Args:
    counts: int [c, c], truth x predicted.
    names: of the c classes; long ones are cut.

  Returns:
    A PNG.

  Raises:
    ValueError: the sizes do not agree.
  """
  size = len(counts)
  if counts.shape != (size, size) or len(names) != size or not size:
    raise ValueError(
      f"a confusion matrix of shape {counts.shape} does not go with "
      f"{len(names)} names"
    )
  cell = int(np.clip(_SIDE // size, *_CELLS))
  step = _step(size, cell)
  font = ImageFont.load_default(_TEXT if step > 1 else min(_TEXT, cell))
  called = [
    name if name == str(i) else f"{i} {name}" for i, name in enumerate(names)
  ]
  shown = {i: _cut(called[i], font, _LONGEST) for i in range(0, size, step)}
  label = max(int(font.getlength(name)) for name in shown.values()) + 10
  pairs = _pairs(counts, called)
  side = size * cell
  left, top = _MARGIN + _TEXT + 8 + max(label, 76), _MARGIN + 4 * _TEXT + label
  told = _MARGIN + max(
    map(ImageFont.load_default(_TEXT).getlength, pairs), default=0
  )
  width = max(left + side, int(told), _LEGEND) + _MARGIN
  height = top + side + (len(pairs) + 1) * (_TEXT + 5) + 2 * _MARGIN
  page = Image.new("RGB", (width, height), "white")
  page.paste(_matrix(counts, cell), (left, top))
  pen = ImageDraw.Draw(page)
  pen.rectangle((left - 1, top - 1, left + side, top + side), outline=_FAINT)
  _title(pen, counts)
  _axes(page, shown, font, cell, (left, top), side)
  if cell >= _NUMBERED:
    _numbers(pen, counts, cell, (left, top))
  _list(pen, pairs, (_MARGIN, top + side + _MARGIN))
  out = io.BytesIO()
  page.save(out, format="png")
  return out.getvalue()


def _step(size: int, cell: int) -> int:
  """Every how many classes there is a name: 1, 2, 5, 10, 20, ..."""
  if cell >= _NAMED:
    return 1
  least = max(size / _TICKS, (_TEXT + 2) / cell)
  power = 10 ** int(np.floor(np.log10(least)))
  return next(m * power for m in (1, 2, 5, 10) if m * power >= least)


def _shares(counts: np.ndarray) -> np.ndarray:
  """Of each class's clips: float64 [c, c], NaN where it has none."""
  total = counts.sum(axis=1, keepdims=True)
  out = np.full(counts.shape, np.nan)
  return np.divide(counts, total, out=out, where=total > 0)


def _colors(shares: np.ndarray) -> np.ndarray:
  """uint8 [..., 3]."""
  place = np.sqrt(np.nan_to_num(shares))
  stops = np.linspace(0, 1, len(_RAMP))
  mixed = [np.interp(place, stops, channel) for channel in _RAMP.T]
  painted = np.rint(np.stack(mixed, axis=-1))
  absent = np.isnan(shares)[..., None]
  return np.where(absent, _ABSENT, painted).astype(np.uint8)


def _matrix(counts: np.ndarray, cell: int) -> Image.Image:
  painted = _colors(_shares(counts)).repeat(cell, axis=0).repeat(cell, axis=1)
  if cell >= _NAMED:  # lines between cells
    painted[::cell] = painted[:, ::cell] = 240
  return Image.fromarray(painted)


def _title(pen, counts: np.ndarray) -> None:
  total, right = int(counts.sum()), int(np.trace(counts))
  font = ImageFont.load_default(_TEXT + 2)
  share = f", {right / total:.1%} right" if total else ""
  pen.text((_MARGIN, _MARGIN), f"{total:,} clips{share}", _INK, font)
  small, y = ImageFont.load_default(_TEXT), _MARGIN + _TEXT + 10
  words = (("0", 0.0), ("1%", 0.01), ("5%", 0.05), ("25%", 0.25), ("100%", 1.0))
  x = _words(pen, (_MARGIN, y), "share of a class:", small)
  for word, share in (*words, ("no clips", np.nan)):
    color = tuple(int(v) for v in _colors(np.asarray(share)))
    pen.rectangle((x, y + 1, x + 14, y + 15), fill=color, outline=_FAINT)
    x = _words(pen, (x + 20, y), word, small)


def _words(pen, place: tuple[int, int], text: str, font) -> int:
  """Writes; returns where the next thing has room."""
  pen.text(place, text, _INK, font)
  return place[0] + int(font.getlength(text)) + 14


def _axes(page, names: dict[int, str], font, cell, corner, side: int) -> None:
  """Names and the words `truth` and `predicted` along two sides."""
  (left, top), pen = corner, ImageDraw.Draw(page)
  for i, name in names.items():
    middle = int((i + 0.5) * cell)
    pen.text((left - 6, top + middle), name, _INK, font, anchor="rm")
    _upright(page, (left + middle, top - 6), name, font)
    if cell < _NAMED:  # which one is it of?
      pen.line((left - 4, top + middle, left - 2, top + middle), fill=_INK)
      pen.line((left + middle, top - 4, left + middle, top - 2), fill=_INK)
  large = ImageFont.load_default(_TEXT + 1)
  pen.text((left - 8, top - 8), "predicted", _FAINT, large, anchor="rs")
  _upright(page, (_MARGIN + 8, top + min(side, 60)), "truth", large, _FAINT)


def _upright(page, place: tuple[int, int], text: str, font, ink=_INK) -> None:
  """Text that reads upwards from a place, which is the middle of its start."""
  width, height = int(font.getlength(text)) + 2, int(font.size) + 4
  mask = Image.new("L", (width, height))
  ImageDraw.Draw(mask).text((0, height // 2), text, 255, font, anchor="lm")
  mask = mask.transpose(Image.Transpose.ROTATE_90)
  x, y = place[0] - height // 2, place[1] - width
  page.paste(ink, (x, y, x + mask.width, y + mask.height), mask)


def _numbers(pen, counts: np.ndarray, cell: int, corner) -> None:
  longest = len(str(int(counts.max())))
  size = int(np.clip(1.5 * (cell - 4) / longest, 6, _TEXT))
  font, shares = ImageFont.load_default(size), _shares(counts)
  for (i, j), count in np.ndenumerate(counts):
    if count:
      x, y = corner[0] + (j + 0.5) * cell, corner[1] + (i + 0.5) * cell
      ink = "white" if shares[i, j] > 0.3 else _INK
      pen.text((x, y), str(int(count)), ink, font, anchor="mm")


def _pairs(counts: np.ndarray, names: Sequence[str]) -> list[str]:
  """The commonest confusions in words, commonest first."""
  wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
  order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
  total, font = counts.sum(axis=1), ImageFont.load_default(_TEXT)
  found = []
  for pair in zip(*np.unravel_index(order, counts.shape), strict=True):
    if wrong[pair]:
      names_of = [_cut(names[i], font, 2 * _LONGEST) for i in pair]
      share = f"{wrong[pair]} of {total[pair[0]]}"
      found.append(f"{share}: {names_of[0]}  >  {names_of[1]}")
  return found


def _list(pen, pairs: list[str], place: tuple[int, int]) -> None:
  font = ImageFont.load_default(_TEXT)
  head = "commonest confusions, truth > predicted" if pairs else "no confusions"
  for number, text in enumerate([head, *pairs]):
    ink = _INK if number else _FAINT
    pen.text((place[0], place[1] + number * (_TEXT + 5)), text, ink, font)


def _cut(text: str, font, longest: int) -> str:
  """The text, its end left out where it is too long."""
  if font.getlength(text) <= longest:
    return text
  while font.getlength(text + "...") > longest:
    text = text[:-1]
  return text + "..."
