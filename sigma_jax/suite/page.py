"""The page of a suite of protocols: `python -m sigma_jax.evaluate suite`."""

import html
import pathlib
from typing import Any

from sigma_jax.evaluate import published
from sigma_jax.report import charts, page, pictures, sections, verdict

Row = dict[str, Any]
_OVERLAYS = 4  # sheets shown of each run
_PUBLISHED = (
  "Published figures are those of arXiv 2407.15447, of a ViT-B pre-trained on "
  "Kinetics-400 where nothing else is said; they were not measured here. "
)


def build(content: Row, workdir: pathlib.Path) -> str:
  """The whole page.

  Args:
    content: of the suite's results.json.
    workdir: of the suite, for the pictures of its runs.
  """
  name = pathlib.Path(content["init"]).resolve().name
  rows, runs = content["rows"], len(content["failed"])
  runs += len({row["name"] for row in content["rows"]})
  body = [
    sections.heading(
      f"Protocols of {content['init']}",
      name,
      _shows(rows),
      "One run of each with one seed: the intervals cover the choice of the "
      "test clips, not that of the seed.",
      _facts(content, runs),
    ),
    _results(rows),
    _pictures("Confusions", workdir, rows, "confusion*.png", photo=False),
    _pictures("Segmentations", workdir, rows, "overlays/*.png", photo=True),
    _not_run(content),
  ]
  return page.document(f"{name} · protocols", body)


def _facts(content: Row, runs: int) -> list[tuple[str, str]]:
  step = content["step"]
  seconds = {row["name"]: row["seconds"] for row in content["rows"]}
  return [
    ("Checkpoint", content["init"]),
    ("Step", "not known" if step is None else f"{step:,}"),
    ("Runs", f"{runs}, {sum(seconds.values()) / 60:.1f} minutes"),
    ("Device", content["device"]),
    ("Versions", ", ".join(f"{k} {v}" for k, v in content["versions"].items())),
  ]


def _groups(rows: list[Row]) -> dict[tuple[str, ...], dict[str, Row]]:
  """Rows by (protocol, data set, metric), then by encoder; order is kept."""
  found: dict = {}
  for row in rows:
    key = row["protocol"], row["dataset"], row["metric"]
    found.setdefault(key, {})[row["encoder"]] = row
  return found


def _state(found: dict[str, Row]) -> str:
  """better, worse or undecided, by the intervals; "" without a pair."""
  pair = found.get(verdict.TRAINED), found.get(verdict.UNTRAINED)
  if None in pair or any(row["low"] is None for row in pair):
    return ""
  state = verdict.compare(*pair)
  words = {"above": "better", "below": "worse", "overlap": "undecided"}
  if pair[0]["metric"] == "error":
    words |= {"above": "worse", "below": "better"}
  return words[state]


def _shows(rows: list[Row]) -> str:
  states = [state for f in _groups(rows).values() if (state := _state(f))]
  if not states:
    return (
      "No random encoder was judged beside, so what pre-training adds cannot "
      "be said."
    )
  count = {word: states.count(word) for word in dict.fromkeys(states)}
  told = ", ".join(f"{word} in {n}" for word, n in count.items())
  several = "results" if len(states) > 1 else "result"
  return (
    f"Beside a random encoder, in {len(states)} {several}, the pre-trained one "
    f"is {told}, by whether the two 95% intervals overlap."
  )


def _results(rows: list[Row]) -> str:
  if not rows:
    return sections.section("Results", sections.missing("No protocol is done."))
  lede = (
    "Whiskers and brackets: 95% intervals over test clips. Dashed: always "
    "giving the most frequent class, of the test clips or, for probes on "
    "cached features, of the training clips."
  )
  return sections.section("Results", _bars(rows) + _table(rows), lede)


