"""Toy clips with masks, in DAVIS's layout.

python -m sigma_jax.data.toy_sequences --out data/toy_sequences

Writes OUT/JPEGImages/480p/NAME/00000.jpg and OUT/Annotations/480p/NAME/
00000.png, the validation clips of `sigma_jax.data.toy` before they become
videos. In a mask 1 is the object.
"""

import argparse
import pathlib
import sys

import numpy as np
from PIL import Image

from sigma_jax.data import toy


def write(out: str | pathlib.Path, count: int, seed: int = 0) -> None:
  """Writes `count` sequences, each a pure function of the seed and its number.

  Args:
    out: folder, made if missing.
    count: sequences.
    seed: of the toy set that they are from.

  Raises:
    OSError: it cannot be written.
  """
  for number in range(count):
    clip, _ = toy.draw_clip(seed, "val", number)
    frames, masks = (
      pathlib.Path(out, kind, "480p", f"toy-{number:05d}")
      for kind in ("JPEGImages", "Annotations")
    )
    frames.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for time, (frame, mask) in enumerate(
      zip(clip.frames, clip.mask, strict=True)
    ):
      Image.fromarray(frame).save(
        frames / f"{time:05d}.jpg", quality=95, subsampling=0
      )
      ids = Image.fromarray(mask.astype(np.uint8)).convert("P")
      ids.putpalette([0, 0, 0, 128, 0, 0])
      ids.save(masks / f"{time:05d}.png")


def main(argv: list[str] | None = None) -> int:
  """Command line; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", required=True, help="folder to write")
  parser.add_argument("--count", type=int, default=20, help="sequences")
  parser.add_argument("--seed", type=int, default=0)
  args = parser.parse_args(argv)
  try:
    write(args.out, args.count, args.seed)
  except OSError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(f"{args.count} sequences written to {args.out}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
