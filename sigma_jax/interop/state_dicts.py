"""Which of the dicts in a training script's file holds a model's weights.

Scripts save them under many keys, beside an average of them, inside of one
another, with values of other kinds among them, and under names that wrappers
have lengthened. What is taken is told by names alone, and said in a note.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from sigma_jax import errors

Note = Callable[[str], None]
Path = tuple[str, ...]
# Which weights of a training to take. "": what stands for its result, the
# trained weights of a file that also has their average, the average of a run
# of ours that was tested with it.
CHOICES = ("", "last", "average")

# V-JEPA's names of the slow encoder, which is judged, and of the trained one.
_SLOW, _ONLINE = "target_encoder", "encoder"
# Keys of state dicts, the likeliest first: of VideoMAE and SIGMA, DeepSpeed,
# Lightning, PySlowFast, and what else is common.
_KEYS = (
  *("model", "module", "state_dict", "model_state_dict", "model_state"),
  *("network", "net", "params", "weights"),
)
# Words of keys and of modules' names that mean an average of weights.
_AVERAGE = re.compile(
  r"(?:^|[._/])(?:ema|teacher|average|averaged|avg|swa|momentum|target)(?=$|[._/])"
)
# Of two models that teach each other, what comes of it is the teacher.
_PUPIL = re.compile(r"(?:^|[._/])student(?=$|[._/])")
# Keys under which tensors are no weights of a model.
_OTHERS = re.compile(r"optim|sched|scaler|callbacks|loops|param_shapes|^hooks$")
_MAX_DEPTH = 4
_MOST_LISTED = 100  # of a list of models
# What wrappers add to names: DistributedDataParallel, torch.compile, FSDP,
# activation checkpointing, DeepSpeed. These stand anywhere in a name.
_WRAPPERS = (
  *("module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module"),
  "_checkpoint_wrapped_module",
)
# What a model is called inside of Lightning's and others' modules.
_HOLDERS = ("backbone", "model", "net", "network", "student", "teacher")
# Every video and image ViT that can be read has this; before it stands the
# name of what holds the model.
_ROOT = re.compile(r"(.*?)(?:encoder\.)?patch_embed\.proj\.weight")


def find(
  content: Any,
  is_tensor: Callable[[Any], bool],
  note: Note,
  weights: str = "",
) -> dict[str, Any]:
  """The state dict in what a training script saved.

  Args:
    content: as unpickled; dicts may contain themselves.
    is_tensor: tells what stands for a tensor.
    note: gets a line where there is more in it than a state dict.
    weights: of CHOICES.

  Returns:
    What stands for tensors, by name.

  Raises:
    UserError: there is none, or none of that kind, or one cannot tell which.
  """
  if not isinstance(content, dict) or not content:
    raise errors.UserError("no state dict in it")
  found = _candidates(content, is_tensor)
  if not found:
    some = ", ".join(str(key)[:80] for key in list(content)[:5])
    raise errors.UserError(f"no state dict in it: {some} hold no tensors")
  seeing = _with_tubes(found)
  beside = [name for name in found if name not in seeing]
  models = {
    (path, root): "/".join(filter(None, (*path, root)))
    for path, inner in seeing.items()
    for root in _roots(name for name in inner if isinstance(name, str))
  }
  path, root = _choose(models, weights)
  inner = found[path]
  if path:
    others = [str(key)[:80] for key in content if key != path[0]]
    left = f"; left out: {', '.join(others)}" if others else ""
    note(f"state dict found under {' / '.join(map(repr, path))}{left}")
  kept = {
    name: value
    for name, value in inner.items()
    if isinstance(name, str) and is_tensor(value)
  }
  plain = [str(name)[:80] for name in inner if name not in kept]
  if path and path[-1] in (_SLOW, _ONLINE):
    # How many there are tells V-JEPA from V-JEPA 2.
    kept |= _mask_tokens(found[name] for name in beside)
  if plain:
    more = f" and {len(plain) - 5} more" if len(plain) > 5 else ""
    note(f"left out of it, no tensors: {', '.join(plain[:5])}{more}")
  return {name: kept[name] for name in _below(root, kept, note)}


def _mask_tokens(networks: Iterable[dict]) -> dict[str, Any]:
  """Of predictors; no encoder has any of that name."""
  return {
    name: value
    for inner in networks
    for name, value in inner.items()
    if isinstance(name, str) and re.search(r"(^|\.)mask_tokens\.\d+$", name)
  }


def _candidates(content: dict, is_tensor) -> dict[Path, dict]:
  """Dicts of tensors by the keys that lead to them, in the file's order."""
  found: dict[Path, dict] = {}
  level, seen = [((), content)], set()
  for _ in range(_MAX_DEPTH):
    below = []
    for path, inner in level:
      if id(inner) in seen:  # many keys may lead to one, or to themselves
        continue
      seen.add(id(inner))
      if path and _has_weights(path[-1], inner, is_tensor):
        found[path] = inner
      below += [
        ((*path, key), value)
        for key, value in _named(inner)
        if isinstance(value, dict) and not _OTHERS.search(key)
      ]
    level = below
  top = [n for n, v in content.items() if isinstance(n, str) and is_tensor(v)]
  # A tensor beside a state dict, such as a step, makes no other of its place.
  if any("." in name for name in top) or (top and not found):
    found = {(): content, **found}
  return found


