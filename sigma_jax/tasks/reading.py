"""Batches of a run's own share, with account of the files that are bad."""

import hashlib

import jax
import numpy as np

from sigma_jax import errors, settings
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import metrics, preemption

_NAMED = 5  # classes shown of many
_TRIED = 8  # test videos, until one can be read


class Training:
  """Opens `pipeline.train_batches` at a step; counts bad files as it goes."""

  def __init__(
    self,
    config: settings.Settings,
    workdir,
    source,
    views: tuple[settings.Views, ...] = (),
    luma: settings.Luma | None = None,
  ):
    """views, luma: beside the clips, see `pipeline.train_batches`."""
    self._config, self._source = config, source
    self._views, self._luma = views, luma
    self._bad = account(config, workdir, source, shuffled=True)

  def counts(self, step: int) -> dict[str, float]:
    """`loop.run`'s `counts`; {} where there is one set.

    Of each set of a mixture: epochs, unreadable files, and files tried.
    """
    if not self._config.data.mixture:
      return {}
    number = step * self._config.train.batch_size
    found = self._source.epochs(number).items()
    epochs = {f"epochs/{name}": count for name, count in found}
    bad = {
      f"{kind}/{name}": float(count)
      for name, counts in self._bad.counts().items()
      for kind, count in zip(("bad_files", "files_tried"), counts, strict=True)
    }
    return epochs | bad

  def __call__(self, start_step: int):
    """The batches from a step on."""
    from sigma_jax.data import pipeline

    self._bad.resume(start_step)
    # The clips of this process's own devices, wherever the mesh has them.
    mesh = mesh_lib.make(self._config.mesh)
    return pipeline.train_batches(
      self._config,
      self._source,
      start_step=start_step,
      slots=mesh_lib.rows(mesh, self._config.train.batch_size),
      on_bad=self._bad.report,
      on_tried=self._bad.tried,
      views=self._views,
      luma=self._luma,
    )

  def account(self, step: int, saved: bool) -> None:
    """Lets the hosts tell each other of bad files: `loop.run`'s `account`."""
    self._bad.share(_gather)
    if saved:
      self._bad.strike(_gather)
    if saved and jax.process_index() == 0:
      self._bad.save(step)


def evaluate(
  config: settings.Settings,
  workdir,
  source,
  *,
  batch_size: int,
  bad,
  rows: np.ndarray,
  before: int,
  **options,
):
  """`pipeline.eval_batches` of some rows, to be used in a `with`.

  The batch is made larger until the devices divide it, so that any size can be
  asked for on any of them: no clip's output depends on it.

  Args:
    config, workdir: of the run.
    source: k rows of what `bad` keeps account of.
    batch_size: clips over all devices, at least.
    bad: of `account`; one for all parts of a data set.
    rows: int [k], which rows of the whole `source` has.
    before: rows below this one have been tried already.
    **options: of `pipeline.eval_batches`: samples, views.

  Raises:
    Preempted: while iterating, the run was asked to stop.
  """
  from sigma_jax.data import pipeline

  del workdir  # known to `bad`
  bad.skip(before)
  batches = pipeline.eval_batches(
    config,
    source,
    batch_size=-(-batch_size // jax.device_count()) * jax.device_count(),
    on_bad=lambda row, path, why: bad.report(int(rows[row]), path, why),
    on_tried=lambda row: bad.tried(int(rows[row])),
    **options,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  return _Evaluation(batches, bad)


class _Evaluation:
  """Batches, of which each is a place to stop."""

  def __init__(self, batches, bad):
    self._batches, self._bad = batches, bad

  def __iter__(self):
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    preemption.poll(" while it was judging; finished parts are kept")
    try:
      return next(self._batches)
    except StopIteration:
      self._bad.share(_gather)
      self._bad.strike(_gather)
      raise

  def __enter__(self):
    return self

  def __exit__(self, *_) -> None:
    self._batches.close()


def account(config: settings.Settings, workdir, source, shuffled: bool = False):
  """A `BadFiles` of a whole source."""
  from sigma_jax.data import bad_files, mixture, sources

  return bad_files.BadFiles(
    str(workdir),
    config.data.max_bad_share,
    sources.names(source),
    jax.process_index(),
    shuffled,
    mixture.rows_of(source),
  )


def say_forms(*opened) -> None:
  """Says what lists were taken for, each once."""
  forms = (getattr(source, "form", "") for source in opened)
  for form in dict.fromkeys(filter(None, forms)):
    metrics.say(form)


def check(config: settings.Settings, source, **options) -> None:
  """Refuses test videos none of which can be read, before what costs hours.

  Args:
    config: `data` and `seed` are read.
    source: rows; a few are tried, evenly spread, until one is read.
    options: `samples` and `views`, as the test will have them.

  Raises:
    UserError: with the first one's reason.
  """
  from sigma_jax.data import examples

  reasons: list[str] = []
  reader = examples.Examples(
    config, source, lambda row, path, why: reasons.append(f"{path}: {why}")
  )
  rows = np.unique(np.linspace(0, len(source) - 1, _TRIED).astype(int))
  for row in rows:
    if reader.evaluate(int(row), **options)[2]:
      return
  raise errors.UserError(
    f"none of the {len(rows)} test videos of {source.path} that were tried can "
    f"be read; the first: {reasons[0]}"
  )


def warn_unseen(path: str, train, test, names) -> None:
  """Warns of classes that only test rows have; see `splits.unseen`."""
  from sigma_jax.data import splits

  found = splits.unseen(train, test, names)
  if found:
    shown = ", ".join(found[:_NAMED]) + (", ..." if found[_NAMED:] else "")
    metrics.say(
      f"warning: {len(found)} of the {len(names)} classes are in {path} but in "
      f"no training row, so they will never be told: {shown}"
    )


def warn_gaps(path: str, classes: np.ndarray) -> None:
  """Warns of class numbers, int [n], that a training split leaves out."""
  from sigma_jax.data import splits

  found = splits.gaps(classes)
  if found:
    shown = ", ".join(map(str, found[:_NAMED]))
    shown += ", ..." if found[_NAMED:] else ""
    hint = "; are they numbered from 1?" if found == (0,) else ""
    metrics.say(
      f"warning: labels of {path} go up to {classes.max()}, but no row has "
      f"{len(found)} of these numbers: {shown}{hint}"
    )


def contents(opened: dict, labels: dict | None = None) -> dict[str, str]:
  """Names and hashes of lists, for `distributed.agreed`.

  Args:
    opened: path -> source; labels written in it do not count.
    labels: path -> arrays of what its rows are to give, by name.
  """
  from sigma_jax.data import sources

  found = {
    f"list {path} ({len(source)} rows here)": sources.identity(
      source, labels=False
    )
    for path, source in opened.items()
  }
  for path, arrays in (labels or {}).items():
    digest = hashlib.sha256()
    for name, values in arrays.items():
      digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    found[f"labels for {path}"] = digest.hexdigest()
  return found


def _gather(values: np.ndarray) -> np.ndarray:
  """int64 [k] -> [processes, k]; as int32, the widest that JAX sends."""
  return mesh_lib.gather(values[None].astype(np.int32)).astype(np.int64)
