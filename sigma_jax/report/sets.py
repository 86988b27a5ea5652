"""The page's section on the sets of a mixture."""

import html

from sigma_jax.report import sections
from sigma_jax.report.gather import Run

_EPOCHS = "epochs/"


def table(run: Run) -> str:
  """Share, epochs and unreadable files of each set; "" where there is one.

  Counts are those of the newest line of the metrics.
  """
  sets = run.settings.data.mixture
  if not sets:
    return ""
  last = run.metrics[-1] if run.metrics else {}
  names = [name for name in last if name.startswith(_EPOCHS)]
  total = sum(share.weight for share in sets)
  rows = ""
  for number, share in enumerate(sets):
    cells = [share.path, f"{100 * share.weight / total:.3g} %"]
    if len(names) == len(sets):  # lines are in the sets' order
      name = names[number].removeprefix(_EPOCHS)
      bad, tried = (
        last[f"{kind}/{name}"] for kind in ("bad_files", "files_tried")
      )
      cells += [f"{last[names[number]]:.3g}", f"{bad:,.0f} of {tried:,.0f}"]
    else:
      cells += ["not known", "not known"]
    rows += "".join(f"<td>{html.escape(cell)}</td>" for cell in cells).join(
      ("<tr>", "</tr>")
    )
  head = "".join(
    f"<th>{name}</th>"
    for name in ("set", "share", "epochs", "unreadable files")
  )
  return sections.section(
    "Sets",
    f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>",
    "What the run is trained on. An epoch is a set's own; unreadable files are "
    "counted among those tried so far.",
  )
