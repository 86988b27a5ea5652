"""When frames are shown, from the times that their packets carry."""

from collections.abc import Sequence

import numpy as np

_REORDERED = 16  # frames that a decoder puts in order at most


def seconds(
  packets: np.ndarray,
  pts: Sequence[float],
  dts: Sequence[float],
  time_base: float,
  rate: float,
) -> np.ndarray:
  """When frames are shown.

  The decoder tells the order of frames, so that times which contradict it are
  put in order. A recording whose decoding times go back is another one joined
  to the first: it follows one usual step later. What has no time lies evenly
  between its neighbours.

  Args:
    packets: int64 [n], the packet of each frame, in the order shown; -1: not
      known.
    pts: of all packets, when their frames are shown, in units of time_base; NaN
      where it is not known.
    dts: of all packets, when they are decoded: taken where no `pts` is known.
    time_base: seconds.
    rate: frames a second that the header states, for files without any time;
      0: none.

  Returns:
    float64 [n], seconds after the first frame; zeros if nothing tells.
  """
  decoded, shown = np.array(dts, np.float64), np.array(pts, np.float64)
  known = packets >= 0
  for stamps in (shown, decoded):
    times = np.where(known, stamps[packets], np.nan)
    if not np.isnan(times).all():
      break
  else:
    return np.arange(len(packets)) / rate if rate else np.zeros(len(packets))
  piece = np.where(known, _pieces(decoded)[packets], 0)
  piece = np.maximum.accumulate(piece)
  steps = np.diff(times)
  steps = steps[(steps > 0) & (np.diff(piece) == 0)]
  step = np.median(steps) if len(steps) else 0.0
  if not step and rate:
    step = 1 / rate / time_base
  found, end = np.empty(len(times)), 0.0
  for number in range(piece[-1] + 1):
    inside = piece == number
    if inside.any():
      part = np.sort(_filled(times[inside], step))
      found[inside] = part - part[0] + end
      end = found[inside][-1] + step
  return found * time_base


def _pieces(decoded: np.ndarray) -> np.ndarray:
  """Which of the joined recordings each packet belongs to: int64 [n]."""
  pieces = np.zeros(len(decoded), np.int64)
  places = np.flatnonzero(~np.isnan(decoded))
  times = decoded[places]
  steps = np.diff(times)
  if (steps >= 0).all():
    return pieces
  # Some muxers write times that are off by a frame or so.
  far = _REORDERED * (np.median(steps[steps > 0]) if (steps > 0).any() else 0)
  first = latest = times[0]
  for place, time in zip(places[1:].tolist(), times[1:].tolist(), strict=True):
    if time < latest and (time <= first or time < latest - far):
      pieces[place:] += 1
      first = latest = time
    latest = max(latest, time)
  return pieces


def _filled(times: np.ndarray, step: float) -> np.ndarray:
  """With a time for each: between the neighbours, or steps from the ends."""
  known = np.flatnonzero(~np.isnan(times))
  if len(known) == len(times):
    return times
  places = np.arange(len(times))
  if not len(known):
    return places * step
  found = np.interp(places, known, times[known])
  found -= step * np.maximum(known[0] - places, 0)
  return found + step * np.maximum(places - known[-1], 0)
