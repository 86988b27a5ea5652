"""Operations on pixel values, as Pillow defines them on 8-bit images.

Each takes frames uint8 [t, h, w, 3], RGB, and returns the same shape; what
depends on the picture is found for every frame by itself. Results are Pillow's
(ImageOps, ImageEnhance) but for the rounding of single values.
"""

import jax
import jax.numpy as jnp
from einops import rearrange

Frames = jax.Array


def auto_contrast(frames: Frames) -> Frames:
  """Stretches each channel to 0 .. 255."""
  lowest = _wide(_over_pixels(jnp.min, frames))
  extent = _wide(_over_pixels(jnp.max, frames)) - lowest
  # Half a unit of the numerator: floor is exact in spite of rounding.
  stretched = ((_wide(frames) - lowest) * 255 + 0.5) / jnp.maximum(extent, 1)
  return jnp.where(extent > 0, stretched.astype(jnp.uint8), frames)


def equalize(frames: Frames) -> Frames:
  """Spreads each channel's histogram evenly."""
  t, h, w, _ = frames.shape
  counts = jax.lax.platform_dependent(
    frames, cpu=count_one_by_one, default=count_by_comparing
  )
  brightest = _over_pixels(jnp.max, frames).astype(jnp.int32)
  last = jnp.take_along_axis(counts, brightest.reshape(3 * t, 1), axis=1)
  step = (h * w - last) // 255
  below = jnp.cumsum(counts, axis=1) - counts
  levels = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
  levels = jnp.where(step > 0, levels, jnp.arange(256)[None])
  return jax.lax.platform_dependent(
    frames,
    levels.astype(jnp.uint8),
    cpu=look_up_one_by_one,
    default=look_up_by_comparing,
  )


# TPUs scatter and gather single values one after the other, 2.4 million of a
# clip; comparing each with all 256 is vectorised there. CPUs are the opposite.


def count_one_by_one(frames: Frames) -> jax.Array:
  """Histograms, int32 [3 t, 256], of each frame and channel: a scatter."""
  table = jnp.zeros(3 * len(frames) * 256, jnp.int32)
  places = _places(frames).reshape(-1)
  return table.at[places].add(1, mode="promise_in_bounds").reshape(-1, 256)


def count_by_comparing(frames: Frames) -> jax.Array:
  """As `count_one_by_one`, without a scatter."""
  values = rearrange(frames, "t h w c -> (t c) 1 (h w)")
  same = values == jnp.arange(256, dtype=jnp.uint8)[:, None]
  return jnp.sum(same, axis=-1, dtype=jnp.int32)


def look_up_one_by_one(frames: Frames, levels: jax.Array) -> Frames:
  """Each value's entry in `levels`, uint8 [3 t, 256]: a gather."""
  return levels.reshape(-1).at[_places(frames)].get(mode="promise_in_bounds")


def look_up_by_comparing(frames: Frames, levels: jax.Array) -> Frames:
  """As `look_up_one_by_one`, without a gather."""
  table = rearrange(levels, "(t c) v -> t 1 1 c v", c=3).astype(jnp.int32)
  same = frames[..., None] == jnp.arange(256, dtype=jnp.uint8)
  return jnp.sum(jnp.where(same, table, 0), axis=-1).astype(jnp.uint8)


def _places(frames):
  """Of each value in a row of tables of 256, one a frame and channel."""
  table = jnp.arange(3 * len(frames)).reshape(-1, 1, 1, 3)
  return table * 256 + frames.astype(jnp.int32)


def invert(frames: Frames) -> Frames:
  """255 minus each value."""
  return 255 - frames


def posterize(frames: Frames, bits: jax.Array) -> Frames:
  """Keeps the highest bits: int32 scalar in [0, 8]."""
  return frames & (256 - (1 << (8 - bits))).astype(jnp.uint8)


def solarize(frames: Frames, threshold: jax.Array) -> Frames:
  """Inverts values from a threshold up: int32 scalar in [0, 256]."""
  return jnp.where(frames.astype(jnp.int32) < threshold, frames, 255 - frames)


