"""A page that shows several runs beside each other."""

import html
import json
import os
import urllib.parse
from collections.abc import Sequence

from sigma_jax import errors, files
from sigma_jax.methods.method import Chart
from sigma_jax.report import charts, curves, page, sections, verdict
from sigma_jax.report.gather import Row, Run
from sigma_jax.settings.config_file import flat
from sigma_jax.train import judging

MOST = 2 * len(charts.STYLES)  # runs that can be told apart by their curves
_LEDE = (
  "Values of single steps, a colour a run; beside each, the newest. Losses of "
  "different methods, targets or numbers of prototypes are not on one scale."
)


def names(workdirs: Sequence[str | os.PathLike]) -> list[str]:
  """What the runs are called: their folders below the one they share.

  Raises:
    UserError: a folder comes twice, or they are too many for one page.
  """
  whole = [
    str(w) if files.is_remote(w) else os.path.abspath(w) for w in workdirs
  ]
  twice = [name for name in whole if whole.count(name) > 1]
  if twice:
    raise errors.UserError(f"{twice[0]} is named twice")
  if len(whole) > MOST:
    raise errors.UserError(
      f"{len(whole)} runs are too many for one page: at most {MOST}"
    )
  if any(files.is_remote(name) for name in whole):
    return whole
  shared = os.path.commonpath(whole)
  return [
    os.path.basename(name) if name == shared else os.path.relpath(name, shared)
    for name in whole
  ]


def build(runs: dict[str, Run], folder: str, refresh: int = 0) -> str:
  """The whole page.

  Args:
    runs: by name, from `gather.load`.
    folder: that the page is for: links go from there.
    refresh: seconds after which a browser loads it again; 0: never.
  """
  body = [
    sections.heading(
      "Comparison",
      f"{len(runs)} runs",
      _shows(runs),
      "Each is one run with one seed: a difference between two may be the "
      "seed's.",
      [],
    ),
    _runs(runs, folder),
    _probes(runs),
    _evaluations(runs),
    _training(runs),
    _settings(runs),
  ]
  title = f"Comparison · {', '.join(runs)}"
  return page.document(title, [part for part in body if part], refresh)


def _shows(runs: dict[str, Run]) -> str:
  """Which run the evaluations in them put first."""
  tops = {
    name: judging.best(run.evaluations)
    for name, run in runs.items()
    if run.evaluations
  }
  if not tops:
    return "None of the runs was evaluated while it was trained."
  name = max(tops, key=lambda name: tops[name][judging.BY])
  top = tops[name]
  return (
    f"The highest kNN of an evaluation in a run is {100 * top['knn']:.1f}%, by "
    f"{name} at step {top['step']:,}."
  )


def _style(place: int) -> str:
  """The colour of a run, and beyond eight a dashed line."""
  style = charts.STYLES[place % len(charts.STYLES)]
  return style if place < len(charts.STYLES) else f"{style} dash"


def _runs(runs: dict[str, Run], folder: str) -> str:
  heads = ("method", "steps", "seed", "parameters", "loss")
  heads += ("last kNN", "last linear", "best kNN", "at step")
  lines = []
  for place, (name, run) in enumerate(runs.items()):
    steps = run.settings.train.steps
    last = run.evaluations[-1] if run.evaluations else {}
    top = judging.best(run.evaluations) or {}
    loss = run.metrics[-1].get("loss") if run.metrics else None
    cells = (
      run.words.title,
      f"{run.last_step:,}" + (f" of {steps:,}" if steps else ""),
      str(run.settings.seed),
      f"{run.num_params / 1e6:.2f} M",
      "–" if loss is None else f"{loss:.4g}",
      *(
        _percent(row.get(key)) for row, key in ((last, "knn"), (last, "linear"))
      ),
      _percent(top.get("knn")),
      f"{top['step']:,}" if top else "–",
    )
    lines.append((_key(_style(place), _linked(name, run, folder)), cells))
  return sections.section("Runs", sections.text_table(("", *heads), lines))


def _key(style: str, shown: str) -> str:
  return f'<span class="key {style}">{shown}</span>'


def _linked(name: str, run: Run, folder: str) -> str:
  """The name; a link to the run's own page where there is one."""
  shown = html.escape(name)
  own = run.workdir / "report.html"
  if files.is_remote(run.workdir) or not own.is_file():
    return shown
  path = os.path.relpath(os.path.abspath(own), os.path.abspath(folder))
  target = urllib.parse.quote(path.replace(os.sep, "/"))
  return f'<a href="{html.escape(target)}">{shown}</a>'


