"""Pixels of a clip: crop and resize."""

from collections.abc import Sequence

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

# x, y, width and height of what is cut out of frames, pixels.
Box = tuple[int, int, int, int]

# swscale widens its filter when it shrinks, so this is antialiased. The FULL
# flags keep it from halving the colour resolution, which RGB input suffers by
# default (measured on noise: 5.2 grey levels off Pillow's result, then 0.2).
_FILTER = (
  Interpolation.BILINEAR
  | Interpolation.ACCURATE_RND
  | Interpolation.FULL_CHR_H_INT
  | Interpolation.FULL_CHR_H_INP
)
# Stored with one colour sample for 2 x 2 pixels: nearly every video.
_QUARTER_COLOUR = ("yuv420p", "yuvj420p")
_UNKNOWN = 2  # of colour primaries and transfer: ITU-T H.273


def crop_resize(
  video: np.ndarray, box: Box, size: int, antialias: bool = True
) -> np.ndarray:
  """Cuts a box out of every frame and scales it to a square.

  Args:
    video: uint8 [t, h, w, 3], RGB.
    box: inside the frames.
    size: side of the result, pixels.
    antialias: of `settings.Data`.

  Returns:
    uint8 [t, size, size, 3]; bilinear, rounded. Where the box has
    that size already, a view of the input.
  """
  x, y, width, height = box
  video = video[:, y : y + height, x : x + width]
  if (width, height) == (size, size):
    return video
  if not antialias:
    return _interpolate(video, size)
  scaler = VideoReformatter()
  out = np.empty((len(video), size, size, 3), np.uint8)
  for number, frame in enumerate(video):
    source = av.VideoFrame.from_ndarray(
      np.ascontiguousarray(frame), format="rgb24"
    )
    scaled = scaler.reformat(
      source, width=size, height=size, interpolation=_FILTER, threads=1
    )
    out[number] = scaled.to_ndarray()
  return out


def _interpolate(video: np.ndarray, size: int) -> np.ndarray:
  """Between the nearest two pixels each way, however much it shrinks.

  Pixel centres are aligned and borders repeated: PyTorch's `interpolate`
  (bilinear, align_corners=False) and OpenCV's INTER_LINEAR, but for rounding.
  """
  _, height, width, _ = video.shape
  out = np.empty((len(video), size, size, 3), np.uint8)
  rows, columns = (_neighbours(old, size) for old in (height, width))
  for number, frame in enumerate(video):
    mixed = _between(frame, *rows, 0)
    mixed = _between(mixed, *columns, 1)
    out[number] = np.rint(mixed, out=mixed)
  return out


def _between(x: np.ndarray, first, second, share, axis: int) -> np.ndarray:
  """x at `first`, `share` of the way to `second` along an axis: float32."""
  start = x.take(first, axis).astype(np.float32)
  way = x.take(second, axis).astype(np.float32)
  way -= start
  way *= share.reshape(-1, *[1] * (x.ndim - 1 - axis))
  start += way
  return start


def _neighbours(old: int, new: int) -> tuple[np.ndarray, ...]:
  """Of each new sample the two old ones around it, and the second's share."""
  centre = (np.arange(new) + 0.5) * (old / new) - 0.5
  centre = centre.clip(0, old - 1)
  first = centre.astype(np.int64)
  share = (centre - first).astype(np.float32)
  return first, np.minimum(first + 1, old - 1), share


class FrameCutter:
  """Does crop_resize's work on decoded frames, without whole frames in RGB.

  swscale cuts, scales and converts in one pass, in half the time that
  converting first takes. Its result is the bilinear one within rounding. That
  of crop_resize differs from it by the error of the whole frame's conversion,
  which cuts off what it should round and repeats each colour sample over 2 x 2
  pixels where this one interpolates. Both take a sample to lie in the middle
  of the four. Boxes of odd sides go through crop_resize: swscale would
  stretch their colour. So do all boxes where nothing is to be antialiased.
  """

  def __init__(self, boxes: Sequence[Box], size: int, antialias: bool = True):
    """Prepares to cut boxes and scale each to a square of `size` pixels."""
    self._boxes, self._size, self._antialias = boxes, size, antialias
    self._reformatter = VideoReformatter()
    self._format, self._graphs = None, {}

  def __call__(self, frame: av.VideoFrame) -> list[np.ndarray]:
    """Its boxes, as stored, not turned: each uint8 [size, size, 3]."""
    form = (frame.width, frame.height, frame.format.name)
    form = (*form, frame.colorspace, frame.color_range)
    if form != self._format:
      self._format, self._graphs = form, {}
    rgb, cuts = None, []
    for box in self._boxes:
      if self._in_one_pass(frame, box):
        cuts.append(self._scaled(frame, box))
        continue
      rgb = to_rgb(frame, self._reformatter) if rgb is None else rgb
      cut = crop_resize(rgb[None], box, self._size, self._antialias)
      cuts.append(cut[0])
    return cuts

  def _in_one_pass(self, frame: av.VideoFrame, box: Box) -> bool:
    sides = box[2:]
    return (
      self._antialias
      and frame.format.name in _QUARTER_COLOUR
      and sides != (self._size, self._size)
      and not any(side % 2 for side in sides)
    )

  def _scaled(self, frame: av.VideoFrame, box: Box) -> np.ndarray:
    # swscale refuses some values of these, and they change nothing here.
    frame.color_trc = frame.color_primaries = _UNKNOWN
    if box not in self._graphs:
      self._graphs[box] = _graph(*self._format, box, self._size)
    source, sink, _ = self._graphs[box]
    source.push(frame)
    cut = sink.pull()
    plane = cut.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    rows = rows[: self._size, : 3 * self._size]
    return rows.reshape(self._size, self._size, 3)


def _graph(width, height, name, colorspace, color_range, box, size):
  """Source, sink and graph that cut and scale frames of this form."""
  x, y, box_width, box_height = box
  graph = av.filter.Graph()
  graph.threads = 1
  nodes = (
    graph.add(
      "buffer",
      video_size=f"{width}x{height}",
      pix_fmt=name,
      time_base="1/1",
      colorspace=str(int(colorspace)),
      range=str(int(color_range)),
    ),
    graph.add("crop", f"{box_width}:{box_height}:{x}:{y}:exact=1"),
    graph.add(
      "scale",
      f"{size}:{size}:flags=bilinear+accurate_rnd+full_chroma_int:"
      f"in_h_chr_pos={_colour_place(x)}:in_v_chr_pos={_colour_place(y)}",
    ),
    # Straight to packed RGB, swscale takes twice as long as over planes.
    graph.add("format", "gbrp"),
    graph.add("scale"),
    graph.add("format", "rgb24"),
    graph.add("buffersink"),
  )
  graph.link_nodes(*nodes)
  graph.configure()
  return nodes[0], nodes[-1], graph


def _colour_place(start: int) -> int:
  """Where the first colour sample lies, in 1/256 pixel from the box's start."""
  # An odd start cuts through two pixels that share a sample.
  return -128 if start % 2 else 128


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
  """A whole decoded frame, as stored, not turned: uint8 [h, w, 3]."""
  return reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()


def scaled(
  frame: av.VideoFrame, width: int, height: int, reformatter: VideoReformatter
) -> av.VideoFrame:
  """A whole frame in another size, pixels; bilinear, antialiased."""
  return reformatter.reformat(
    frame, width=width, height=height, interpolation=_FILTER, threads=1
  )
