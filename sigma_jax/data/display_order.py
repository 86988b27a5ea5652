"""The order in which a decoder shows the pictures of H.264 and HEVC."""

import numpy as np

from sigma_jax.data.nal_units import Unclear

_DEEPEST = 16  # frames that a decoder may hold back


def order_of(
  low: np.ndarray,
  num_bits: int,
  resets: np.ndarray,
  anchors: np.ndarray,
  most: int,
) -> np.ndarray:
  """Pictures in the order that they are shown.

  Picture order counts are stored as their low bits; the others follow from the
  last anchor (H.264, section 8.2.1.1; H.265, section 8.3.1).

  Args:
    low: int64 [n], low bits, in the order of decoding.
    num_bits: of these.
    resets: bool [n], where counting begins anew; all before are shown first.
    anchors: bool [n], pictures that later ones are counted from; resets too.
    most: pictures that the decoder holds back at most.

  Returns:
    int64 [n], numbers of pictures.

  Raises:
    Unclear: two are shown at once, or one comes too late for the decoder.
  """
  count, half = len(low), 1 << num_bits >> 1
  last = np.maximum.accumulate(np.where(anchors, np.arange(count), 0))
  before = np.append(0, last[:-1])
  step = -((low[before] - low + half) % (2 * half) - half)
  step[resets] = 0
  # Only differences within a group matter: no count begins from 0.
  passed = np.cumsum(np.where(anchors, step, 0))
  shown = passed[before] + step
  group = np.cumsum(resets)
  order = np.lexsort((shown, group))
  again = (np.diff(shown[order]) == 0) & (np.diff(group[order]) == 0)
  if again.any() or _depth(order) > most:
    raise Unclear
  return order


def _depth(order: np.ndarray) -> int:
  """Pictures that have to be held back to show them in this order."""
  place = np.empty(len(order), np.int64)
  place[order] = np.arange(len(order))
  if (place == np.arange(len(order))).all():
    return 0
  if abs(place - np.arange(len(order))).max() > _DEEPEST:
    raise Unclear
  held = np.zeros(len(order), np.int64)
  for ahead in range(1, min(2 * _DEEPEST, len(order))):
    held[ahead:] += place[:-ahead] > place[ahead:]
  return int(held.max())
