"""An ablation's results: means over seeds, differences, tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sigma_jax.ablate.grid import Grid
from sigma_jax.evaluate import published
from sigma_jax.evaluate.segmentation import dense

Line = dict[str, Any]
UNTRAINED = "untrained encoder"
INTERVALS = (
  "Means over seeds, in brackets 95% intervals of Student's t over seeds; no "
  "interval where there is one seed. They hold for the mean of further seeds "
  "of the same setting, judged on the same test clips."
)
DIFFERENCES = (
  "Differences are of pairs of runs with the same seed, with 95% intervals of "
  "the same kind. One in twenty such intervals misses the true difference by "
  "chance, so that of a long table some that exclude 0 mean nothing."
)
PUBLISHED = (
  "Published: https://arxiv.org/abs/2407.15447, ViT-B, top-1 of fine-tuning on "
  "mini-SSv2 in %; not measured here, and comparable only where model, data "
  "and protocol are those."
)


def content(grid: Grid, states: Mapping[str, Any]) -> Line:
  """What results.json holds.

  Args:
    grid: the ablation.
    states: of each run, by its name; see `run.State`.
  """
  rows = []
  for row in grid.rows:
    for run in row.runs:
      of_row = {"row": row.name, "run": run.name, "seed": run.seed}
      for found in states[run.name].rows:
        if found["encoder"] == dense.PRETRAINED:
          rows.append(found | of_row)
        elif row.name == grid.reference:
          rows.append(found | of_row | {"row": UNTRAINED})
  lines = [
    {
      "row": row.name,
      "title": row.title,
      "group": row.group,
      "values": row.values,
      "published": row.published,
    }
    for row in grid.rows
  ]
  if any(row["row"] == UNTRAINED for row in rows):
    empty = {"group": "", "values": {}, "published": ""}
    lines.append({"row": UNTRAINED, "title": UNTRAINED, **empty})
  runs = {run.name: states[run.name] for run in grid.runs}
  return {
    "title": grid.title,
    "grid": grid.source,
    "seeds": list(grid.seeds),
    "reference": grid.reference,
    "lines": [
      line | {"results": summary(rows, line["row"], grid.reference)}
      for line in lines
    ],
    "rows": rows,
    "failed": [
      {"run": name, "reason": s.failed} for name, s in runs.items() if s.failed
    ],
    "missing": [name for name, s in runs.items() if not (s.rows or s.failed)],
    "seconds": sum(state.seconds for state in runs.values()),
  }


def summary(rows: Sequence[Line], name: str, reference: str) -> list[Line]:
  """A row's figures for each protocol, data set and metric.

  Returns:
    protocol, dataset, metric; mean, low, high, over `seeds` (a number of them);
    and where there is a reference other than the row: difference,
    difference_low, difference_high. low and high are None of one seed.
  """
  measures = dict.fromkeys(map(measure, rows))
  found = []
  for key in measures:
    values = _by_seed(rows, name, key)
    if not values:
      continue
    mean, low, high = interval(list(values.values()))
    line = dict(zip(("protocol", "dataset", "metric"), key, strict=True))
    line |= {"mean": mean, "low": low, "high": high, "seeds": len(values)}
    others = _by_seed(rows, reference, key)
    pairs = [values[s] - others[s] for s in values if s in others]
    if pairs and name != reference:
      line |= dict(
        zip(
          ("difference", "difference_low", "difference_high"),
          interval(pairs),
          strict=True,
        )
      )
    found.append(line)
  return found


def measure(row: Line) -> tuple[str, str, str]:
  """What a figure is of: protocol, data set, metric."""
  return row["protocol"], row["dataset"], row["metric"]


def _by_seed(rows, name: str, key) -> dict[int, float]:
  return {
    row["seed"]: row["value"]
    for row in rows
    if row["row"] == name and measure(row) == key and row["value"] is not None
  }


def interval(
  values: Sequence[float],
) -> tuple[float, float | None, float | None]:
  """Mean and 95% interval of Student's t; no interval of one value."""
  mean = float(np.mean(values))
  if len(values) < 2:
    return mean, None, None
  # Imported late: it takes a second, and --help does not need it.
  from scipy import stats

  error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
  half = float(stats.t.ppf(0.975, len(values) - 1)) * error
  return mean, mean - half, mean + half


