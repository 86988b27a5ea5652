"""`python -m sigma_jax.interop parity CASE`: our numbers beside published ones.

A quantity's relative error is max |ours - theirs| / max |theirs|. For a
parameter's gradient: that of its norm, and of its leading values over the
larger of their maximum and the gradient's root mean square (six values may all
be near zero by chance). Everything is float32 on the CPU with full-precision
products, like the reference: both sides round.

Hard labels have to be identical. Where the reference's plan holds two values
that float32 cannot tell apart (their ratio is within 1e-6 / epsilon of 1, the
rounding of a score seen through the exponential), either label is right: such
ties are counted apart, and loss and gradients are then taken under the
reference's labels.
"""

import json
import os
import platform
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import errors
from sigma_jax.interop import (
  golden_case,
  parity_jepa,
  parity_mme,
  parity_model,
  parity_motion,
)
from sigma_jax.losses import sinkhorn
from sigma_jax.train import optimizer

FORWARD, GRADIENT = 1e-5, 1e-4


class Row(NamedTuple):
  """One compared quantity; of `labels_*`, error counts the differing ones."""

  quantity: str
  error: float
  tolerance: float
  note: str = ""

  @property
  def passed(self) -> bool:
    return bool(self.error <= self.tolerance)  # NaN fails


class Result(NamedTuple):
  """A case's rows, and every parameter's gradient errors (norm, values)."""

  name: str
  rows: list[Row]
  gradients: dict[str, tuple[float, float]]

  @property
  def passed(self) -> bool:
    return all(row.passed for row in self.rows)


def relative(ours: Any, theirs: Any, floor: float = 0.0) -> float:
  """max |ours - theirs| / max(max |theirs|, floor); absolute if that is 0.

  Raises:
    UserError: the shapes differ.
  """
  ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
  if ours.shape != theirs.shape:
    raise errors.UserError(
      f"shape {list(theirs.shape)} in the case, {list(ours.shape)} computed"
    )
  if not theirs.size:
    return 0.0
  scale = max(np.abs(theirs).max(), floor) or 1.0
  return float(np.abs(ours - theirs).max() / scale)


def compare(case: golden_case.Case) -> Result:
  """Computes a case and compares all that it holds.

  Raises:
    UserError: the case is malformed.
  """
  run = {
    "pretrain": _pretrain,
    "finetune": _finetune,
    "sinkhorn": _sinkhorn,
    "schedule": _schedule,
  }.get(case.kind, _method)
  cpu = jax.devices("cpu")[0]
  with jax.default_device(cpu), jax.default_matmul_precision("highest"):
    rows, gradients = run(case)
  if not rows:
    raise errors.UserError(f"case {case.name} holds nothing to compare")
  return Result(case.name, rows, gradients)


def _rows(case: golden_case.Case, ours: dict[str, Any]) -> list[Row]:
  """Forward quantities that the case holds."""
  return [
    _row(case, name, ours[name], theirs)
    for name, theirs in case.arrays.items()
    if name in ours
  ]


def _row(case, name: str, ours, theirs, tolerance: float = FORWARD) -> Row:
  try:
    return Row(name, relative(ours, theirs), tolerance)
  except errors.UserError as wrong:
    raise errors.UserError(f"case {case.name}: {name}: {wrong}") from wrong


def _pretrain(case: golden_case.Case):
  ours = parity_model.pretrain(case)
  labels = {}
  rows = []
  for side in ("proj", "video"):
    plan = case.arrays.get(f"q_{side}")
    if plan is None or f"q_{side}" not in ours.forward:
      continue
    row, labels[side] = _labels(case, side, plan, ours.labels[side])
    rows.append(row)
  if any(row.note for row in rows) and all(row.passed for row in rows):
    ours = parity_model.pretrain(case, labels)
  rows = _rows(case, ours.forward) + rows
  gradients = _gradients(case, ours.gradients)
  return rows + _worst("gradient", gradients, GRADIENT), gradients


