"""Findings about the files of some manifests -> numbers and text."""

import collections
import dataclasses
import functools
import itertools
import os

import numpy as np

from sigma_jax.data import storage
from sigma_jax.data.check.file import CLIP_FRAMES, CLIP_STRIDE, Finding

_LISTED = 10  # examples of one kind in the text; the JSON has all


@dataclasses.dataclass(frozen=True)
class Split:
  """One manifest, folder of prepared records or list of sequences.

  Attributes:
    path: of it.
    files: n files, as listed.
    labels: [n], int32, or names as objects, "" or below 0 where there is none;
      None: a list of sequences.
    masks: mask files -> their frames.
    records: n names of the records, where that is what is read.
    in_tars: files -> where in a tar they are, `tars.member.Member`.
  """

  path: str
  files: tuple[str, ...]
  labels: np.ndarray | None
  masks: dict[str, str]
  records: tuple[str, ...] = ()
  in_tars: dict = dataclasses.field(default_factory=dict)

  @property
  def read(self) -> tuple[str, ...]:
    """Names of what is read for each row: its file, or its record."""
    return self.records or self.files

  @functools.cached_property
  def places(self) -> tuple[str, ...]:
    """Files as the disk knows them: equal for all spellings, and by links."""
    return tuple(
      file if storage.is_remote(file) else os.path.realpath(file)
      for file in self.files
    )


def gather(
  splits: list[Split], found: dict[str, Finding], digests: dict[str, str]
) -> dict:
  """Everything that is to be said, for JSON.

  Args:
    splits: what was checked.
    found: by name of what was read; what was not sampled is not in it.
    digests: of what looks like another one, by name.

  Returns:
    `manifests`, one dict a split; `between`, one a pair of splits that share
    files; `time`, of reading a clip; `problems`, how many there are.
  """
  manifests = [_split(split, found, digests) for split in splits]
  between = [
    shared
    for pair in itertools.combinations(splits, 2)
    if (shared := _between(*pair, digests))
  ]
  problems = sum(
    len(m["unreadable"]) + len(m["conflicting_labels"]) for m in manifests
  )
  problems += sum(
    len(pair["same_path"]) + len(pair["same_content"]) for pair in between
  )
  return {
    "manifests": manifests,
    "between": between,
    "time": _time(found),
    "problems": problems,
  }


def _split(split: Split, found: dict[str, Finding], digests) -> dict:
  files = list(dict.fromkeys((*split.read, *split.masks)))
  tried = {file: found[file] for file in files if file in found}
  bad = {file: f.reason for file, f in tried.items() if f.reason}
  bad |= _wrong_sizes(split.masks, tried)
  notes = {f: x.note for f, x in tried.items() if x.note and f not in bad}
  good = [f for file, f in tried.items() if file not in bad]
  videos = [f for f in good if f.num_frames > 1]
  seconds = [f.num_frames / f.fps for f in videos if f.fps]
  short = (CLIP_FRAMES - 1) * CLIP_STRIDE + 1
  return {
    "path": split.path,
    "rows": len(split.files),
    "files": len(files),
    "checked": len(tried),
    "readable": len(good),
    "unreadable": [{"file": f, "reason": r} for f, r in sorted(bad.items())],
    "notes": [{"file": f, "note": n} for f, n in sorted(notes.items())],
    "codecs": _count(f.codec for f in good),
    "sizes": _count(f"{f.width}x{f.height}" for f in good),
    "frames": _spread([f.num_frames for f in videos]),
    "shorter_than_a_clip": sum(f.num_frames < short for f in videos),
    "seconds": _spread(seconds) | {"total": sum(seconds)},
    "bytes": sum(f.num_bytes for f in good),
    **_labels(split, digests),
    "repeated_rows": len(split.files) - len(set(split.places)),
    "same_content": _twins(split, digests),
  }


def _labels(split: Split, digests: dict[str, str]) -> dict:
  """Rows of each class, and videos that have several.

  A video is one however its path is written, by links too, and so are files of
  equal content: no classifier can be right on two labels.
  """
  if split.labels is None:
    return {"classes": {}, "conflicting_labels": []}
  labels = split.labels.tolist()
  content = {
    place: digests[name]
    for place, name in zip(split.places, split.read, strict=True)
    if name in digests
  }
  of_video = collections.defaultdict(lambda: (set(), {}))
  for file, place, label in zip(split.files, split.places, labels, strict=True):
    if _is_label(label):
      found, files = of_video[content.get(place, place)]
      found.add(label)
      files[file] = None
  return {
    "classes": _count(filter(_is_label, labels)),
    "conflicting_labels": [
      {"file": file, "labels": sorted(found), "also": sorted(others)}
      for found, (file, *others) in sorted(
        of_video.values(), key=lambda video: next(iter(video[1]))
      )
      if len(found) > 1
    ],
  }


def _is_label(label: int | str) -> bool:
  return label >= 0 if isinstance(label, int) else bool(label)


def _wrong_sizes(masks: dict[str, str], tried) -> dict[str, str]:
  wrong = {}
  for mask, frame in masks.items():
    pair = tried.get(mask), tried.get(frame)
    if None in pair or any(finding.reason for finding in pair):
      continue
    sizes = [f"{f.width}x{f.height}" for f in pair]
    if sizes[0] != sizes[1]:
      wrong[mask] = f"mask of {sizes[0]} pixels for a frame of {sizes[1]}"
  return wrong


def _twins(split: Split, digests: dict[str, str]) -> list[list[str]]:
  """Groups of different files of equal content; frames may well be equal."""
  if split.labels is None:
    return []
  groups = collections.defaultdict(dict)
  for file, place, name in zip(
    split.files, split.places, split.read, strict=True
  ):
    if name in digests:
      groups[digests[name]].setdefault(place, file)
  return [list(group.values()) for group in groups.values() if len(group) > 1]


