"""The order in which a decoder shows the pictures of H.264 and HEVC."""

import numpy as np

from sigma_jax.data.video.nal_units import Unclear

_GROUP_BITS = 40  # what counts within a group may come to


def order_of(
  low: np.ndarray,
  num_bits: int,
  resets: np.ndarray,
  anchors: np.ndarray,
  most: int,
  even: bool = False,
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
    even: whether counts have to rise by the same number, or some are missing.

  Returns:
    int64 [n], numbers of pictures.

  Raises:
    Unclear: two are shown at once, one is missing, or comes too late for the
      decoder.
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
  # A frame is put out once so many others wait.
  order = np.argsort(shown + (group << _GROUP_BITS), kind="stable")
  if (order - np.arange(count)).max() > most:
    raise Unclear
  rises = np.diff(shown[order])[np.diff(group[order]) == 0]
  if not rises.all():
    raise Unclear
  if even and len(rises) and rises.min() < rises.max():
    raise Unclear
  return order
