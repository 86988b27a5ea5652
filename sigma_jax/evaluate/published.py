"""Figures of the paper (https://arxiv.org/abs/2407.15447), and ours beside
them.

Nothing here was measured with this code. Models are ViT-B, pre-trained on
Kinetics-400 unless the method says otherwise. Values are as in rows of results:
shares from 0 to 1, and relative errors of counting.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# What is said below every table that holds such figures.
NOTE = (
  "published: https://arxiv.org/abs/2407.15447, ViT-B pre-trained on "
  "Kinetics-400 where nothing else is said; not measured here"
)
# Protocols are named as in rows of results. The probe on cached features,
# "linear", is another one: without augmentation.
LINEAR, FINETUNE = "linear, augmented", "finetune"
OVERCLUSTERING, SEVERE = "overclustering", "severe"
THIS_RUN = "this run"  # the method of rows that name none
_ERROR = "error"  # the one metric that is no share
_PUBLISHED = " (published)"
# Of metrics, with their units.
METRIC_NAMES = {
  "top1": "top-1, %",
  "top5": "top-5, %",
  "mean_per_class": "mean per class, %",
  "map": "mAP, %",
  "miou": "mIoU, %",
  "off_by_one": "off by one, %",
  "severe_mean": "mean, %",
  _ERROR: "relative error",
}
# The tasks of SEVERE (https://arxiv.org/abs/2203.14221) and their metrics.
SEVERE_TASKS = {
  "ssv2": "top1",
  "gym99": "top1",
  "ucf101_1000": "top1",
  "gym99_1000": "top1",
  "fx_s1": "top1",
  "ub_s1": "top1",
  "ucfrep": _ERROR,
  "charades": "map",
}

# The paper's ablation: top-1 of fine-tuning on mini-SSv2, a part of SSv2. K:
# the number of prototypes of SIGMA-MLP.
ABLATION = {
  "L2": 0.364,
  "VideoMAE": 0.569,
  "SIGMA-MLP": 0.603,
  "K 1000": 0.597,
  "K 4000": 0.603,
  "K 6000": 0.601,
}


class Figure(NamedTuple):
  """One published number; value as in a row of results."""

  protocol: str
  dataset: str
  metric: str
  method: str
  value: float


def severe_mean(values: Mapping[str, float]) -> float:
  """Mean over the eight tasks of SEVERE, a share in [0, 1].

  Counting enters as 1 - error. The paper does not say so; it gives the mean of
  SIGMA within 0.006.

  Args:
    values: one for each of SEVERE_TASKS, in its metric.

  Raises:
    ValueError: a task is missing.
  """
  missing = [name for name in SEVERE_TASKS if name not in values]
  if missing:
    raise ValueError(
      f"the mean of SEVERE is over eight tasks; missing: {', '.join(missing)}"
    )
  gains = [
    1 - values[name] if metric == _ERROR else values[name]
    for name, metric in SEVERE_TASKS.items()
  ]
  return sum(gains) / len(gains)


def by_protocol(dataset: str, metric: str) -> dict[str, dict[str, float]]:
  """Protocol -> method -> value of one data set; {} where there are none."""
  found: dict[str, dict[str, float]] = {}
  for figure in FIGURES:
    if (figure.dataset, figure.metric) == (dataset, metric):
      found.setdefault(figure.protocol, {})[figure.method] = figure.value
  return found


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
  """A table of results beside the published figures, which are marked.

  A line for each protocol, data set and metric of the rows; of protocols for
  whose data sets there are published figures, a line for the others of them
  too, so that what was not run shows.

  Args:
    rows: protocol, dataset, metric, value, and where known low and high (95%
      interval) and method (a column). Values of None are "-".

  Raises:
    ValueError: two rows are of the same cell.
  """
  cells: dict[tuple, dict[str, str]] = {}
  for row in rows:
    line = cells.setdefault(tuple(row[k] for k in Figure._fields[:3]), {})
    method = row.get("method", THIS_RUN)
    if method in line:
      raise ValueError(f"two results for {row['dataset']} of {method!r}")
    line[method] = cell(row)
  methods = list(
    dict.fromkeys(name for line in cells.values() for name in line)
  )
  shared = {f.protocol for f in FIGURES if f[:3] in cells}
  figures = [figure for figure in FIGURES if figure.protocol in shared]
  for figure in figures:
    line = cells.setdefault(figure[:3], {})
    line[figure.method + _PUBLISHED] = cell(figure._asdict())
  methods += dict.fromkeys(figure.method + _PUBLISHED for figure in figures)
  lines = [
    ["protocol", "data set", "metric", *methods],
    ["---"] * 3 + ["---:"] * len(methods),
  ]
  for (protocol, dataset, metric), line in cells.items():
    shown = METRIC_NAMES.get(metric, metric)
    values = [line.get(method, "-") for method in methods]
    lines.append([protocol, dataset, shown, *values])
  notes = ["In brackets: 95% interval."]
  if figures:
    notes += ["", f"{NOTE[0].upper()}{NOTE[1:]}."]
  return "\n".join([*map(_line, lines), "", *notes]) + "\n"


def cell(row: Mapping[str, Any]) -> str:
  """A row's value and, where known, its interval, in the metric's unit.

  Args:
    row: metric and value, perhaps low and high; a value of None is "-".
  """
  if row["value"] is None:
    return "-"
  scale, digits = (1, 3) if row["metric"] == _ERROR else (100, 1)
  text = f"{scale * row['value']:.{digits}f}"
  if row.get("low") is None:
    return text
  low, high = (f"{scale * row[k]:.{digits}f}" for k in ("low", "high"))
  return f"{text} [{low}, {high}]"


def _line(cells: Sequence[str]) -> str:
  return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _table(protocol, metric, datasets, values) -> list[Figure]:
  """Figures of a table in %: method -> one value a data set, or None."""
  return [
    Figure(protocol, dataset, metric, method, round(value / 100, 4))
    for method, row in values.items()
    for dataset, value in zip(datasets, row, strict=True)
    if value is not None
  ]


def _severe(method: str, values: Sequence[float]) -> list[Figure]:
  """A row of SEVERE's table: %, and the error of counting as it is."""
  return [
    Figure(SEVERE, name, metric, method, value)
    for (name, metric), value in zip(SEVERE_TASKS.items(), values, strict=True)
  ]