def measures(content: Line) -> list[tuple[str, str, str]]:
  """All that any line has figures of, in their order."""
  found = [measure(r) for line in content["lines"] for r in line["results"]]
  return list(dict.fromkeys(found))


def heading(key: tuple[str, str, str]) -> str:
  """Protocol, data set and unit in one line."""
  protocol, dataset, metric = key
  return f"{protocol}, {dataset}, {published.METRIC_NAMES.get(metric, metric)}"


def cells(content: Line, difference: bool) -> list[list[str]]:
  """Lines of texts, the first with headings.

  Args:
    content: of results.json.
    difference: to the reference, in place of means.
  """
  keys = measures(content)
  head = ["row", "seeds", *map(heading, keys)]
  shown = [head if difference else [*head, "published"]]
  for line in content["lines"]:
    of_key = {measure(r): r for r in line["results"]}
    count = max((r["seeds"] for r in line["results"]), default=0)
    texts = [_cell(of_key.get(key), difference) for key in keys]
    if not difference:
      value = published.ABLATION.get(line["published"])
      texts.append("-" if value is None else f"{100 * value:.1f}")
    elif set(texts) <= {"-"}:
      continue
    shown.append([line["title"], str(count), *texts])
  return shown


def _cell(result: Line | None, difference: bool) -> str:
  name = "difference" if difference else "mean"
  if result is None or name not in result:
    return "-"
  ends = (
    ("difference_low", "difference_high") if difference else ("low", "high")
  )
  row = {"metric": result["metric"], "value": result[name]}
  row |= dict(zip(("low", "high"), (result[end] for end in ends), strict=True))
  text = published.cell(row)
  return f"+{text}" if difference and row["value"] > 0 else text


def text(content: Line) -> str:
  """Aligned lines of all means."""
  lines = cells(content, False)
  return published.aligned(lines)


def markdown(content: Line) -> str:
  """The ablation as a page of Markdown.

  Args:
    content: of results.json.
  """
  parts = [f"# {content['title']}\n\n", _table(cells(content, False))]
  parts.append(f"\n{INTERVALS}\n")
  differing = cells(content, True)
  if len(differing) > 1:
    title = titles(content)[content["reference"]]
    parts.append(f"\n## Beside {title}\n\n{_table(differing)}")
    parts.append(f"\n{DIFFERENCES}\n")
  known = [["published", "mini-SSv2, top-1, %"]]
  known += [[k, f"{100 * v:.1f}"] for k, v in published.ABLATION.items()]
  parts.append(f"\n## The published ablation\n\n{_table(known)}")
  parts.append(f"\n{PUBLISHED}\n")
  for title, lines in not_done(content).items():
    parts.append(f"\n## {title}\n\n" + "".join(f"- {x}\n" for x in lines))
  versions = ", ".join(f"{k} {v}" for k, v in content["versions"].items())
  parts.append(f"\nMeasured on {content['device']}; {versions}.\n")
  return "".join(parts)


def titles(content: Line) -> dict[str, str]:
  """Name of a row -> its title."""
  return {line["row"]: line["title"] for line in content["lines"]}


def not_done(content: Line) -> dict[str, list[str]]:
  """Heading -> runs that failed, and why, or are not done yet."""
  failed = [f"{one['run']}: {one['reason']}" for one in content["failed"]]
  found = {"Failed": failed, "Not done yet": content["missing"]}
  return {title: lines for title, lines in found.items() if lines}


def _table(lines: Sequence[Sequence[str]]) -> str:
  rule = ["---", *("---:" for _ in lines[0][1:])]
  shown = [lines[0], rule, *lines[1:]]
  return "".join(
    f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |\n"
    for line in shown
  )
