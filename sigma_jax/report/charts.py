"""Line charts and interval bars as inline SVG and HTML.

Drawn by hand: colours are the page's CSS variables, so that one picture serves
light and dark, and text is text. A page of them is smaller than one PNG.
"""

import html
import math
from typing import NamedTuple

_WIDTH, _HEIGHT = 320, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 8, 30
_MAX_POINTS = 400
STYLES = "abcdefgh"  # CSS classes of the curves' colours
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Series(NamedTuple):
  """A curve. style: CSS class, one of `STYLES`. points: (step, value).

  intervals: (step, low, high), drawn as whiskers. hint: shown when pointed at.
  """

  name: str
  style: str
  points: list[tuple[float, float]]
  intervals: tuple[tuple[float, float, float], ...] = ()
  hint: str = ""


class Reference(NamedTuple):
  """A dashed horizontal line with its name, e.g. what guessing gives."""

  name: str
  value: float


class Across(NamedTuple):
  """A horizontal axis of named places: its name, and those of 0, 1, 2, ..."""

  name: str
  places: tuple[str, ...]


def line_chart(
  title: str,
  unit: str,
  series: list[Series],
  reference: Reference | None = None,
  floor: float | None = None,
  across: Across | None = None,
) -> str:
  """One chart: title and newest values above, unit and steps on the axes.

  Args:
    title, unit: of the vertical axis.
    series: non-finite values are left out; at least one finite one is needed.
    reference: kept in view.
    floor: a value that the axis has to reach down to.
    across: the horizontal axis, where it is not of steps.
  """
  series = [
    s._replace(points=[p for p in s.points if math.isfinite(p[1])])
    for s in series
  ]
  values = [y for s in series for _, y in s.points]
  steps = [x for s in series for x, _ in s.points]
  values += [y for s in series for _, *ends in s.intervals for y in ends]
  values += [reference.value] if reference else []
  values += [floor] if floor is not None else []
  exponent = power(values)
  if exponent:
    unit = f"{unit} × 10{str(exponent).translate(_SUPERSCRIPTS)}".strip()
    by = 10.0**-exponent
    series = [_scaled(s, by) for s in series]
    reference = reference and reference._replace(value=reference.value * by)
    values = [value * by for value in values]
  ticks = nice_ticks(min(values), max(values), 4)
  if across:  # all places, whether there is a value or not
    steps = [-0.25, len(across.places) - 0.75]
  frame = _Frame(min(steps), max(steps), min(*values, ticks[0]), ticks[-1])
  body = _axes(frame, ticks, unit, across)
  if reference:
    y = frame.y(reference.value)
    # Its name stands above the line, or below it where it would be cut off.
    name_y = y - 4 if y - 4 > _TOP + 8 else y + 11
    body += (
      f'<path class="ref" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
      f'<text class="refname" x="{_WIDTH - _RIGHT}" y="{name_y:.1f}" '
      f'text-anchor="end">{html.escape(reference.name)}</text>'
    )
  body += "".join(_curve(frame, s) for s in series)
  by = across.name if across else "step"
  return (
    f'<figure class="chart"><figcaption>{_heading(title, series)}'
    f'</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
    f'aria-label="{html.escape(f"{title}, {unit}, by {by}")}">{body}</svg>'
    "</figure>"
  )


def nice_ticks(low: float, high: float, count: int) -> list[float]:
  """About `count` round numbers; the last is at or above `high`."""
  if high <= low:
    pad = abs(low) * 0.1 or 1.0
    low, high = low - pad, high + pad
  raw = (high - low) / count
  power = 10.0 ** math.floor(math.log10(raw))
  step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.99)
  first = math.ceil(low / step - 1e-9)
  last = math.ceil(high / step - 1e-9)
  return [i * step for i in range(first, last + 1)]


def power(values: list[float]) -> int:
  """The power of ten that an axis of these values has; 0: none.

  All numbers of a chart are then in it: none needs one of its own.
  """
  most = max(map(abs, values))
  if most == 0 or 1e-2 <= most < 1e7:
    return 0
  return math.floor(math.log10(most))


def _scaled(series: Series, by: float) -> Series:
  return series._replace(
    points=[(x, by * y) for x, y in series.points],
    intervals=tuple(
      (x, by * low, by * high) for x, low, high in series.intervals
    ),
  )


def number(value: float) -> str:
  """Short text of a number: 12,000 -> 12k, 0.00150 -> 0.0015."""
  if value and not 1e-4 <= abs(value) < 1e9:
    return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e")
  for limit, letter in ((1e6, "M"), (1e4, "k")):
    if abs(value) >= limit:
      return f"{value / (1e6 if letter == 'M' else 1e3):.4g}{letter}"
  return f"{value:.4g}"


