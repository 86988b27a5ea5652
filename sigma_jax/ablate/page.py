"""The page of an ablation: `python -m sigma_jax.ablate GRID`."""

import html
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from sigma_jax.ablate import table
from sigma_jax.ablate.grid import Grid, Row
from sigma_jax.methods import method as method_lib
from sigma_jax.report import charts, page, sections
from sigma_jax.train import metrics

Line = dict[str, Any]
_STYLES = "abc"  # CSS classes of colours, of one seed after the other


def build(grid: Grid, content: Line, workdir: pathlib.Path) -> str:
  """The whole page.

  Args:
    grid: the ablation.
    content: of results.json.
    workdir: of the ablation, for the curves of its runs.
  """
  done = {row["run"] for row in content["rows"]}
  body = [
    sections.heading(
      f"Ablation by {content['grid']}",
      content["title"],
      _shows(content),
      table.DIFFERENCES if content["reference"] else table.INTERVALS,
      [
        ("Rows", str(len(grid.rows))),
        ("Seeds", ", ".join(map(str, grid.seeds))),
        ("Runs", f"{len(done)} of {len(grid.runs)} done"),
        ("Time", f"{content['seconds'] / 60:.0f} minutes"),
        ("Device", content["device"]),
        (
          "Versions",
          ", ".join(" ".join(v) for v in content["versions"].items()),
        ),
      ],
    ),
    _results(content),
    _over_options(grid, content),
    _curves(grid, workdir),
    _not_done(content),
  ]
  return page.document(f"{content['title']} · ablation", [b for b in body if b])


def _shows(content: Line) -> str:
  """What the differences to the reference say."""
  found: dict[str, list[str]] = {"above": [], "below": [], "undecided": []}
  for line in content["lines"]:
    for result in line["results"]:
      low, high = result.get("difference_low"), result.get("difference_high")
      if line["row"] == table.UNTRAINED or low is None:
        continue
      # A relative error is the better the lower, but above is above.
      side = "above" if low > 0 else "below" if high < 0 else "undecided"
      found[side].append(f"{line['title']} ({result['dataset']})")
  count = sum(map(len, found.values()))
  if not count:
    return (
      "Nothing can be told apart yet: that takes two seeds and a reference."
    )
  title = table.titles(content)[content["reference"]]
  return (
    f"Of {count} differences to {title}, {len(found['above'])} are above 0 and "
    f"{len(found['below'])} below it by their 95% intervals, and "
    f"{len(found['undecided'])} undecided."
  )


def _results(content: Line) -> str:
  if not table.measures(content):
    return sections.section("Results", sections.missing("No run is done."))
  body = "".join(_bars(content, key) for key in table.measures(content))
  body += _table(table.cells(content, False)) + _note(table.INTERVALS)
  differing = table.cells(content, True)
  if len(differing) > 1:
    title = table.titles(content)[content["reference"]]
    body += f"<h3>Beside {html.escape(title)}</h3>{_table(differing)}"
    body += _note(table.DIFFERENCES)
  return sections.section("Results", body + _note(table.PUBLISHED))


def _bars(content: Line, key: tuple[str, str, str]) -> str:
  """Means as bars; none of a figure that is no share."""
  groups = []
  for line in content["lines"]:
    for result in line["results"]:
      if table.measure(result) != key or key[2] == "error":
        continue
      mean, low, high = (result[name] for name in ("mean", "low", "high"))
      ends = {
        "top1": mean,
        "low": mean if low is None else max(low, 0.0),
        "high": mean if high is None else min(high, 1.0),
      }
      style = "b" if line["row"] == table.UNTRAINED else "a"
      groups.append((line["title"], None, [(style, line["title"], ends)]))
  if not groups:
    return ""
  return f"<h3>{html.escape(table.heading(key))}</h3>{charts.bars(groups)}"


def _table(lines: Sequence[Sequence[str]]) -> str:
  return sections.text_table(
    lines[0], [(html.escape(name), rest) for name, *rest in lines[1:]]
  )


def _note(text: str) -> str:
  return f'<p class="note">{html.escape(text)}</p>'


def _over_options(grid: Grid, content: Line) -> str:
  """A chart of each figure over each option that a group varies alone."""
  lines = {line["row"]: line for line in content["lines"]}
  drawn = ""
  for group in dict.fromkeys(row.group for row in grid.rows):
    rows = [row for row in grid.rows if row.group == group]
    if len(rows) < 2 or len(rows[0].values) != 1:
      continue
    for key in table.measures(content):
      drawn += _over_option(rows, lines, key)
  if not drawn:
    return ""
  lede = (
    "Means over seeds, with 95% intervals; values stand at equal distances."
  )
  return sections.section(
    "Over options", f'<div class="charts">{drawn}</div>', lede
  )


def _over_option(rows: list[Row], lines: dict[str, Line], key) -> str:
  points, intervals = [], []
  scale = 1 if key[2] == "error" else 100
  for x, row in enumerate(rows):
    for result in lines[row.name]["results"]:
      if table.measure(result) == key:
        points.append((float(x), scale * result["mean"]))
        if result["low"] is not None:
          ends = scale * result["low"], scale * result["high"]
          intervals.append((float(x), *ends))
  if not points:
    return ""
  ((option, _),) = rows[0].values.items()
  places = tuple(str(*row.values.values()) for row in rows)
  return charts.line_chart(
    rows[0].group,
    table.heading(key),
    [charts.Series("", "a", points, tuple(intervals))],
    across=charts.Across(option, places),
  )


def _curves(grid: Grid, workdir: pathlib.Path) -> str:
  """What every run has logged, a line of charts a row of the table."""
  body = ""
  for row in grid.rows:
    logged = {
      run.seed: metrics.read(workdir / run.name / "pretrain")
      for run in row.runs
    }
    words = method_lib.of(row.runs[0].config).describe()
    own = words.charts or (method_lib.Chart("Loss", "", {"loss": ""}),)
    drawn = "".join(_curve(chart, logged) for chart in own)
    if drawn:
      name = html.escape(row.title)
      body += f'<h3>{name}</h3><div class="charts">{drawn}</div>'
  if not body:
    return ""
  lede = "Values of single steps, a colour a seed."
  return sections.section("Curves of every run", body, lede)


def _curve(chart: method_lib.Chart, logged: dict[int, list[Line]]) -> str:
  """One chart of all seeds; of several curves in it the first."""
  key = next(iter(chart.curves))
  series = []
  for place, (seed, rows) in enumerate(logged.items()):
    points = [
      (row["step"], chart.scale * row[key])
      for row in rows
      if isinstance(row.get(key), (int, float)) and math.isfinite(row[key])
    ]
    if points:
      style = _STYLES[place % len(_STYLES)]
      series.append(charts.Series(f"seed {seed}", style, points))
  if not series:
    return ""
  line = chart.reference and charts.Reference(*chart.reference)
  name = chart.curves[key]
  title = f"{chart.title}, {name}" if name else chart.title
  return charts.line_chart(title, chart.unit, series, line, chart.floor)


def _not_done(content: Line) -> str:
  body = ""
  for title, lines in table.not_done(content).items():
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    style = "warnings" if title == "Failed" else "files"
    body += f'<h3>{title}</h3><ul class="{style}">{items}</ul>'
  return sections.section("Not done", body) if body else ""
