"""Puts the sections together; a missing piece becomes a note, not a crash."""

import dataclasses
import html
import pathlib
from collections.abc import Sequence

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.report import clips as clips_lib
from sigma_jax.report import curves, picture_sections, sections, sets, tubes
from sigma_jax.report.gather import Run

_STYLE = pathlib.Path(__file__).with_name("page.css")


def build(
  run: Run, data: settings_lib.Data, refresh: int = 0
) -> tuple[str, str]:
  """The whole page, and in a line why it shows no clips; "" where it does.

  Args:
    run: from `gather.load`.
    data: where the validation clips are now; clip geometry as in the run.
    refresh: as of `document`. A page that is loaded again has no pictures:
      they take seconds of the processor that the run needs.
  """
  drawn, problem = _later() if refresh else _pictures(run, data)
  body = [
    sections.header(run),
    sections.probe(run),
    curves.evaluations(run),
    curves.curves(run),
    sets.table(run),
    *drawn,
    sections.trouble(run),
    sections.files(run),
  ]
  title = f"{run.workdir.resolve().name} · {run.words.title}"
  return document(title, body, refresh), problem


def document(title: str, body: Sequence[str], refresh: int = 0) -> str:
  """A page with our style and nothing from outside.

  Args:
    title: plain text.
    body: HTML of its sections.
    refresh: seconds after which a browser loads it again; 0: never.
  """
  again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<meta name="color-scheme" content="light dark">{again}'
    f"<title>{html.escape(title)}</title><style>{_STYLE.read_text()}</style></head>"
    f"<body><main>{''.join(body)}</main></body></html>\n"
  )


def _later() -> tuple[list[str], str]:
  note = "<p>They are drawn when the run is done, or is no longer followed.</p>"
  return [sections.section("Masks and prototypes", note)], ""


def _pictures(run: Run, data: settings_lib.Data) -> tuple[list[str], str]:
  """Masks, prototypes and assignments, or what each of them lacks.

  Also why there are no clips, as `build` returns it.
  """
  reason = picture_sections.no_prototypes(run)
  count = (
    picture_sections.CLIPS_SHOWN if reason else tubes.num_clips(run.settings)
  )
  settings = dataclasses.replace(run.settings, data=data)
  try:
    clips = clips_lib.load(settings, count, run.method.luma)
  except (ValueError, OSError) as error:
    again = f"python -m sigma_jax.report {run.workdir} --val=<manifest>"
    note = sections.missing(f"No clips to show: {error}", again)
    return [sections.section("Masks and prototypes", note)], str(error)
  out = [masks(run, clips)]
  if reason:
    note = f"<p>{html.escape(reason)}</p>"
    return [*out, sections.section("Prototypes", note)], ""
  try:
    return [*out, picture_sections.prototypes(run, clips)], ""
  except (ValueError, OSError) as error:
    again = (
      "python -m sigma_jax.main --config=configs/<the run's config>.py "
      f"--workdir={run.workdir}"
    )
    note = sections.missing(f"No prototypes to show: {error}", again)
    return [*out, sections.section("Prototypes", note)], ""


def masks(run: Run, clips: clips_lib.Clips) -> str:
  """The section of masks, or why there is none.

  Where a network finds the motion, its weights may have been removed.
  """
  try:
    return picture_sections.masks(run, clips)
  except errors.UserError as error:
    again = f"python -m sigma_jax.report {run.workdir}"
    note = sections.missing(f"No masks to show: {error}", again)
    return sections.section("Masks", note)
