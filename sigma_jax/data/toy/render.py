"""Draws the toy clips: scanned digits that move over drifting waves.

Every clip of one digit has an appearance class (which digit: what Kinetics
asks) and a motion class (how it moves: what Something-Something asks),
independent of each other. The digits are real scans (scikit-learn's
`load_digits`, 8 x 8, UCI optical recognition of handwritten digits); validation
clips use scans that no training clip uses.

What makes clustering of tubes learn something here was found by experiment
(docs/LOG.md): objects large enough to fill many tubes, on a background that
is textured but predictable. On flat colour most tubes are identical; on
photographs the background's clusters are most of the loss.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

APPEARANCES = tuple(f"digit {i}" for i in range(10))
MOTIONS = (
  "move left",
  "move right",
  "move up",
  "move down",
  "turn clockwise",
  "turn counter-clockwise",
  "grow",
  "shrink",
)
NUM_FRAMES = 10
SIZE = 36  # pixels, square
_SPRITE = 32  # pixels a scan is enlarged to before it is drawn


@dataclasses.dataclass(frozen=True)
class Clip:
  """One drawn clip.

  frames: uint8 [t, h, w, 3], RGB. ids: uint8 [t, h, w], 0 on the background, i
  on the i-th object.
  """

  frames: np.ndarray
  ids: np.ndarray


def draw(
  rng: np.random.Generator,
  sprites: Sequence[np.ndarray],
  motions: Sequence[int],
  side: int = SIZE,
) -> Clip:
  """Draws an object about the middle, or up to four, in a quarter each.

  Args:
    rng: the clip's own generator; the clip is a pure function of it.
    sprites: float32 [32, 32] in [0, 1], enlarged scans (see `load_sprites`),
      one an object, the last in front.
    motions: index into `MOTIONS`, one an object.
    side: of the square picture, pixels.
  """
  time = np.linspace(-1.0, 1.0, NUM_FRAMES, dtype=np.float32)
  drift = rng.uniform(-3.0, 3.0, 2).astype(np.float32)
  camera = time[:, None] * drift
  background = waves(rng, camera, side)
  centres = np.zeros((1, 2), np.float32)
  if len(sprites) > 1:
    quarters = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)], np.float32)
    centres = rng.permutation(quarters)[: len(sprites)] * side / 4
  alphas = [
    _moving_sprite(rng, sprite, motion, time, camera + centre, side)
    for sprite, motion, centre in zip(sprites, motions, centres, strict=True)
  ]
  return compose(rng, background, alphas)


def compose(
  rng: np.random.Generator,
  background: np.ndarray,
  alphas: Sequence[np.ndarray],
) -> Clip:
  """Lays objects of one colour each over a background, and noise over all.

  Args:
    rng: of the clip.
    background: float32 [t, h, w, 3] in [0, 1].
    alphas: float32 [t, h, w] in [0, 1], each object's opacity, the last in
      front.
  """
  image = background
  ids = np.zeros(background.shape[:-1], np.uint8)
  for number, alpha in enumerate(alphas, 1):
    # Lit objects on a darker ground: were either brighter at random, colour
    # would be most of what a tube's normalised pixels tell apart.
    colour = rng.uniform(0.75, 1.0, 3).astype(np.float32)
    image = image + alpha[..., None] * (colour - image)
    ids[alpha > 0.5] = number
  image += rng.normal(0.0, 0.005, image.shape).astype(np.float32)
  frames = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
  return Clip(frames, ids)


def load_sprites() -> tuple[np.ndarray, np.ndarray]:
  """All scans enlarged: float32 [1797, 32, 32] in [0, 1], int [1797]."""
  # Imported here: scikit-learn takes a second that decoding need not wait for.
  from sklearn import datasets

  digits = datasets.load_digits()
  # One pixel of margin keeps strokes off the sprite's edge.
  padded = np.pad(digits.images / 16.0, ((0, 0), (1, 1), (1, 1)))
  factor = _SPRITE / padded.shape[1]
  sprites = ndimage.zoom(padded, (1, factor, factor), order=3)
  return np.clip(sprites, 0, 1).astype(np.float32), digits.target


def _pixel_grid(side: int) -> tuple[np.ndarray, np.ndarray]:
  centre = (side - 1) / 2
  axis = np.arange(side, dtype=np.float32) - centre
  return np.meshgrid(axis, axis, indexing="ij")


def waves(
  rng: np.random.Generator, camera: np.ndarray, side: int
) -> np.ndarray:
  """Two colours mixed by two plane waves that move.

  Args:
    rng: of the clip.
    camera: float32 [t, 2], by how much the picture is displaced, pixels.
    side: of the square picture, pixels.

  Returns:
    float32 [t, side, side, 3] in [0, 1].
  """
  rows, columns = _pixel_grid(side)
  y = rows[None] + camera[:, 0, None, None]
  x = columns[None] + camera[:, 1, None, None]
  time = np.arange(len(camera), dtype=np.float32)[:, None, None]
  mix = np.zeros((len(camera), side, side), np.float32)
  for _ in range(2):
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    wave = 2 * np.pi / rng.uniform(12.0, 28.0)
    speed = rng.uniform(-0.4, 0.4)
    along = np.cos(angle) * x + np.sin(angle) * y
    mix += 0.25 * np.sin(wave * along + phase + speed * time)
  first, second = rng.uniform(0.0, 0.5, (2, 3)).astype(np.float32)
  return first + (0.5 + mix)[..., None] * (second - first)


def _moving_sprite(rng, sprite, motion, time, camera, side) -> np.ndarray:
  """Opacity of the object, float32 [t, h, w]."""
  shift = np.zeros((NUM_FRAMES, 2), np.float32)
  turn = np.full(NUM_FRAMES, rng.uniform(-0.25, 0.25), np.float32)
  size = np.full(NUM_FRAMES, rng.uniform(22.0, 28.0), np.float32)
  amount = rng.uniform(0.75, 1.25)
  sign = -1.0 if motion % 2 == 0 else 1.0
  if motion < 4:
    axis = 1 if motion < 2 else 0  # columns for left and right
    shift[:, axis] = sign * 6.0 * amount * time
  elif motion < 6:
    turn = turn + sign * 0.8 * amount * time
  else:
    size = size * np.exp(-sign * 0.35 * amount * time)
  start = rng.uniform(-3.0, 3.0, 2).astype(np.float32)
  return opacity(sprite, start + shift + camera, turn, size, side)


def opacity(
  sprite: np.ndarray,
  centre: np.ndarray,
  turn: np.ndarray,
  size: np.ndarray,
  side: int,
) -> np.ndarray:
  """A sprite drawn once a frame.

  Args:
    sprite: float32 [32, 32] in [0, 1].
    centre: float32 [t, 2], its place, row and column from the picture's middle.
    turn: float32 [t], counter-clockwise, radians.
    size: float32 [t], its side, pixels.
    side: of the square picture, pixels.

  Returns:
    float32 [t, side, side] in [0, 1].
  """
  rows, columns = _pixel_grid(side)
  y = rows[None] - centre[:, 0, None, None]
  x = columns[None] - centre[:, 1, None, None]
  cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
  scale = _SPRITE / size[:, None, None]
  middle = (_SPRITE - 1) / 2
  at = [(cos * y - sin * x) * scale, (sin * y + cos * x) * scale]
  found = ndimage.map_coordinates(
    sprite, [a + middle for a in at], order=1, mode="constant"
  )
  return np.clip(1.5 * found, 0.0, 1.0)
