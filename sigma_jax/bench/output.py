"""How benchmarks print: an aligned table, or one JSON object."""

import importlib.metadata
import json
import os
import platform
from typing import Any


def show(result: dict[str, Any], as_json: bool) -> None:
  """Prints one benchmark's result.

  Args:
    result: "title", "rows" (dicts of equal keys), and any further entries.
    as_json: the whole as one JSON object on one line, else a table: the title,
      the rows, then the other entries one a line.
  """
  if as_json:
    print(json.dumps(result), flush=True)
    return
  print(result["title"])
  print(table(result["rows"]))
  for key, value in result.items():
    if key not in ("title", "rows"):
      print(f"{key}: {_text(value)}")


def table(rows: list[dict[str, Any]]) -> str:
  """Columns as wide as they need to be; numbers to the right."""
  if not rows:
    return "(no rows)"
  keys = list(rows[0])
  cells = [keys, *([_text(row[key]) for key in keys] for row in rows)]
  widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
  lines = []
  for line in cells:
    parts = [
      cell.ljust(width) if i == 0 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    lines.append("  ".join(parts).rstrip())
  return "\n".join(lines)


def markdown(rows: list[dict[str, Any]]) -> str:
  """The same as a table of Markdown; columns without a value are left out."""
  keys = [k for k in rows[0] if any(row[k] is not None for row in rows)]
  lines = [keys, ["---"] * len(keys)]
  lines += [[_text(row[key]) for key in keys] for row in rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def versions(*packages: str) -> dict[str, str]:
  """Versions of Python and of those of `packages` that are installed."""
  found = {"python": platform.python_version()}
  for name in packages:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def processor() -> str:
  """The CPU's name and the cores that this process may use."""
  name = platform.processor() or platform.machine()
  try:
    with open("/proc/cpuinfo") as lines:
      name = next(
        line.split(":", 1)[1].strip()
        for line in lines
        if line.startswith("model name")
      )
  except (OSError, StopIteration):
    pass
  if hasattr(os, "sched_getaffinity"):
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
  return f"{name}, {os.cpu_count()} cores"


def _text(value: Any) -> str:
  if isinstance(value, float):
    return f"{value:.4g}"
  if isinstance(value, dict):
    return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
  if isinstance(value, list):
    return ", ".join(map(_text, value))
  return "-" if value is None else str(value)
