"""Lines of a list in which path or label stand in double quotes."""

import csv
import re

from sigma_jax import errors
from sigma_jax.data.list_columns import FIRST_QUOTED, MEDIA

# VideoMAE V2's first frame and "to the end".
PLACE = re.compile(r"([0-9]+)(?:\s*[\t,]\s*|\s+)-1")
_USUAL_QUOTED = re.compile(r'"([^"]+)"(?: *[\t,] *| +)(?:"([0-9]+)"|([0-9]+))')
_LAST_QUOTED = re.compile(r'(.*?\S)(?:\s*[\t,]\s*|\s+)"((?:[^"]|"")*)"', re.S)
# A column before the path, such as the row's number.
_INNER_QUOTED = re.compile(r'[\t,]\s*"(?:[^"]|"")*"\s*[\t,]\s*"?-?[0-9]+"?$')


def split(line: str, where: str) -> tuple[str, str | None] | None:
  """Path and label of a line with quotes.

  Returns:
    The label is None where there is none; None: the quotes are part of a name.

  Raises:
    UserError: they are not as in CSV.
  """
  if match := _USUAL_QUOTED.fullmatch(line):
    return match[1], match[2] or match[3]
  if match := FIRST_QUOTED.fullmatch(line):
    path, separator, rest = match.groups()
    path = path.replace('""', '"')
    if not rest or PLACE.fullmatch(rest.replace('"', "")):
      return path, None
    label = _field(rest, separator)
    if path and label is not None and not MEDIA.fullmatch(f"{label} "):
      return path, label
  elif line[0] != '"' and not _INNER_QUOTED.search(line):
    if match := _LAST_QUOTED.fullmatch(line):
      return match[1], match[2].replace('""', '"').strip() or None
    return None
  raise errors.UserError(
    f"{where}: {line!r} is not a path and a label with quotes as in CSV files; "
    "a name that begins with a quote stands in quotes, and those that are part "
    "of it are doubled"
  )


def _field(text: str, separator: str) -> str | None:
  """The one field behind a quoted path; None: they are several, or none."""
  delimiter = next((s for s in ",\t" if s in separator), " ")
  try:
    fields = next(csv.reader([text], delimiter=delimiter, strict=True))
  except csv.Error:
    return None
  if delimiter == " ":  # "playing guitar" is one label
    fields = [" ".join(fields)]
  return fields[0].strip() if len(fields) == 1 else None
