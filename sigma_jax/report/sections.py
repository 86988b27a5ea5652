"""The page's sections made of numbers: header, probe, curves, trouble."""

import collections
import html
import re
from collections.abc import Iterable, Sequence

from sigma_jax.report import charts, commands, gather, verdict
from sigma_jax.report.gather import Row, Run

ENCODER_NAMES = {"pretrained": "pre-trained", "random": "untrained"}
STYLES = {"pretrained": "a", "random": "b"}  # CSS classes of their colours
_BAD_SHOWN = 8


def section(title: str, body: str, lede: str = "") -> str:
  """One section; `lede` is HTML that says what is seen."""
  anchor = re.sub(r"\W+", "-", title.lower())
  lede = f'<p class="lede">{lede}</p>' if lede else ""
  return (
    f'<section id="{anchor}"><h2>{html.escape(title)}</h2>{lede}{body}'
    "</section>"
  )


def missing(what: str, command: str = "") -> str:
  """Says what is not there and, where one does, which command makes it."""
  made = f"<pre>{html.escape(command)}</pre>" if command else ""
  return f'<div class="missing"><p>{html.escape(what)}</p>{made}</div>'


def table(head: str, body: str) -> str:
  """One that scrolls by itself; the HTML of its head's cells and its lines."""
  return (
    f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
    f"<tbody>{body}</tbody></table></div>"
  )


def text_table(
  heads: Sequence[str], lines: Iterable[tuple[str, Sequence[str]]]
) -> str:
  """heads and cells are plain text, the first cell of a line HTML."""
  head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
  body = "".join(
    f"<tr><th>{first}</th>"
    + "".join(f"<td>{html.escape(text)}</td>" for text in cells)
    + "</tr>"
    for first, cells in lines
  )
  return table(head, body)


def header(run: Run) -> str:
  """Name, what the result shows and does not show, main settings."""
  probe = run.probe or {"rows": [], "step": 0}
  rows = probe["rows"]
  limits = verdict.does_not_show(rows, probe.get("step", 0), run.last_step)
  return heading(
    run.words.title,
    run.workdir.resolve().name,
    verdict.shows(rows),
    limits,
    _facts(run),
  )


def heading(
  over: str, name: str, shown: str, limits: str, facts: list[tuple[str, str]]
) -> str:
  """The top of a page.

  Args:
    over, name: title, and what stands above it.
    shown, limits: what the results show, and do not show.
    facts: (name, value). All are plain text.
  """
  listed = "".join(
    f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
    for name, value in facts
  )
  return (
    f'<header><p class="over">{html.escape(over)}</p>'
    f"<h1>{html.escape(name)}</h1>"
    f'<p class="verdict">{html.escape(shown)}</p>'
    f'<p class="limits">{html.escape(limits)}</p>'
    + (f'<dl class="facts">{listed}</dl>' if facts else "")
    + "</header>"
  )


def _facts(run: Run) -> list[tuple[str, str]]:
  s = run.settings
  time, height, width = s.grid
  done = f"{run.last_step:,}" if run.metrics else "not known"
  total = f" of {s.train.steps:,}" if s.train.steps else ""
  return [
    ("Steps", f"{done}{total}, {s.train.batch_size} clips each"),
    (
      "Clips",
      f"{s.data.num_frames} frames of {s.data.size} × {s.data.size} px, "
      f"every {_ordinal(s.data.stride)}frame",
    ),
    (
      "Tubes",
      f"{time} × {height} × {width}, each {s.model.tubelet} × "
      f"{s.model.patch} × {s.model.patch}; {run.words.tubes}",
    ),
    (
      "Encoder",
      f"{s.model.encoder_depth} blocks, width {s.model.encoder_dim}, "
      f"{s.model.encoder_heads} heads",
    ),
    ("Parameters", f"{run.num_params / 1e6:.2f} M, {s.model.dtype} products"),
    *run.words.facts,
    ("Learning rate", _rate(run)),
    ("Config", f"{s.fingerprint()}, seed {s.seed}"),
    ("Last written", f"{run.written:%Y-%m-%d %H:%M} UTC"),
  ]


def _ordinal(stride: int) -> str:
  names = {1: "", 2: "second ", 3: "third ", 4: "fourth "}
  return names.get(stride, f"{stride}th ")


def _rate(run: Run) -> str:
  rates = run.rates
  if not rates:
    return "not known"
  ever = "still rising" if gather.rising(rates) else f"highest {max(rates):.2e}"
  return f"{rates[-1]:.2e}, {ever}"


def probe(run: Run) -> str:
  """Bars and table of the frozen evaluation."""
  title = "Frozen probes"
  if run.probe is None:
    told = run.probe_problem or "No probe results yet. This command makes them"
    if not run.probe_problem and run.settings.data.val:
      told += ":"
    elif not run.probe_problem:
      told += (
        ", with a manifest of labelled test clips in the place of VAL.csv:"
      )
    return section(title, missing(told, commands.probe(run)))
  rows = run.probe["rows"]
  lede = (
    "Top-1 accuracy on held-out clips, from mean-pooled features of the frozen "
    f"encoder at step {run.probe.get('step', 0):,}. Whiskers and brackets: 95% "
    "intervals over test clips. Dashed: always giving the most frequent class."
  )
  return section(title, _bars(rows) + _table(rows), lede)


