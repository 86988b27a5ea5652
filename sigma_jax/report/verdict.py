"""What the probe's numbers show, in words that never go beyond them."""

from typing import Any

Row = dict[str, Any]
TRAINED, UNTRAINED = "pretrained", "random"
_VERBS = {
  "above": "beats",
  "below": "falls below",
  "overlap": "cannot be told from",
}
PROTOCOL_NAMES = {"linear": "linear probe", "knn": "kNN"}


def compare(trained: Row, untrained: Row) -> str:
  """How two 95% intervals lie: "above", "below" or "overlap".

  Args:
    trained, untrained: rows with `low` and `high`. Intervals that touch
      overlap.
  """
  if trained["low"] > untrained["high"]:
    return "above"
  if trained["high"] < untrained["low"]:
    return "below"
  return "overlap"


def pairs(rows: list[Row], protocol: str) -> list[tuple[str, Row, Row]]:
  """(label set, pre-trained row, untrained row) where both were probed."""
  cells = {
    (row["label_set"], row["encoder"]): row
    for row in rows
    if row["protocol"] == protocol
  }
  sets = dict.fromkeys(label_set for label_set, _ in cells)
  return [
    (name, cells[name, TRAINED], cells[name, UNTRAINED])
    for name in sets
    if {(name, TRAINED), (name, UNTRAINED)} <= set(cells)
  ]


def shows(rows: list[Row]) -> str:
  """What the results show: pre-trained against untrained, every label set.

  Args:
    rows: of probe/results.json; [] if there are none.
  """
  if not rows:
    return (
      "The encoder has not been probed yet, so nothing can be said about how "
      "useful its features are."
    )
  protocol = _headline(rows)
  name = PROTOCOL_NAMES.get(protocol, protocol)
  found = pairs(rows, protocol)
  if not found:
    return (
      "Only one encoder was probed, so what pre-training adds to an untrained "
      "one cannot be said."
    )
  parts = [
    f"{verb} an untrained one on {_listed(members)}"
    for state, verb in _VERBS.items()
    if (members := [_numbers(*p) for p in found if compare(*p[1:]) == state])
  ]
  return (
    f"By the {name} on frozen features, the pre-trained encoder "
    f"{_listed(parts)}.{_other_protocols(rows, protocol)}"
  )


def does_not_show(rows: list[Row], probed_step: int, last_step: int) -> str:
  """The limits of the results.

  Args:
    rows: of probe/results.json; [] if there are none.
    probed_step: of the checkpoint that was probed.
    last_step: newest step of the run; 0 where unknown.
  """
  if not rows:
    return (
      "A falling loss alone does not show it: a collapsing run's loss falls "
      "too."
    )
  tests = sorted({row["num_test"] for row in rows})
  clips = " to ".join(f"{n:,}" for n in (tests[:1] + tests[1:][-1:]))
  parts = [
    f"This is one run with one seed: the intervals cover the choice of the "
    f"{clips} test clips, not that of the seed."
  ]
  if any(_state(rows, p) & {"overlap"} for p in _protocols(rows)):
    parts.append(
      "Where intervals overlap, neither a difference nor its absence is shown."
    )
  near = _not_above_chance(rows)
  if near:
    parts.append(
      f"On {_listed(near)} the pre-trained encoder is not shown to beat always "
      "giving the most frequent class."
    )
  if probed_step < last_step:
    parts.append(
      f"Step {probed_step:,} was probed; the run has since reached step "
      f"{last_step:,}."
    )
  return " ".join(parts)


def _headline(rows: list[Row]) -> str:
  protocols = _protocols(rows)
  return "linear" if "linear" in protocols else protocols[0]


def _protocols(rows: list[Row]) -> list[str]:
  return list(dict.fromkeys(row["protocol"] for row in rows))


def _numbers(label_set: str, trained: Row, untrained: Row) -> str:
  a, b = 100 * trained["top1"], 100 * untrained["top1"]
  overlap = compare(trained, untrained) == "overlap"
  end = "95% intervals overlap" if overlap else f"{a - b:+.1f} points"
  return f"{label_set} ({a:.1f}% against {b:.1f}%, {end})"


def _state(rows: list[Row], protocol: str) -> set[str]:
  return {compare(a, b) for _, a, b in pairs(rows, protocol)}


def _other_protocols(rows: list[Row], headline: str) -> str:
  """Whether the other protocols say the same; "" where there are none."""
  text = ""
  first = {name: compare(a, b) for name, a, b in pairs(rows, headline)}
  for protocol in _protocols(rows):
    other = {name: compare(a, b) for name, a, b in pairs(rows, protocol)}
    shared = [name for name in other if name in first]
    if protocol == headline or not shared:
      continue
    name = PROTOCOL_NAMES.get(protocol, protocol)
    differing = [s for s in shared if other[s] != first[s]]
    if not differing:
      text += f" {name} says the same."
      continue
    words = {"above": "better", "below": "worse", "overlap": "undecided"}
    said = [f"{s} ({words[other[s]]})" for s in differing]
    text += f" {name} says otherwise on {_listed(said)}."
  return text


def _not_above_chance(rows: list[Row]) -> list[str]:
  protocol = _headline(rows)
  return [
    row["label_set"]
    for row in rows
    if row["encoder"] == TRAINED
    and row["protocol"] == protocol
    and row["low"] <= row["chance"]
  ]


def _listed(names: list[str]) -> str:
  return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