def _nan_last(error: float) -> float:
  return np.inf if np.isnan(error) else error


def _labels(case, side: str, plan: np.ndarray, ours: np.ndarray):
  """Row of one side's hard labels, and the reference's labels."""
  theirs = plan.argmax(axis=-1)
  if theirs.shape != ours.shape:
    raise errors.UserError(f"case {case.name}: q_{side} has {plan.shape}")
  best = plan.max(axis=-1)
  chosen = np.take_along_axis(plan, ours[..., None], axis=-1)[..., 0]
  differing = theirs != ours
  slack = 1e-6 / parity_model.epsilon(case)
  ties = differing & (best - chosen <= slack * best)
  note = f"{int(ties.sum())} ties" if ties.any() else ""
  count = int((differing & ~ties).sum())
  return Row(f"labels_{side}", count, 0, note), theirs.astype(np.int32)


def _method(case: golden_case.Case):
  """Cases of other methods, each a dict `RUN` of a module."""
  family, kind = case.kind.split(" ", 1)
  run = {
    "jepa": parity_jepa,
    "mme": parity_mme,
    "motion": parity_motion,
  }[family].RUN[kind]
  try:
    ours = run(case.options, case.arrays)
  except (KeyError, StopIteration) as error:
    raise errors.UserError(f"case {case.name}: {error} is missing") from error
  except ValueError as error:  # sizes or names that the method does not have
    raise errors.UserError(f"case {case.name}: {error}") from error
  rows = [Row(name, count, 0) for name, count in ours.exact.items()]
  for found, tolerance in ((ours.forward, FORWARD), (ours.by_array, GRADIENT)):
    rows += [_row(case, name, *both, tolerance) for name, both in found.items()]
  gradients = _gradients(case, ours.gradients, ours.published)
  rows += _worst("gradient", gradients, GRADIENT)
  after = ours.published_after
  if after is None:
    after = case.options.get("step", {}).get("after", {})
  rows += _worst("step", _gradients(case, ours.after, after), GRADIENT)
  return rows, gradients


def _worst(what: str, found: dict, tolerance: float) -> list[Row]:
  """The largest error of norms and of leading values."""
  rows = []
  for i, part in enumerate(("norm", "values")):
    if found:
      worst = max(found, key=lambda name: _nan_last(found[name][i]))
      error = found[worst][i]
      rows.append(Row(f"{what}_{part}", error, tolerance, f"worst: {worst}"))
  return rows


def _gradients(case, ours: dict[str, np.ndarray], given: dict | None = None):
  """(norm, leading values) errors by published name; null: must be zero."""
  found = {}
  if given is None:
    given = case.options.get("grads", {})
  for name, theirs in given.items():
    if name not in ours:
      raise errors.UserError(f"case {case.name}: gradient of unknown {name!r}")
    gradient = ours[name].astype(np.float64)
    norm = float(np.linalg.norm(gradient))
    if theirs is None:
      found[name] = (norm, float(np.abs(gradient).max()))
      continue
    head = np.asarray(theirs["head"], np.float64).reshape(-1)
    spread = theirs["norm"] / np.sqrt(gradient.size)
    leading = gradient.reshape(-1)[: head.size]
    found[name] = (
      relative(norm, theirs["norm"]),
      relative(leading, head, spread),
    )
  return found


def _finetune(case: golden_case.Case):
  return _rows(case, parity_model.finetune(case)), {}


def _sinkhorn(case: golden_case.Case):
  scores = jnp.asarray(case.arrays["scores"], jnp.float32)
  rows = []
  for name, plan in case.arrays.items():
    match = re.fullmatch(r"q_eps([\d.e-]+)_it(\d+)", name)
    if match is None:
      continue
    epsilon, rounds = float(match[1]), int(match[2])
    log_u = sinkhorn.potential(scores, epsilon, rounds)
    found = sinkhorn.assign(scores, log_u, epsilon)
    rows += _rows(case, {name: np.asarray(found)})
    differing = int((plan.argmax(-1) != np.asarray(found).argmax(-1)).sum())
    rows.append(Row(name.replace("q_", "labels_"), differing, 0))
  return rows, {}