FIGURES: tuple[Figure, ...] = (
  *_table(
    LINEAR,
    "top1",
    ("ssv2", "kinetics400", "ucf101", "hmdb51", "imagenet", "cifar100"),
    {
      "SIGMA-MLP": (19.9, 30.7, 73.8, 45.0, 24.1, 46.2),
      "SIGMA-DINO": (20.8, 47.5, 80.7, 52.3, 45.0, 66.7),
      "VideoMAE": (17.5, 20.7, 58.6, 37.7, 20.2, 40.4),
      "MGMAE": (16.8, 24.9, 64.4, 41.3, 20.4, 44.1),
    },
  ),
  *_table(
    FINETUNE,
    "top1",
    ("ssv2", "kinetics400"),
    {
      "SIGMA": (71.1, 81.6),
      "VideoMAE": (68.5, 80.0),
      "MME": (70.5, None),
      "MGMAE": (None, 81.2),
      "SIGMA, pre-trained on SSv2": (70.9, None),
      "VideoMAE, pre-trained on SSv2": (69.6, None),
      "MME, pre-trained on SSv2": (70.0, None),
      "MGMAE, pre-trained on SSv2": (71.0, None),
    },
  ),
  *_table(
    OVERCLUSTERING,
    "miou",
    ("davis",),
    {"SIGMA-DINO": (56.5,), "VideoMAE": (50.9,)},
  ),
  *_severe("SIGMA", (0.709, 0.897, 0.829, 0.272, 0.551, 0.799, 0.178, 0.224)),
  *_table(
    SEVERE,
    "severe_mean",
    ("mean",),
    {"SIGMA": (64.3,), "VideoMAE": (57.4,)},
  ),
)


def aligned(lines: Sequence[Sequence[str]]) -> str:
  """Cells as columns of plain text."""
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return "\n".join(
    "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines
  )
