"""The page's sections made of pictures: masks and prototypes."""

import functools
import html

import jax
import numpy as np

from sigma_jax import settings as settings_lib
from sigma_jax.report import clips as clips_lib
from sigma_jax.report import pictures, sections, tubes
from sigma_jax.report.gather import Run
from sigma_jax.train import checkpoint

CLIPS_SHOWN = 4
_PROTOTYPES_SHOWN = 12
_TUBES_SHOWN = 10
_NUMBERED_SIDE = 7  # tubes along a frame up to which numbers can be read


def masks(run: Run, clips: clips_lib.Clips) -> str:
  """Clips beside what the encoder sees of them; "" where it sees all."""
  settings = run.settings
  count = min(CLIPS_SHOWN, len(clips.videos))
  drawn = jax.random.key(settings.seed), clips.videos[:count]
  hidden = run.method.hidden(*drawn)
  if hidden is None:
    return ""
  guides = run.method.guides(*drawn)
  traces = run.method.traces(clips.batch(count))
  body = ""
  for i, place in enumerate(_shown(clips)):
    marks = pictures.overlay(settings.grid, pictures.masked, hidden[i])
    between = [
      pictures.overlay(
        settings.grid,
        pictures.arrows if values.ndim == 5 else pictures.held,
        values[i],
      )
      for values in guides.values()
    ]
    after = [
      pictures.overlay(settings.grid, pictures.paths, values[i])
      for values in traces.values()
    ]
    picture = pictures.strip(
      f"clip{i}",
      clips.videos[place],
      settings.grid,
      ["", *between, marks, *after],
      f"Frames of {clips.names[place]}, and the same with masked tubes hidden",
    )
    body += _figure(picture, clips, place)
  seen = 1 - hidden.mean()
  slots = len(pictures.slots(settings.grid))
  lede = (
    f"Validation clips: {slots} of {settings.grid[0]} time slots, the first "
    f"frame of each. Below, what the encoder sees under a mask drawn as in "
    f"training: {seen:.0%} of the tubes. The loss is on the others."
  )
  if guides:
    rows = ", then ".join(guides)
    lede += f" In between, what the mask was chosen by: {rows}."
  if traces:
    rows = ", then ".join(traces)
    lede += f" At the bottom, what is to be predicted of them: {rows}."
  return sections.section("Masks", _strips(settings, body), lede)


def prototypes(run: Run, clips: clips_lib.Clips) -> str:
  """Closest tubes of the most used prototypes, and coloured clips.

  Raises:
    UserError, OSError: there is no complete checkpoint.
  """
  settings = run.settings
  params, step = checkpoint.restore_params(run.workdir)
  found = tubes.assign(settings, params, clips.videos)
  colours = tubes.colours(np.asarray(params["prototypes"]))
  used = np.argsort(-found.usage(), kind="stable")[:_PROTOTYPES_SHOWN]
  rows = "".join(
    _prototype(settings, clips, found, int(k), colours[k]) for k in used
  )
  count, total = len(found.labels), found.labels.size
  share = np.mean(found.usage() > 0)
  return sections.section(
    "Prototypes",
    f'<div class="prototypes">{rows}</div>',
    f"The {len(used)} most used of {run.num_prototypes:,} prototypes at step "
    f"{step:,}, and the tubes that the {run.words.target} target "
    "network puts closest to each, every one from another clip. Searched: "
    f"{total:,} tubes of {count:,} validation clips, which use {share:.0%} of "
    "the prototypes. Outlined: the tube’s first frame, in its surroundings.",
  ) + _maps(settings, clips, found, colours)


def no_prototypes(run: Run) -> str:
  """Why a run has no prototype pictures; "" where it can have them."""
  if run.num_prototypes is None:
    return (
      "This run’s loss has no prototypes, so there are no assignments to show."
    )
  if jax.tree.leaves(run.method.abstract.frozen.get("target", {})):
    return (
      f"The {run.words.target} target’s frozen weights are not kept "
      "with the run, so its assignments are not shown here."
    )
  return ""


def _prototype(settings, clips, found: tubes.Tubes, k: int, colour: str) -> str:
  closest = found.closest(k, _TUBES_SHOWN)
  tiles = "".join(
    pictures.tile(
      clips.videos[clip],
      settings.grid,
      tube,
      settings.model.tubelet,
      f"{clips.names[clip]}, cosine {cosine:.2f}",
    )
    for clip, tube, cosine in closest
  )
  return (
    f'<div class="prototype"><p><i style="background:{colour}"></i>'
    f"<b>{k}</b> <small>{found.usage()[k]:.1%} of tubes<br>cosine "
    f"{closest[0][2]:.2f} to {closest[-1][2]:.2f}</small></p>"
    f'<div class="tiles">{tiles}</div></div>'
  )


def _maps(settings, clips, found: tubes.Tubes, colours: list[str]) -> str:
  numbers = max(settings.grid[1:]) <= _NUMBERED_SIDE
  draw = functools.partial(pictures.assigned, colours=colours, numbers=numbers)
  body = ""
  for i, place in enumerate(_shown(clips)):
    if place >= len(found.labels):
      continue
    labels = found.labels[place].reshape(settings.grid)
    picture = pictures.reuse(
      f"clip{i}",
      settings.grid,
      ["", pictures.overlay(settings.grid, draw, labels)],
      f"Frames of {clips.names[place]} coloured by prototype",
    )
    body += _figure(picture, clips, place)
  lede = (
    "The clips from above, each tube in the colour of its prototype; similar "
    "prototypes have similar colours"
    + (", and the number is the prototype’s." if numbers else ".")
  )
  return sections.section("Assignments", _strips(settings, body), lede)


def _shown(clips: clips_lib.Clips) -> range:
  return range(min(CLIPS_SHOWN, len(clips.videos)))


def _strips(settings: settings_lib.Settings, figures: str) -> str:
  """Short clips two abreast, long ones below each other."""
  wide = len(pictures.slots(settings.grid)) > 4
  return f'<div class="strips{" wide" if wide else ""}">{figures}</div>'


def _figure(picture: str, clips: clips_lib.Clips, place: int) -> str:
  words = filter(None, (clips.captions[place], clips.names[place]))
  caption = html.escape(" · ".join(words))
  return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"