def _bars(rows: list[Row]) -> str:
  groups = []
  for (protocol, dataset, metric), found in _groups(rows).items():
    # A relative error is no share of anything.
    if metric == "error" or any(row["low"] is None for row in found.values()):
      continue
    tracks = [
      (
        sections.STYLES.get(encoder, "c"),
        sections.ENCODER_NAMES.get(encoder, encoder),
        row | {"top1": row["value"]},
      )
      for encoder, row in found.items()
    ]
    name = f"{protocol}, {dataset}"
    groups.append((name, next(iter(found.values())).get("chance"), tracks))
  return sections.keys(rows) + charts.bars(groups) if groups else ""


def _table(rows: list[Row]) -> str:
  encoders = list(dict.fromkeys(row["encoder"] for row in rows))
  heads = [sections.ENCODER_NAMES.get(e, e) for e in encoders]
  heads += ["beside random"] if len(encoders) > 1 else []
  head = "".join(f"<th>{html.escape(h)}</th>" for h in [*heads, "published"])
  body, note = "", ""
  for (protocol, dataset, metric), found in _groups(rows).items():
    shown = published.METRIC_NAMES.get(metric, metric)
    cells = "".join(_cell(found.get(encoder)) for encoder in encoders)
    if len(encoders) > 1:
      cells += _difference(found)
    others = published.by_protocol(dataset, metric).get(protocol, {})
    note = note or (_PUBLISHED if others else "")
    cells += f"<td>{_others(metric, others)}</td>"
    body += (
      f"<tr><th>{html.escape(dataset)} <small>{html.escape(protocol)}, "
      f"{html.escape(shown)}</small></th>{cells}</tr>"
    )
  return sections.table(f"<th></th>{head}", body) + (
    f'<p class="note">{note}“Better” and “worse” mean that the two intervals '
    "do not overlap.</p>"
  )


def _cell(row: Row | None) -> str:
  if row is None:
    return "<td>–</td>"
  value, *interval = published.cell(row).split(" ", 1)
  return f"<td>{value} <small>{' '.join(interval)}</small></td>"


def _difference(found: dict[str, Row]) -> str:
  """Pre-trained less random, in the metric's unit, and which is better."""
  pair = found.get(verdict.TRAINED), found.get(verdict.UNTRAINED)
  if None in pair:
    return "<td>–</td>"
  state = _state(found)
  gain = pair[0]["value"] - pair[1]["value"]
  shown = published.cell({"metric": pair[0]["metric"], "value": abs(gain)})
  style = {"better": "above", "worse": "below"}.get(state, "")
  return (
    f'<td class="{style}">{"−" if gain < 0 else "+"}{shown} '
    f"<small>{state}</small></td>"
  )


def _others(metric: str, values: dict[str, float]) -> str:
  rows = {name: {"metric": metric, "value": v} for name, v in values.items()}
  told = [
    f"{html.escape(name)} {published.cell(row)}" for name, row in rows.items()
  ]
  return "<br>".join(told) or "–"


def _pictures(
  title: str, workdir: pathlib.Path, rows: list[Row], pattern: str, photo: bool
) -> str:
  """Picture files of all runs; no section where there are none."""
  body = ""
  for name in dict.fromkeys(row["name"] for row in rows):
    for path in sorted((workdir / name).glob(pattern))[:_OVERLAYS]:
      caption = html.escape(f"{name}, {path.stem}")
      try:
        uri = pictures.file_uri(path, photo)
      except OSError as error:
        body += sections.missing(f"{path} cannot be read: {error}")
        continue
      body += (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<img alt="{caption}" src="{uri}"></figure>'
      )
  return sections.section(title, f'<div class="sheets">{body}</div>') * (
    body != ""
  )


def _not_run(content: Row) -> str:
  """What failed and what was skipped, and why."""
  body = ""
  for key, style in (("failed", "warnings"), ("skipped", "files")):
    items = "".join(
      f"<li>{html.escape(one['name'])} {key}: {html.escape(one['reason'])}</li>"
      for one in content[key]
    )
    body += f'<ul class="{style}">{items}</ul>' if items else ""
  none = "<p>Every protocol ran.</p>"
  return sections.section("Not run", body or none)
