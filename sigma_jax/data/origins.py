"""How a list that is not there is made: the command, and the page on it.

Configs name their lists data/<folder>/<file>; a folder is a data set's, or a
toy set's.
"""

import os

from sigma_jax.data.layouts.__main__ import DATASETS

# Folder: the data set, where its name is another one.
_SHORT = {
  "k400": "kinetics400",
  "k600": "kinetics600",
  "k700": "kinetics700",
  "ytvos": "youtube_vos",
}
_TOYS = {
  "toy": "sigma_jax.data.toy",
  "toy_multilabel": "sigma_jax.data.toy.multilabel --toy=data/toy",
  "toy_repetitions": "sigma_jax.data.toy.repetitions",
  "toy_sequences": "sigma_jax.data.toy.sequences",
}


def hint(path: str) -> str:
  """One line on how the list at `path` is made; "" where that is not known."""
  folder = os.path.dirname(path)
  for place in (folder, path):  # a list in the folder, or the folder itself
    name = os.path.basename(place)
    if name in _TOYS:
      return f"python -m {_TOYS[name]} --out={place} makes it"
  name = os.path.basename(folder)
  # A subset is <data set>_<subset>.
  known = [set_ for set_ in DATASETS if f"{name}_".startswith(f"{set_}_")]
  dataset = _SHORT.get(name) or max(known, key=len, default="")
  if not dataset:
    return ""
  return (
    f"python -m sigma_jax.data.layouts {dataset} --out={folder} makes it (see "
    f"docs/datasets/{dataset}.md); meanwhile --config=configs/toy.py needs no "
    "download, after python -m sigma_jax.data.toy --out=data/toy"
  )
