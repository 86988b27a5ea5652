"""Segmentation of a data set, a clip at a time: resumable, with pictures.

A workdir gets

  clips/00000.json     what was found of one clip, written when it is done
  overlays/00000_NAME_ENCODER.png, .mp4   the first clips in pictures
  results.json         all clips and their means
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sigma_jax import files
from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import frozen, published, scores
from sigma_jax.evaluate.segmentation import clip as segmentation
from sigma_jax.evaluate.segmentation import dense, overlays
from sigma_jax.train import identity as identity_lib
from sigma_jax.train import preemption
from sigma_jax.train import workdir as workdir_lib

_FPS = 5  # of the overlay videos
Row = dict[str, Any]


class Source(NamedTuple):
  """One clip to be read.

  name: shown. stamps: gives what changes when its files do, JSON-able. read:
  gives an object with video
  (uint8 [t, h, h, 3]), masks (uint8 [t, h, h], label ids) and distinct (bool
  [t], the frames that count).
  """

  name: str
  stamps: Callable[[], list]
  read: Callable[[], Any]


def run(
  config: settings_lib.Settings,
  workdir,
  sources: Sequence[Source],
  encode_video: Callable[[np.ndarray, int], bytes],
) -> None:
  """Judges all encoders on all clips, writes results.json and prints a table.

  Clips that an interrupted run of the same config, weights and files has
  finished are not computed again.

  Args:
    config: of the evaluation.
    workdir: of it.
    sources: the clips, at least one.
    encode_video: uint8 [t, h, w, 3] and frames a second -> mp4.

  Raises:
    UserError: see `dense.load`, and whatever reading a clip raises.
  """
  workdir = workdir_lib.path(workdir)
  encoders = dense.load(config)
  (workdir / "clips").mkdir(parents=True, exist_ok=True)
  identity = [config.fingerprint(), {n: e.sums for n, e in encoders.items()}]
  judged = encoders.get(dense.PRETRAINED)
  rows = []
  for number, source in enumerate(sources):
    file = workdir / "clips" / f"{number:05d}.json"
    key = _hash([identity, source.name, source.stamps()])
    found = _finished(file, key)
    if found is None:
      found = _judge(
        config,
        source,
        encoders,
        _artist(workdir, number, encode_video)
        if number < config.segmentation.overlays
        else None,
      )
      files.write_whole(file, json.dumps({"key": key, "rows": found}))
    rows += found
    print(_progress(number, len(sources), source.name, found), flush=True)
  means = summarize(rows, config.segmentation.bootstrap, config.seed)
  frozen.write(
    workdir,
    {
      "init": config.init,
      "step": judged.step if judged else None,
      "identity": identity_lib.of_sums(judged.sums) if judged else "",
      "seed": config.seed,
      "config": config.fingerprint(),
      "views": 1,
      "rows": means,
      "clips": rows,
    },
  )
  others = published.by_protocol(config.segmentation.published, "miou")
  print(table(means, others))


def summarize(rows: list[Row], resamples: int, seed: int) -> list[Row]:
  """The mean over clips of every encoder under every protocol.

  Args:
    rows: one a clip, encoder and protocol.
    resamples: of the clips, for the interval.
    seed: of the resamples.

  Returns:
    Rows of encoder, protocol, miou, low, high (in [0, 1], the 95% interval of
    a bootstrap over clips) and num_clips.
  """
  values: dict[tuple[str, str], list[float]] = {}
  for row in rows:
    which = row["encoder"], row["protocol"]
    values.setdefault(which, []).append(row["miou"])
  means = []
  for (encoder, protocol), of_clips in values.items():
    low, high = scores.bootstrap_mean(np.array(of_clips), resamples, seed)
    means.append(
      {
        "encoder": encoder,
        "protocol": protocol,
        "miou": float(np.mean(of_clips)),
        "low": low,
        "high": high,
        "num_clips": len(of_clips),
      }
    )
  return means


def table(means: list[Row], figures: dict[str, dict[str, float]]) -> str:
  """The means as aligned text, one encoder a column, published ones last.

  Args:
    means: of `summarize`.
    figures: see `published.by_protocol`.
  """
  encoders = list(dict.fromkeys(row["encoder"] for row in means))
  others = list(dict.fromkeys(n for row in figures.values() for n in row))
  cells = {(row["protocol"], row["encoder"]): _cell(row) for row in means}
  for protocol, values in figures.items():
    cells |= {(protocol, n): f"{100 * v:.1f}" for n, v in values.items()}
  head = f"mIoU, %, {means[0]['num_clips']} clips"
  heads = encoders + [f"{name}*" for name in others]
  lines = [f"{head:24s}" + "".join(f"{name:>22s}" for name in heads)]
  for protocol in segmentation.PROTOCOLS:
    columns = [cells.get((protocol, n), "-") for n in encoders + others]
    lines.append(f"{protocol:24s}" + "".join(f"{c:>22s}" for c in columns))
  if others:
    lines.append(f"* {published.NOTE}")
  return "\n".join(lines)


def _cell(row: Row) -> str:
  mean, low, high = (100 * row[name] for name in ("miou", "low", "high"))
  return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _judge(config, source: Source, encoders, draw) -> list[Row]:
  """Rows of one clip: every encoder under every protocol."""
  clip = source.read()
  rows = []
  for name, encoder in encoders.items():
    preemption.poll(f" before {source.name}; finished clips are kept")
    found = segmentation.segment(
      encoder.maps(clip.video),
      clip.masks,
      clip.distinct,
      config.segmentation,
      config.seed,
    )
    if draw is not None:
      draw(source.name, name, clip, found)
    for protocol, segments in found.items():
      rows.append(
        {
          "clip": source.name,
          "encoder": name,
          "protocol": protocol,
          "miou": segments.mean_iou,
          "iou": {str(label): v for label, v in segments.iou.items()},
          "num_frames": int(clip.distinct.sum()),
        }
      )
  return rows


def _artist(workdir, number: int, encode_video):
  """A function that writes the pictures of one clip."""
  folder = workdir / "overlays"
  folder.mkdir(exist_ok=True)

  def draw(clip_name: str, encoder: str, clip, found: dict) -> None:
    safe = re.sub(r"[^\w.-]", "_", clip_name)
    stem = f"{number:05d}_{safe}_{encoder}"
    painted = {"ground truth": overlays.paint(clip.video, clip.masks)}
    for protocol, segments in found.items():
      title = f"{protocol} {100 * segments.mean_iou:.1f}"
      painted[title] = overlays.paint(clip.video, segments.labels)
    video = encode_video(overlays.beside(painted), _FPS)
    files.write_whole(folder / f"{stem}.mp4", video)
    rows = {"frames": clip.video} | painted
    for protocol, segments in found.items():
      clusters = segments.clusters.astype(np.int64) + 1
      rows[f"clusters of {protocol}"] = overlays.paint(clip.video, clusters)
    files.write_whole(folder / f"{stem}.png", overlays.sheet(rows))

  return draw


def _finished(file, key: str) -> list[Row] | None:
  """The rows that a former run left, if they are of the same evaluation."""
  if not file.is_file():
    return None
  try:
    found = json.loads(file.read_text())
    return found["rows"] if found["key"] == key else None
  except (ValueError, KeyError, TypeError):  # damaged: computed again
    return None


def _hash(value) -> str:
  return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _progress(number: int, count: int, name: str, rows: list[Row]) -> str:
  found = ", ".join(
    f"{row['encoder']} {row['protocol']} {100 * row['miou']:.1f}"
    for row in rows
  )
  return f"{number + 1}/{count} {name}: {found}"
