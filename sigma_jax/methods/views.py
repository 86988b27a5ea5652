"""What methods that compare views of a video have in common; itself no method.

Two clips of each video, of its own frames, crop, flip and colours each, and
local ones of a smaller size as an option. A view's embedding is the mean of the
encoder's normed tokens; the encoder has no class token.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from sigma_jax import errors, freeze
from sigma_jax import settings as settings_lib
from sigma_jax.models import modules, vit

GLOBAL = 2  # views that are as large as the settings say
SECOND, LOCAL = "second", "local"  # entries of a batch, beside "video"


@dataclasses.dataclass(frozen=True)
class Options(settings_lib.Method):
  """How views are cut and coloured; of `config.method`."""

  local_views: int = 0  # further views, smaller than the two large ones
  local_size: int = 96  # side of a local view, pixels
  local_frames: int = 0  # frames of a local view; 0: data.num_frames
  local_area: tuple[float, ...] = (0.05, 0.4)  # its share of a frame, from, to
  # Strengths of brightness, contrast, saturation (factors of 1 - x to 1 + x)
  # and hue (turns of -x to x).
  jitter: tuple[float, ...] = (0.4, 0.4, 0.2, 0.1)
  jitter_prob: float = 0.8  # share of the views that get the jitter
  grey_prob: float = 0.2  # share of the views that become grey
  blur: tuple[float, ...] = (0.1, 2.0)  # deviation, pixels, from, to
  # Share of the first, the second and the local views that are blurred.
  blur_prob: tuple[float, ...] = (0.5, 0.5, 0.5)
  # Likewise, that are solarised.
  solarize_prob: tuple[float, ...] = (0.0, 0.0, 0.0)

  def __post_init__(self):
    freeze.not_negative("method", self, "local_views", "local_frames")
    freeze.positive("method", self, "local_size")
    area = self.local_area
    if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
      raise ValueError(
        f"method.local_area must be two shares that rise in (0, 1], got {area}"
      )
    jitter = self.jitter
    if len(jitter) != 4 or not all(
      0 <= x <= most for x, most in zip(jitter, (1, 1, 1, 0.5), strict=True)
    ):
      raise ValueError(
        "method.jitter must be four values: three in [0, 1], and hue's in "
        f"[0, 0.5]; got {jitter}"
      )
    if len(self.blur) != 2 or not 0 < self.blur[0] <= self.blur[1]:
      raise ValueError(
        f"method.blur must be two values that rise from above 0, got "
        f"{self.blur}"
      )
    self._check_shares()

  def unread(self):
    found = [
      (
        "model.decoder_dim model.decoder_depth model.decoder_heads",
        f"method {self.name!r} has no decoder",
      )
    ]
    if not self.local_views:
      names = "method.local_size method.local_frames method.local_area"
      found.append((names, "method.local_views is 0"))
    if not self.jitter_prob:
      found.append(("method.jitter", "method.jitter_prob is 0"))
    if not any(self.blur_prob):
      found.append(("method.blur", "method.blur_prob is 0"))
    return tuple(found)

  def _check_shares(self):
    for name in ("blur_prob", "solarize_prob"):
      if len(getattr(self, name)) != 3:
        raise ValueError(
          f"method.{name} must be three values, of the first, the second and "
          f"the local views, got {getattr(self, name)}"
        )
    for name in ("jitter_prob", "grey_prob", "blur_prob", "solarize_prob"):
      value = getattr(self, name)
      values = value if isinstance(value, tuple) else (value,)
      if not 0 <= min(values) <= max(values) <= 1:
        raise ValueError(f"method.{name} must lie in [0, 1], got {value}")


class Compared:
  """Of a method of views: what it needs of the host, and how it takes it."""

  def load(self):
    check(self.settings)
    return {}

  def views(self):
    return further(self.settings)

  def colours(self):
    return colours(self.settings)

  def prepare(self, batch, key, frozen):
    return tubes(self.settings, batch)


def check(run: settings_lib.Settings) -> None:
  """Refuses what no view can be cut by.

  Raises:
    UserError: local views that the encoder's tubes do not divide.
  """
  options, model = run.method, run.model
  if not options.local_views:
    return
  sizes = (
    ("local_size", options.local_size, "patch"),
    ("local_frames", _local_frames(run), "tubelet"),
  )
  for name, size, of in sizes:
    if size % getattr(model, of):
      raise errors.UserError(
        f"method.{name} must be divisible by model.{of}, got {size} and "
        f"{getattr(model, of)}"
      )


def further(run: settings_lib.Settings) -> tuple[settings_lib.Views, ...]:
  """The second view, and local ones where there are any."""
  data, options = run.data, run.method
  found = [settings_lib.Views(SECOND, 1, data.num_frames, data.size)]
  if options.local_views:
    found.append(
      settings_lib.Views(
        LOCAL,
        options.local_views,
        _local_frames(run),
        options.local_size,
        options.local_area,
      )
    )
  return tuple(found)


def colours(run: settings_lib.Settings) -> dict[str, settings_lib.Colours]:
  """Of every entry of a batch."""
  options = run.method
  names = ("video", *(view.name for view in further(run)))
  return {
    name: settings_lib.Colours(
      options.jitter_prob,
      options.jitter,
      options.grey_prob,
      options.blur_prob[place],
      options.blur,
      options.solarize_prob[place],
    )
    for place, name in enumerate(names)
  }


def _local_frames(run: settings_lib.Settings) -> int:
  return run.method.local_frames or run.data.num_frames


def tubes(run: settings_lib.Settings, batch: dict) -> list[jax.Array]:
  """uint8 [b, count, n, values] of the two large views, and of local ones."""
  model = run.model
  large = jnp.concatenate([batch["video"][:, None], batch[SECOND]], axis=1)
  found = [large, batch[LOCAL]] if run.method.local_views else [large]

  def split(clips):
    flat = clips.reshape(-1, *clips.shape[2:])
    parts = vit.split_tubes(flat, model.tubelet, model.patch)
    return parts.reshape(*clips.shape[:2], *parts.shape[1:])

  return [split(clips) for clips in found]


def local_encoder(run: settings_lib.Settings, params: dict) -> vit.Encoder:
  """The encoder of these weights for local views; inside jit.

  Its table of positions is that of the large views, interpolated: a local view
  is a part of a clip, and its tubes have places all over the table, as DINO's.
  """
  options, model = run.method, run.model
  side = options.local_size // model.patch
  grid = (_local_frames(run) // model.tubelet, side, side)
  if model.positions != "rotary":
    model = dataclasses.replace(model, table_grid=run.grid)
  graph = modules.abstract(lambda rngs: vit.Encoder(model, grid, rngs=rngs))
  return modules.merge(graph.graph, params)


def embed(encoder: vit.Encoder, tubes: jax.Array) -> jax.Array:
  """Mean normed tokens, float32 [b, count, d], of [b, count, n, values]."""
  tokens = encoder(tubes.reshape(-1, *tubes.shape[2:]))
  return jnp.mean(tokens, axis=1).reshape(*tubes.shape[:2], -1)


def embedded(
  run: settings_lib.Settings,
  encoder: vit.Encoder,
  params: dict,
  inputs: list[jax.Array],
) -> list[jax.Array]:
  """Embeddings of the large views, and of local ones where there are any.

  Args:
    run: the run.
    encoder: of clips.
    params: its weights, for local views.
    inputs: from `tubes`.
  """
  found = [embed(encoder, inputs[0])]
  if run.method.local_views:
    found.append(embed(local_encoder(run, params), inputs[1]))
  return found


def head_of(head, embedded: jax.Array) -> jax.Array:
  """A head's outputs of embedded views, [b, count, ...], view by view."""
  outputs = head(embedded.reshape(-1, embedded.shape[-1]))
  return outputs.reshape(*embedded.shape[:2], -1)