def _with_tubes(found: dict[Path, dict]) -> dict[Path, dict]:
  """Without networks that see no pixels, such as predictors, beside one."""
  seeing = {
    path: inner
    for path, inner in found.items()
    if any(isinstance(n, str) and _ROOT.fullmatch(n) for n in inner)
  }
  return seeing or found


def _named(inner: dict):
  """(key, value), those of lists each by its place, such as classifiers[0]."""
  for key, value in inner.items():
    if isinstance(key, str) and isinstance(value, list):
      for place, item in enumerate(value[:_MOST_LISTED]):
        yield f"{key}[{place}]", item
    elif isinstance(key, str):
      yield key, value


def _has_weights(key: str, inner: dict, is_tensor) -> bool:
  known = key in _KEYS or _is_average(key)
  return any(
    is_tensor(value) and (known or "." in name)
    for name, value in inner.items()
    if isinstance(name, str)
  )


def _is_average(name: str) -> bool:
  return bool(_AVERAGE.search(name))


def _choose(models: dict[tuple[Path, str], str], weights: str):
  """The one to take, by where it is found and what its names begin with."""

  def rank(model: tuple[Path, str]) -> int:
    path = model[0]
    known = [_KEYS.index(key) for key in path if key in _KEYS]
    return min(known, default=len(_KEYS)) if path else -1

  taken = _of_kind(models, weights)
  first = min(map(rank, taken))
  best = [model for model in taken if rank(model) == first]
  alike = len({path for path, _ in best}) < len(best)
  if len(best) > 1 and (alike or first == len(_KEYS)):
    raise errors.UserError(
      f"{len(best)} models in it: {', '.join(models[m] for m in best[:5])}; "
      "save the state dict of the one that is meant alone"
    )
  return best[0]


def _of_kind(names: dict[Any, str], weights: str) -> list:
  """Those of the keys whose names are of trained or of averaged weights."""
  averaged = [key for key, name in names.items() if _is_average(name)]
  trained = [key for key in names if key not in averaged]
  wanted = averaged if weights == "average" else trained
  if averaged and not weights:
    slow = {names[key] for key in averaged}
    wanted = [
      key
      for key in trained
      if not _PUPIL.search(names[key])
      and names[key].replace(_ONLINE, _SLOW, 1) not in slow
    ]
  if not wanted and weights:
    there = ", ".join(name or "one without a name" for name in names.values())
    kind = "trained" if weights == "last" else "averaged"
    raise errors.UserError(f"no {kind} weights in it; its state dict: {there}")
  return wanted or averaged


def strip(
  names: Iterable[str], note: Note, weights: str = ""
) -> dict[str, str]:
  """Names without what wrappers added, and only those of the model.

  Args:
    names: of a state dict.
    note: gets a line for whatever is changed or left out.
    weights: of CHOICES, where one state dict holds both.

  Returns:
    New name -> old name.

  Raises:
    UserError: two names become one, or one cannot tell which model is meant.
  """
  new = {name: name for name in names}
  new = _without_prefixes(new, note)
  wrapped = [name for name in new if set(name.split(".")[1:]) & {*_WRAPPERS}]
  if wrapped:
    renamed = [_unwrapped(name) for name in new]
    if len(set(renamed)) < len(renamed):
      raise errors.UserError(
        "names that differ by wrappers alone, such as "
        f"{_unwrapped(wrapped[0])}; one cannot tell which is meant"
      )
    new = dict(zip(renamed, new.values(), strict=True))
    note(f"wrappers' parts left out of {len(wrapped)} names: {wrapped[0]}")
  root = _choose({((), root): root for root in _roots(new)}, weights)[1]
  new = {name.removeprefix(root): new[name] for name in _below(root, new, note)}
  if root:
    note(f"prefix {root!r} stripped from all names")
  return new


def _without_prefixes(names: dict[str, str], note: Note) -> dict[str, str]:
  """Without what all of them begin with, where wrappers put it."""
  while names:
    first = next(iter(names)).split(".")[0]
    prefix = first + "."
    known = first in _WRAPPERS or first in _HOLDERS
    if not known or not all(name.startswith(prefix) for name in names):
      break
    note(f"prefix {prefix!r} stripped from all names")
    names = {name.removeprefix(prefix): old for name, old in names.items()}
  return names


def _unwrapped(name: str) -> str:
  return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _roots(names: Iterable[str]) -> list[str]:
  """What the names of each model begin with; [""] where one has no holder."""
  roots = {m[1]: None for name in names if (m := _ROOT.fullmatch(name))}
  return [""] if not roots or "" in roots else list(roots)


def _below(root: str, names: Iterable[str], note: Note) -> list[str]:
  """The names that begin so; the others are named as left out."""
  names = list(names)
  kept = [name for name in names if name.startswith(root)]
  left = sorted({n.split(".")[0] for n in names if not n.startswith(root)})
  if left:
    note(
      f"the model is what is named {root!r}; left out: {', '.join(left[:5])}"
    )
  return kept
