"""CIFAR-100, by way of TensorFlow Datasets.

--tfds is the data_dir of TensorFlow Datasets that holds, or will hold with
--download, cifar100/3.0.2. The images become PNG files under OUT/images and the
manifests name them; the official test part becomes val.csv.
"""

import functools
import pathlib

from PIL import Image

from sigma_jax import errors, files, paths
from sigma_jax.data.layouts import arguments, manifests
from sigma_jax.data.layouts.manifests import Placed

_SPLITS = {"train": "train", "val": "test"}


def add_arguments(parser) -> None:
  parser.add_argument(
    "--tfds", type=paths.argument, required=True, help="data_dir of cifar100"
  )
  parser.add_argument(
    "--download", action="store_true", help="let TensorFlow Datasets fetch it"
  )
  arguments.add_out(parser)


def run(args) -> None:
  # Imported late: it loads TensorFlow, which the other commands do without.
  import tensorflow_datasets as tfds

  builder = tfds.builder("cifar100", data_dir=args.tfds)
  if args.download:
    builder.download_and_prepare()
  elif not builder.is_prepared():
    raise errors.UserError(
      f"no cifar100 in {builder.data_path}; --download fetches it"
    )
  splits = {
    split: _export(tfds.as_numpy(builder.as_dataset(official)), args.out, split)
    for split, official in _SPLITS.items()
  }
  manifests.write(
    args.out,
    splits,
    classes=tuple(builder.info.features["label"].names),
    base=args.out,
    source=str(builder.data_path),
  )


def _export(examples, out: str, split: str) -> list[Placed]:
  """Writes one PNG an example, named by its place."""
  folder = pathlib.Path(out).absolute() / "images" / split
  folder.mkdir(parents=True, exist_ok=True)
  rows = []
  for number, example in enumerate(examples):
    path = folder / f"{number:05d}.png"
    image = Image.fromarray(example["image"])
    files.write_whole(path, functools.partial(image.save, format="PNG"))
    rows.append(Placed(path.stem, int(example["label"]), str(path)))
  return rows