def _percent(value: float | None) -> str:
  return "–" if value is None else f"{100 * value:.1f}"


def _probes(runs: dict[str, Run]) -> str:
  """The frozen evaluations' results, a column a run."""
  cells: dict[tuple[str, str], dict[str, Row]] = {}
  for name, run in runs.items():
    for row in run.probe["rows"] if run.probe else ():
      if row["encoder"] == verdict.TRAINED:
        key = row["label_set"], row["protocol"]
        cells.setdefault(key, {})[name] = row
  if not cells:
    return sections.section(
      "Frozen probes", sections.missing("None of the runs was probed yet.")
    )
  lines = []
  for (label_set, protocol), found in cells.items():
    title = verdict.PROTOCOL_NAMES.get(protocol, protocol)
    first = f"{html.escape(label_set)} <small>{html.escape(title)}</small>"
    lines.append((first, [_with_interval(found.get(name)) for name in runs]))
  lede = (
    "Top-1 accuracy, %, of each pre-trained encoder; in brackets, 95% "
    "intervals over test clips. Runs that were probed on other clips cannot "
    "be compared."
  )
  return sections.section(
    "Frozen probes", sections.text_table(("", *runs), lines), lede
  )


def _with_interval(row: Row | None) -> str:
  if row is None:
    return "–"
  top1, low, high = (100 * row[key] for key in ("top1", "low", "high"))
  return f"{top1:.1f} [{low:.1f}, {high:.1f}]"


def _evaluations(runs: dict[str, Run]) -> str:
  """Scores in the runs, over each other."""
  keys = dict.fromkeys(
    key
    for run in runs.values()
    for row in run.evaluations[-1:]
    for key in row
    if key.split("_")[0] in ("knn", "linear")
  )
  several = {key.split("_")[0] for key in keys if "_" in key}
  shown = [
    Chart(_title(key), "% of the clips", {key: ""}, 100)
    for key in keys
    if "_" in key or key not in several
  ]
  rows = {name: run.evaluations for name, run in runs.items()}
  drawn = "".join(_over_each_other(chart, rows) for chart in shown)
  if not drawn:
    return ""
  return sections.section(
    "Evaluations in the runs", f'<div class="charts">{drawn}</div>'
  )


def _title(key: str) -> str:
  part, _, label_set = key.partition("_")
  name = {"knn": "kNN", "linear": "Linear"}[part]
  return f"{name}, {label_set}" if label_set else name


def _training(runs: dict[str, Run]) -> str:
  """Every logged metric, over each other."""
  found: dict[tuple[str, str, str], Chart] = {}
  for run in runs.values():
    for chart in curves.of_metrics(run):
      for key, name in chart.curves.items():
        title = f"{chart.title}, {name}" if name else chart.title
        alone = chart._replace(title=title, curves={key: ""})
        found.setdefault((title, chart.unit, key), alone)
  rows = {name: run.metrics for name, run in runs.items()}
  drawn = "".join(_over_each_other(chart, rows) for chart in found.values())
  if not drawn:
    return ""
  return sections.section(
    "Training", f'<div class="charts">{drawn}</div>', _LEDE
  )


def _over_each_other(chart: Chart, rows: dict[str, list[Row]]) -> str:
  """One curve a run that has values; "" where none has."""
  (key,) = chart.curves
  series = [
    charts.Series("", _style(place), found, hint=name)
    for place, (name, logged) in enumerate(rows.items())
    if (found := curves.points(logged, key, chart.scale))
  ]
  if not series:
    return ""
  line = chart.reference and charts.Reference(*chart.reference)
  return charts.line_chart(chart.title, chart.unit, series, line, chart.floor)


def _settings(runs: dict[str, Run]) -> str:
  """Options that the runs do not agree on."""
  options_of = {
    name: flat(run.settings.to_dict()) for name, run in runs.items()
  }
  options = dict.fromkeys(
    key for values in options_of.values() for key in values
  )
  lines = []
  for key in options:
    values = [
      json.dumps(values[key]) if key in values else "–"
      for values in options_of.values()
    ]
    if len(set(values)) > 1:
      lines.append((f"<code>{html.escape(key)}</code>", values))
  if not lines:
    note = "<p>None: the runs have the same settings.</p>"
    return sections.section("Settings that differ", note)
  return sections.section(
    "Settings that differ", sections.text_table(("", *runs), lines)
  )
