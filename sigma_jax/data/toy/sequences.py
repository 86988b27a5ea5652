"""Toy scenes with masks, in DAVIS's layout.

python -m sigma_jax.data.toy.sequences --out data/toy_sequences

Writes OUT/JPEGImages/480p/NAME/00000.jpg and OUT/Annotations/480p/NAME/
00000.png: three different digits of the validation scans of
`sigma_jax.data.toy`, each as large as there and moving in a way of its own. In
a mask 1 to 3 are the digits, later ones in front. Several objects alike in
brightness ask more of features than one on a darker ground, which raw pixels
tell apart.
"""

import argparse
import functools
import pathlib
import sys

from PIL import Image

from sigma_jax import cli, files, freeze, paths
from sigma_jax.data.toy import digits, folder, render

OBJECTS = 3
SIDE = 64  # pixels, square
# DAVIS's colours of ids 0 to 3.
_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def draw(seed: int, number: int) -> render.Clip:
  """The scene of that number, a pure function of both arguments."""
  rng = folder.generator(seed, "val", number)
  kinds = rng.permutation(len(render.APPEARANCES))[:OBJECTS]
  scans = [digits.sprites(seed)["val"][kind] for kind in kinds]
  sprites = [of_kind[rng.integers(len(of_kind))] for of_kind in scans]
  motions = rng.permutation(len(render.MOTIONS))[:OBJECTS].tolist()
  return render.draw(rng, sprites, motions, SIDE)


def write(out: str | pathlib.Path, count: int, seed: int = 0) -> None:
  """Writes `count` sequences, each a pure function of the seed and its number.

  Args:
    out: folder, made if missing.
    count: sequences.
    seed: of the toy set that the digits are from.

  Raises:
    OSError: it cannot be written.
  """
  for number in range(count):
    clip = draw(seed, number)
    frames, masks = (
      pathlib.Path(out, kind, "480p", f"toy-{number:05d}")
      for kind in ("JPEGImages", "Annotations")
    )
    frames.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for time, (frame, mask) in enumerate(
      zip(clip.frames, clip.ids, strict=True)
    ):
      files.write_whole(
        frames / f"{time:05d}.jpg",
        functools.partial(
          Image.fromarray(frame).save, format="JPEG", quality=95, subsampling=0
        ),
      )
      ids = Image.fromarray(mask).convert("P")
      ids.putpalette(_PALETTE)
      files.write_whole(
        masks / f"{time:05d}.png", functools.partial(ids.save, format="PNG")
      )


def main(argv: list[str] | None = None) -> int:
  """Command line; returns the exit code."""
  parser = cli.Parser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--out", type=paths.argument, required=True, help="folder to write"
  )
  parser.add_argument("--count", type=int, default=30, help="sequences")
  parser.add_argument("--seed", type=int, default=0)
  args = parser.parse_args(argv)
  return cli.answer(lambda: _answer(args))


def _answer(args: argparse.Namespace) -> None:
  freeze.seed("--seed", args.seed)
  write(args.out, args.count, args.seed)
  print(f"{args.count} sequences written to {args.out}")


if __name__ == "__main__":
  sys.exit(main())
