"""The page's charts by step: evaluations in the run, and all that is logged."""

import math

from sigma_jax.methods.method import Chart
from sigma_jax.report import charts, sections
from sigma_jax.report.gather import Row, Run
from sigma_jax.train import judging


def evaluations(run: Run) -> str:
  """Scores of the encoder while it was trained; "" where there are none."""
  rows = run.evaluations
  if not rows:
    return ""
  top = judging.best(rows)
  kept = " (its checkpoint is kept)" if run.settings.train.keep_best else ""
  lede = (
    "Top-1 accuracy of the frozen encoder after so many steps, one clip a "
    f"video: {rows[-1].get('num_test', 0):,} clips, classified by "
    f"{rows[-1].get('num_train', 0):,} others. Dashed: always giving the most "
    f"frequent class. The best kNN is {100 * top['knn']:.1f}% at step "
    f"{top['step']:,}{kept}. It was chosen on these very test clips, so it "
    "flatters itself a little."
  )
  drawn = "".join(
    charts.line_chart(
      title,
      "% of the clips",
      [
        charts.Series(name, style, points(rows, f"{part}{tail}", 100))
        for part, name, style in (
          ("knn", "kNN", "a"),
          ("linear", "linear", "c"),
        )
      ],
      charts.Reference("chance", 100 * rows[-1][f"chance{tail}"]),
      floor=0.0,
    )
    for title, tail in _of_sets(rows[-1])
  )
  return sections.section(
    "Evaluations in the run", f'<div class="charts">{drawn}</div>', lede
  )


def _of_sets(row: Row) -> list[tuple[str, str]]:
  """(label set, what ends the names of its scores); one of no name: ""."""
  sets = [key.removeprefix("knn_") for key in row if key.startswith("knn_")]
  return [(name, f"_{name}") for name in sets] or [("Accuracy", "")]


def curves(run: Run) -> str:
  """Small charts of everything that training logs."""
  drawn = "".join(_charts(run))
  if not drawn:
    what = "No metrics: the run has not logged a step yet. This trains it:"
    command = (
      "python -m sigma_jax.main --config=configs/<the run's config>.py "
      f"--workdir={run.workdir}"
    )
    return sections.section("Training", sections.missing(what, command))
  lede = (
    "Values of single steps, not averages; beside each name, the newest. "
    "The first speed includes compilation."
  )
  return sections.section(
    "Training", f'<div class="charts">{drawn}</div>', lede
  )


# Of every method; a method's own come first.
_CHARTS = (
  Chart("Gradient norm", "L2, all parameters", {"grad_norm": ""}),
  Chart("Flat tubes", "% of tubes of one colour", {"flat_tubes": ""}, 100),
  Chart("Speed", "clips/s", {"clips_per_second": ""}),
  Chart("Waiting for data", "% of the time", {"wait_share": ""}, 100),
  Chart("Learning rate", "", {"learning_rate": ""}),
)


def of_metrics(run: Run) -> tuple[Chart, ...]:
  """All charts that the run's metrics may have values for."""
  own = run.words.charts or (Chart("Loss", "", {"loss": ""}, floor=None),)
  return (*own, *_CHARTS)


def _charts(run: Run):
  """Yields one chart for every metric that has values."""
  for chart in of_metrics(run):
    series = [
      charts.Series(name, style, points(run.metrics, key, chart.scale))
      for (key, name), style in zip(chart.curves.items(), "ab", strict=False)
    ]
    series = [s for s in series if s.points]
    if not series:
      continue
    line = chart.reference and charts.Reference(*chart.reference)
    yield charts.line_chart(chart.title, chart.unit, series, line, chart.floor)


def points(
  rows: list[Row], key: str, scale: float
) -> list[tuple[float, float]]:
  """(step, scaled value) of the rows that have a finite one."""
  return [
    (row["step"], scale * row[key])
    for row in rows
    if isinstance(row.get(key), (int, float)) and math.isfinite(row[key])
  ]