def solarize_add(frames: Frames, amount: jax.Array) -> Frames:
  """Adds to values below 128: int32 scalar in [0, 255]."""
  raised = jnp.minimum(frames.astype(jnp.int32) + amount, 255)
  return jnp.where(frames < 128, raised.astype(jnp.uint8), frames)


def color(frames: Frames, factor: jax.Array) -> Frames:
  """Saturation: float32 scalar; 0 is grey, 1 changes nothing."""
  return _blend(_grey(frames).astype(jnp.float32), frames, factor)


def contrast(frames: Frames, factor: jax.Array) -> Frames:
  """Distance from the frame's mean grey: float32 scalar; 1 is no change."""
  pixels = frames.shape[1] * frames.shape[2]
  total = jnp.sum(_grey(frames), axis=(1, 2, 3), keepdims=True)
  mean = (total + pixels // 2) // pixels
  return _blend(mean.astype(jnp.float32), frames, factor)


def brightness(frames: Frames, factor: jax.Array) -> Frames:
  """Distance from black: float32 scalar; 1 changes nothing."""
  return _blend(jnp.float32(0), frames, factor)


def sharpness(frames: Frames, factor: jax.Array) -> Frames:
  """Distance from a smoothed frame: float32 scalar; 1 changes nothing.

  The filter is the 3 x 3 mean in which the centre counts five times; the
  outermost pixels stay as they are.
  """
  x = frames.astype(jnp.int32)
  rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
  total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
  total = total + 4 * x[:, 1:-1, 1:-1]
  inner = jnp.floor((total.astype(jnp.float32) + 6.5) / 13)
  smooth = _wide(frames).at[:, 1:-1, 1:-1].set(inner)
  return _blend(smooth, frames, factor)


def hue(frames: Frames, turns: jax.Array) -> Frames:
  """Every colour moved around the wheel: float32 scalar; 0 or 1 is no change.

  Brightest and darkest channel, and so HSV's saturation and value, stay. Pillow
  rounds hue to 256 steps in between, this does not.
  """
  x = _wide(frames)
  value, low = jnp.max(x, axis=-1), jnp.min(x, axis=-1)
  extent = value - low
  red, green, blue = (x[..., channel] for channel in range(3))
  divisor = jnp.where(extent > 0, extent, 1.0)
  sixths = jnp.where(
    value == red,
    (green - blue) / divisor,
    jnp.where(
      value == green,
      2 + (blue - red) / divisor,
      4 + (red - green) / divisor,
    ),
  )
  # Each channel falls from the value and rises to it as the wheel turns.
  place = sixths + 6 * turns
  offsets = jnp.asarray([5.0, 3.0, 1.0], jnp.float32)
  along = jnp.mod(offsets + place[..., None], 6.0)
  share = jnp.clip(jnp.minimum(along, 4.0 - along), 0.0, 1.0)
  moved = value[..., None] - extent[..., None] * share
  return jnp.clip(jnp.round(moved), 0, 255).astype(jnp.uint8)


def _over_pixels(reduce, frames):
  """Of each frame and channel, [t, 1, 1, 3]: rows first is fast on CPUs."""
  return reduce(reduce(frames, axis=1), axis=1)[:, None, None]


def _wide(frames):
  return frames.astype(jnp.float32)


def _grey(frames):
  """Luma as Pillow's mode L has it, int32 [t, h, w, 1]."""
  weights = jnp.asarray([19595, 38470, 7471], jnp.int32)
  total = jnp.sum(frames.astype(jnp.int32) * weights, axis=-1, keepdims=True)
  return (total + 32768) >> 16


def _blend(degenerate, frames, factor):
  """From `degenerate` (float32) through the frames and beyond; cut off."""
  moved = degenerate + factor * (_wide(frames) - degenerate)
  return jnp.clip(moved, 0, 255).astype(jnp.uint8)