def bars(
  groups: list[tuple[str, float | None, list[tuple[str, str, dict]]]],
) -> str:
  """Horizontal bars with 95% whiskers, chance as a tick; 0 to 100%.

  Args:
    groups: (name, chance, bars), a bar being (CSS class, name, row with top1,
      low and high); all shares in [0, 1]. A chance of None is not shown.
  """
  out = []
  for name, chance, tracks in groups:
    drawn = "".join(_bar(*track) for track in tracks)
    if chance is not None:
      drawn += (
        f'<i class="chance" style="left:{100 * chance:.2f}%" '
        f'title="chance {chance:.1%}"></i>'
      )
    out.append(
      f'<div class="group"><span class="name">{html.escape(name)}</span>'
      f'<div class="tracks">{drawn}</div></div>'
    )
  scale = "".join(
    f'<span style="left:{p}%">{p}{"%" if p == 100 else ""}</span>'
    for p in (0, 25, 50, 75, 100)
  )
  return (
    f'<div class="bars">{"".join(out)}<div class="group"><span></span>'
    f'<div class="scale">{scale}</div></div></div>'
  )


def _bar(style: str, name: str, row: dict) -> str:
  low, high, top1 = (100 * row[key] for key in ("low", "high", "top1"))
  told = f"{name}: {top1:.1f}% [{low:.1f}, {high:.1f}]"
  return (
    f'<div class="track {style}" title="{html.escape(told)}">'
    f'<b style="width:{top1:.2f}%"></b>'
    f'<i style="left:{low:.2f}%;width:{high - low:.2f}%"></i></div>'
  )


class _Frame(NamedTuple):
  """Data range -> pixels."""

  x0: float
  x1: float
  y0: float
  y1: float

  def x(self, value: float) -> float:
    share = (value - self.x0) / ((self.x1 - self.x0) or 1.0)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

  def y(self, value: float) -> float:
    share = (value - self.y0) / ((self.y1 - self.y0) or 1.0)
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def _axes(
  frame: _Frame, ticks: list[float], unit: str, across: Across | None
) -> str:
  out = ""
  for tick in ticks:
    y = frame.y(tick)
    out += (
      f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
      f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">'
      f"{number(tick)}</text>"
    )
  bottom = _HEIGHT - _BOTTOM + 14
  for x, name in _places(frame, across):
    out += (
      f'<text x="{frame.x(x):.1f}" y="{bottom}" text-anchor="middle">'
      f"{html.escape(name)}</text>"
    )
  middle = (_LEFT + _WIDTH - _RIGHT) / 2
  centre = (_TOP + _HEIGHT - _BOTTOM) / 2
  return out + (
    f'<text class="axis" x="{middle}" y="{_HEIGHT - 3}" '
    f'text-anchor="middle">{html.escape(across.name if across else "step")}'
    "</text>"
    f'<text class="axis" transform="translate(10 {centre}) rotate(-90)" '
    f'text-anchor="middle">{html.escape(unit)}</text>'
  )


def _places(frame: _Frame, across: Across | None) -> list[tuple[float, str]]:
  """What stands below the horizontal axis."""
  if across:
    return list(enumerate(across.places))
  ticks = nice_ticks(frame.x0, frame.x1, 4)
  return [
    (tick, number(tick))
    for tick in ticks
    if frame.x0 <= tick <= frame.x1 and tick == int(tick)
  ]


def _curve(frame: _Frame, series: Series) -> str:
  points = _thinned(series.points)
  if not points:
    return ""
  path = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points)
  x, y = points[-1]
  hint = f"<title>{html.escape(series.hint)}</title>" if series.hint else ""
  whiskers = "".join(
    f"M{frame.x(at):.1f} {frame.y(low):.1f}V{frame.y(high):.1f}"
    for at, low, high in series.intervals
  )
  if whiskers:
    whiskers = f'<path class="line {series.style}" d="{whiskers}"/>'
  return (
    f'{whiskers}<path class="line {series.style}" d="M{path}">{hint}</path>'
    f"<circle "
    f'class="end {series.style}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" '
    'r="2.6"/>'
  )


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
  """At most some hundred points; every bucket keeps its extremes.

  A spike is what one looks at a curve for: a plain stride would lose it.
  """
  if len(points) <= _MAX_POINTS:
    return points
  size = math.ceil(2 * len(points) / _MAX_POINTS)
  kept = []
  for start in range(0, len(points), size):
    bucket = points[start : start + size]
    ends = {min(bucket, key=_value), max(bucket, key=_value)}
    kept += sorted(ends)
  return [*kept, points[-1]]


def _value(point: tuple[float, float]) -> float:
  return point[1]


def _heading(title: str, series: list[Series]) -> str:
  """Title and the newest value of every curve."""
  shown = " ".join(
    f'<span class="key {s.style}"{_titled(s.hint)}>{html.escape(s.name)} '
    f"<b>{number(float(f'{s.points[-1][1]:.3g}'))}</b></span>"
    for s in series
    if s.points
  )
  return (
    f'<strong>{html.escape(title)}</strong><span class="keys">{shown}</span>'
  )


def _titled(hint: str) -> str:
  return f' title="{html.escape(hint)}"' if hint else ""
