"""Rows of a suite: named alike, and as tables of text and Markdown."""

from collections.abc import Sequence
from typing import Any

from sigma_jax.evaluate import published
from sigma_jax.evaluate.segmentation import dense
from sigma_jax.suite.plan import Run

Row = dict[str, Any]
# Words of a config's name that are not of its data set.
_NOT_DATA = {
  *("finetune", "linear", "attentive", "knn", "probe", "segmentation"),
  *("count", "multilabel", published.SEVERE),
}
_DATA_SETS = {"k400": "kinetics400"}  # as published figures are named
_ENCODERS = {
  dense.PRETRAINED: published.THIS_RUN,
  dense.RANDOM: "random encoder",
}
_FURTHER = ("top5", "mean_per_class", "off_by_one")


def add(
  rows: list[Row], run: Run, found: Sequence[Row], seconds: float
) -> None:
  """Adds the rows of a task, named so that those of all tasks compare.

  Each is as the task wrote it, with name (of the run), protocol and dataset (as
  in `published`), encoder, metric, value, low, high (95% interval) and seconds
  (of the whole run). The mean of SEVERE is added once all its tasks are there.
  """
  severe = run.stem.split("_")[0] == published.SEVERE
  for row in found:
    protocol = row["protocol"]
    if severe and protocol == published.FINETUNE:
      protocol = published.SEVERE
    metric = row.get("metric") or ("miou" if "miou" in row else "top1")
    named = row | {
      "name": run.name,
      "protocol": protocol,
      "dataset": dataset(run.stem, row.get("label_set", "")),
      "metric": metric,
      "value": row[metric],
      "seconds": seconds,
    }
    if any(_cell(other) == _cell(named) for other in rows):
      named["dataset"] += f" ({run.name})"
    rows.append(named)
    _add_severe_mean(rows, row["encoder"])


def dataset(stem: str, label_set: str) -> str:
  """A data set's name, from that of the config file and of the labels."""
  words = [word for word in stem.split("_") if word not in _NOT_DATA]
  name = "_".join(words) or "own clips"
  name = _DATA_SETS.get(name, name)
  # "label" are those of the manifest itself.
  return name if label_set in ("", "label") else f"{name} {label_set}"


def _add_severe_mean(rows: list[Row], encoder: str) -> None:
  mine = [
    row
    for row in rows
    if (row["protocol"], row["encoder"]) == (published.SEVERE, encoder)
  ]
  values = {
    row["dataset"]: row["value"]
    for row in mine
    if published.SEVERE_TASKS.get(row["dataset"]) == row["metric"]
  }
  done = any(row["metric"] == "severe_mean" for row in mine)
  if done or set(values) != set(published.SEVERE_TASKS):
    return
  rows.append(
    {
      "name": published.SEVERE,
      "protocol": published.SEVERE,
      "dataset": "mean",
      "encoder": encoder,
      "metric": "severe_mean",
      "value": published.severe_mean(values),
      "low": None,
      "high": None,
      "seconds": 0.0,
    }
  )


def text(rows: Sequence[Row]) -> str:
  """Aligned lines, one a protocol, data set and metric; encoders as columns."""
  encoders = list(dict.fromkeys(row["encoder"] for row in rows))
  cells = {_cell(row): published.cell(row) for row in rows}
  lines = [["protocol", "data set", "metric", *encoders]]
  for key in dict.fromkeys(key[:3] for key in cells):
    shown = published.METRIC_NAMES.get(key[2], key[2])
    found = [cells.get((*key, encoder), "-") for encoder in encoders]
    lines.append([*key[:2], shown, *found])
  return published.aligned(lines)


def markdown(content: Row) -> str:
  """The suite as a page of Markdown: beside published figures, and the rest.

  Args:
    content: of results.json.
  """
  step = "" if content["step"] is None else f" at step {content['step']:,}"
  parts = [f"# {content['init']}{step}\n"]
  rows = [_with_method(row) for row in content["rows"]]
  if rows:
    parts.append(published.markdown(rows))
  further = [_of_metric(row, m) for m in _FURTHER for row in rows if m in row]
  further = [row for row in further if row["value"] is not None]
  if further:
    parts.append(f"## Further figures\n\n{published.markdown(further)}")
  for title, key in (("Failed", "failed"), ("Skipped", "skipped")):
    if content[key]:
      lines = [f"- {one['name']}: {one['reason']}" for one in content[key]]
      parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
  versions = ", ".join(f"{k} {v}" for k, v in content["versions"].items())
  parts.append(f"Measured on {content['device']}; {versions}.\n")
  return "\n".join(parts)


def _cell(row: Row) -> tuple[str, ...]:
  return tuple(row[k] for k in ("protocol", "dataset", "metric", "encoder"))


def _with_method(row: Row) -> Row:
  return row | {"method": _ENCODERS.get(row["encoder"], row["encoder"])}


def _of_metric(row: Row, metric: str) -> Row:
  """The row with another of its figures in the place of its first."""
  return row | {
    "metric": metric,
    "value": row[metric],
    "low": row.get(f"{metric}_low"),
    "high": row.get(f"{metric}_high"),
  }