def _cells(rows: list[Row]) -> dict[tuple[str, str], dict[str, Row]]:
  """Rows by (label set, protocol), then by encoder; order is kept."""
  cells: dict = collections.defaultdict(dict)
  for row in rows:
    cells[row["label_set"], row["protocol"]][row["encoder"]] = row
  return cells


def _bars(rows: list[Row]) -> str:
  groups = []
  for (label_set, protocol), found in _cells(rows).items():
    tracks = [
      (STYLES.get(encoder, "c"), ENCODER_NAMES.get(encoder, encoder), row)
      for encoder, row in found.items()
    ]
    name = f"{label_set}, {verdict.PROTOCOL_NAMES.get(protocol, protocol)}"
    groups.append((name, next(iter(found.values()))["chance"], tracks))
  return keys(rows) + charts.bars(groups)


def keys(rows: list[Row]) -> str:
  """The colours of the rows' encoders."""
  shown = "".join(
    f'<span class="key {STYLES.get(encoder, "c")}">'
    f"{html.escape(ENCODER_NAMES.get(encoder, encoder))}</span>"
    for encoder in dict.fromkeys(row["encoder"] for row in rows)
  )
  return f'<p class="keys">{shown}</p>'


def _table(rows: list[Row]) -> str:
  encoders = list(dict.fromkeys(row["encoder"] for row in rows))
  both = {verdict.TRAINED, verdict.UNTRAINED} <= set(encoders)
  heads = [ENCODER_NAMES.get(e, e) for e in encoders]
  heads += ["difference"] if both else []
  head = "".join(f"<th>{html.escape(h)}</th>" for h in [*heads, "chance"])
  body = ""
  for (label_set, protocol), found in _cells(rows).items():
    name = verdict.PROTOCOL_NAMES.get(protocol, protocol)
    cells = "".join(_cell(found.get(encoder)) for encoder in encoders)
    cells += _difference(found) if both else ""
    chance = next(iter(found.values()))["chance"]
    body += (
      f"<tr><th>{html.escape(label_set)} <small>{html.escape(name)}</small>"
      f"</th>{cells}<td>{100 * chance:.1f}</td></tr>"
    )
  count = max(row["num_test"] for row in rows)
  return table(f"<th>top-1, %</th>{head}", body) + (
    f'<p class="note">{count:,} test clips. Differences are in points; '
    "“above” and “below” mean that the two intervals do not overlap.</p>"
  )


def _cell(row: Row | None) -> str:
  if row is None:
    return "<td>–</td>"
  top1, low, high = (100 * row[key] for key in ("top1", "low", "high"))
  return f"<td>{top1:.1f} <small>[{low:.1f}, {high:.1f}]</small></td>"


def _difference(found: dict[str, Row]) -> str:
  trained, untrained = found.get(verdict.TRAINED), found.get(verdict.UNTRAINED)
  if trained is None or untrained is None:
    return "<td>–</td>"
  points = 100 * (trained["top1"] - untrained["top1"])
  state = verdict.compare(trained, untrained)
  text = f"{points:+.1f}".replace("-", "−")
  return f'<td class="{state}">{text} <small>{state}</small></td>'


def trouble(run: Run) -> str:
  """Signs of collapse and files that could not be read."""
  body = ""
  if run.warnings:
    items = "".join(
      f"<li>step {step:,}: {html.escape(text)}</li>"
      for step, text in run.warnings
    )
    body += f'<ul class="warnings">{items}</ul>'
  elif any(set(run.method.shown) & set(row) for row in run.metrics):
    body += "<p>The metrics show no sign of collapse.</p>"
  else:
    body += (
      "<p>Without health figures in the metrics, collapse cannot be judged.</p>"
    )
  if not run.bad_files:
    return section("Warnings", body + "<p>No unreadable files are listed.</p>")
  count = len(run.bad_files)
  items = "".join(
    f"<li><code>{html.escape(str(row['file']))}</code> "
    f"{html.escape(row['reason'])}</li>"
    for row in run.bad_files[:_BAD_SHOWN]
  )
  more = (
    f"<li>and {count - _BAD_SHOWN:,} more</li>" if count > _BAD_SHOWN else ""
  )
  number = f"{count:,} unreadable file{'s' if count > 1 else ''}"
  body += (
    f"<p>{number} left out, listed in {_link(run, gather.BAD_FILES)}:</p>"
    f'<ul class="files">{items}{more}</ul>'
  )
  return section("Warnings", body)


# What a run may have left that people look into.
_FILES = (
  ("config.json", "every option of the run"),
  ("metrics.jsonl", "what was logged, a line a step"),
  ("evaluations.jsonl", "the evaluations in the run"),
  ("best.json", "the checkpoint with the best kNN"),
  ("changes.jsonl", "options changed in the middle of the run"),
  (gather.BAD_FILES, "files that could not be read"),
  ("probe/results.json", "the frozen probes"),
)


def files(run: Run) -> str:
  """Links to the files that the page is made of."""
  items = "".join(
    f"<li>{_link(run, name)}: {text}</li>"
    for name, text in _FILES
    if (run.workdir / name).is_file()
  )
  return section("Files", f"<ul>{items}</ul>")


def _link(run: Run, name: str) -> str:
  """A file of the run, from its page, which lies beside it."""
  shown = f"<code>{html.escape(name)}</code>"
  there = (run.workdir / name).is_file()
  return f'<a href="{name}">{shown}</a>' if there else shown