def _of_file(split: Split) -> dict[str, str]:
  """File -> what is read for the last row that names it."""
  return dict(zip(split.files, split.read, strict=True))


def _between(one: Split, other: Split, digests: dict[str, str]) -> dict | None:
  """Files that two splits have in common, by path or by content."""
  paths = [
    dict(zip(split.places, split.files, strict=True)) for split in (one, other)
  ]
  both = sorted(paths[0].keys() & paths[1].keys())
  places = {
    file: place
    for split in (one, other)
    for file, place in zip(split.files, split.places, strict=True)
  }
  contents = [
    {
      digests[name]: file
      for file, name in _of_file(split).items()
      if name in digests and places[file] not in both
    }
    for split in (one, other)
  ]
  equal = sorted(contents[0].keys() & contents[1].keys())
  if not both and not equal:
    return None
  return {
    "manifests": [one.path, other.path],
    "same_path": [paths[0][real] for real in both],
    "same_content": [[of[key] for of in contents] for key in equal],
  }


def _time(found: dict[str, Finding]) -> dict:
  read = {file: f for file, f in found.items() if not f.reason}
  taken = sorted(f.seconds for f in read.values())
  if not taken:
    return {}
  slowest = max(read, key=lambda file: read[file].seconds)
  return {
    "median": float(np.median(taken)),
    "p95": float(np.quantile(taken, 0.95)),
    "max": taken[-1],
    "slowest": slowest,
    "clips_per_second_and_process": len(taken) / max(sum(taken), 1e-9),
  }


def _count(values) -> dict:
  """Value -> how often, the most frequent first."""
  return dict(collections.Counter(values).most_common())


def _spread(values: list) -> dict:
  if not values:
    return {}
  return {
    "min": min(values),
    "median": float(np.median(values)),
    "max": max(values),
  }


def text(report: dict) -> str:
  """The report for people to read."""
  lines = []
  for manifest in report["manifests"]:
    lines += _manifest_lines(manifest)
  for pair in report["between"]:
    lines += _pair_lines(pair)
  if time := report["time"]:
    rate = time["clips_per_second_and_process"]
    lines.append(
      f"a clip of {CLIP_FRAMES} frames, stride {CLIP_STRIDE}: median "
      f"{time['median']:.3f} s, 95% {time['p95']:.3f} s, slowest "
      f"{time['max']:.3f} s ({time['slowest']}); {rate:.1f} clips/s a process"
    )
  count = report["problems"]
  lines.append(f"problems: {count or 'none'}")
  return "\n".join(lines)


def _manifest_lines(m: dict) -> list[str]:
  lines = [
    f"{m['path']}: {m['rows']} rows, {m['files']} files, {m['checked']} "
    f"checked, {m['readable']} readable, {m['bytes'] / 1e9:.2f} GB"
  ]
  for key in ("codecs", "sizes"):
    if m[key]:
      lines.append(f"  {key}: {_top(m[key])}")
  if m["frames"]:
    lines.append(
      f"  frames: {_range(m['frames'], 'd')}; {m['shorter_than_a_clip']} "
      f"videos shorter than {CLIP_FRAMES} frames at stride {CLIP_STRIDE}"
    )
  if m["seconds"].get("max"):
    hours = m["seconds"]["total"] / 3600
    lines.append(f"  seconds: {_range(m['seconds'], '.1f')}; {hours:.1f} h")
  if m["classes"]:
    spread = _range(_spread(list(m["classes"].values())), "d")
    rarest = dict(list(m["classes"].items())[::-1])
    lines.append(f"  classes: {len(m['classes'])} of {spread} rows")
    lines.append(f"    most rows: {_top(m['classes'])}")
    lines.append(f"    fewest rows: {_top(rarest)}")
  if m["repeated_rows"]:
    lines.append(f"  rows that name another row's file: {m['repeated_rows']}")
  if m["same_content"]:
    lines.append(f"  groups of equal content: {len(m['same_content'])}")
    lines += _examples(" = ".join(group) for group in m["same_content"])
  if m["conflicting_labels"]:
    lines.append(f"  files of several labels: {len(m['conflicting_labels'])}")
    lines += _examples(
      f"{' = '.join([c['file'], *c['also']])}: {c['labels']}"
      for c in m["conflicting_labels"]
    )
  if m["notes"]:
    lines.append(f"  to be looked at: {len(m['notes'])}")
    lines += _examples(f"{n['file']}: {n['note']}" for n in m["notes"])
  if m["unreadable"]:
    lines.append(f"  unreadable: {len(m['unreadable'])}")
    lines += _examples(f"{u['file']}: {u['reason']}" for u in m["unreadable"])
  return lines


def _pair_lines(pair: dict) -> list[str]:
  one, other = pair["manifests"]
  return [
    f"{one} and {other}: {len(pair['same_path'])} files in both, "
    f"{len(pair['same_content'])} more of equal content",
    *_examples(
      [*pair["same_path"], *(" = ".join(two) for two in pair["same_content"])]
    ),
  ]


def _examples(items) -> list[str]:
  items = list(items)
  lines = [f"    {item}" for item in items[:_LISTED]]
  if len(items) > _LISTED:
    lines.append(f"    and {len(items) - _LISTED} more, all in --json")
  return lines


def _top(counts: dict, number: int = 5) -> str:
  shown = ", ".join(f"{k} ({n})" for k, n in list(counts.items())[:number])
  more = len(counts) - number
  return f"{shown} and {more} more" if more > 0 else shown


def _range(spread: dict, form: str) -> str:
  low, high = format(spread["min"], form), format(spread["max"], form)
  return f"{low} to {high}, median {spread['median']:g}"