def _schedule(case: golden_case.Case):
  """Options that the case does not name are those of golden/README.md."""
  options = {
    "base": 1.5e-4 * 512 / 256,
    "final": 1e-5 * 512 / 256,
    "epochs": 20,
    "steps_per_epoch": 10,
    "warmup_epochs": 4,
  }
  for name in options:
    if name in case.arrays or name in case.options:
      options[name] = float(case.arrays.get(name, case.options.get(name)))
  schedule = optimizer.cosine_schedule(
    options["base"],
    options["final"],
    round(options["epochs"] * options["steps_per_epoch"]),
    round(options["warmup_epochs"] * options["steps_per_epoch"]),
  )
  steps = jnp.arange(case.arrays["lr"].size, dtype=jnp.int32)
  return _rows(case, {"lr": np.asarray(jax.vmap(schedule)(steps))}), {}


def run(paths: list[str], *, as_json: bool, as_markdown: bool) -> int:
  """Compares the cases and prints them; see `Result`.

  As JSON, one case is one flat object of quantity -> error (for labels, how
  many differ); several cases are an object of such objects.

  Returns:
    0 where all agree, else 1.
  """
  results = [compare(golden_case.load(path)) for path in paths]
  if as_json:
    found = {result.name: _plain(result) for result in results}
    print(json.dumps(_plain(results[0]) if len(results) == 1 else found))
  elif as_markdown:
    print(_markdown(results, paths))
  else:
    print("\n\n".join(_table(result) for result in results))
  return 0 if all(result.passed for result in results) else 1


def _plain(result: Result) -> dict[str, float]:
  """Quantity -> error, `gradient/NAME` for every parameter's own."""
  return {row.quantity: row.error for row in result.rows} | {
    f"gradient/{name}": max(errors) for name, errors in result.gradients.items()
  }


def _table(result: Result) -> str:
  width = max(len(row.quantity) for row in result.rows)
  lines = [f"{result.name}: {'agrees' if result.passed else 'DIFFERS'}"]
  for row in result.rows:
    mark = "" if row.passed else "  <-- past the tolerance"
    note = f"  {row.note}" if row.note else ""
    lines.append(f"  {row.quantity:{width}}  {_number(row)}{note}{mark}")
  return "\n".join(lines)


def _number(row: Row) -> str:
  if row.quantity.startswith("labels_"):
    return f"{row.error:g} differ"
  return f"{row.error:.1e} (tolerance {row.tolerance:g})"


def _markdown(results: list[Result], paths: list[str]) -> str:
  import flax

  command = f"python -m sigma_jax.interop parity {' '.join(paths)} --markdown"
  lines = [
    "# Parity with the published PyTorch code",
    "",
    "Written by",
    "",
    f"    {command}",
    "",
    f"on {platform.machine()}, {os.cpu_count()} CPU cores, Python "
    f"{platform.python_version()}, jax {jax.__version__}, flax "
    f"{flax.__version__}, numpy {np.__version__}, in float32 on both sides. "
    "The error of a quantity is max |ours - theirs| / max |theirs|. "
    "`gradient_*` are the worst of all parameters. The tolerance is "
    f"{FORWARD:g} for outputs and {GRADIENT:g} for gradients. No label may "
    "differ.",
    "",
    "For SIGMA, losses, hard labels and gradients come from the tiled loss, "
    "which is the one that trains. So its tiles and its custom gradient are "
    "compared here, and not only the plain formula. If a case holds the "
    "weights of an image teacher, our own image ViT computes it.",
  ]
  for result in results:
    verdict = "agrees" if result.passed else "differs"
    lines += ["", f"## {result.name}: {verdict}", ""]
    lines += ["| quantity | error | |", "|---|---|---|"]
    for row in result.rows:
      lines.append(f"| {row.quantity} | {_number(row)} | {row.note} |")
  return "\n".join(lines)