def apart(outputs: list[jax.Array]) -> list[jax.Array]:
  """[b, count, p] of several sizes -> [b, p] of each view, large ones first."""
  return [each[:, view] for each in outputs for view in range(each.shape[1])]


def deviation(embedded: jax.Array) -> jax.Array:
  """Over clips, of each large view's embedding; mean over views and width."""
  return jnp.mean(jnp.std(embedded, axis=0))


def cosine(start: float, end: float, share: jax.Array) -> jax.Array:
  """From `start` to `end` by half a cosine as `share` goes from 0 to 1."""
  return end + 0.5 * (start - end) * (1 + jnp.cos(math.pi * share))


def steps_of(epochs: float, length) -> int:
  """The first step of the epoch of this number; 0 of a step on its own.

  Args:
    epochs: number of an epoch, from 0.
    length: `method.Length` or None.
  """
  return 0 if length is None else math.ceil(epochs * length.epoch)


def settled(step: int, length) -> bool:
  """Whether a tenth of the run is over: its first steps tell nothing yet."""
  return length is None or step >= length.steps // 10


def words(run: settings_lib.Settings) -> str:
  """The views, for a report."""
  options = run.method
  if not options.local_views:
    return "all seen, of two views a video"
  return (
    f"all seen, of two views a video and {options.local_views} local ones of "
    f"{options.local_size} pixels"
  )
