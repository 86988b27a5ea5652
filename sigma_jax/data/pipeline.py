"""Batches of clips on the host: tf.data runs the decoding threads.

TensorFlow schedules, batches and prefetches; what an example is, it does not
know. Each is made by a pure function of its number (see examples.py), so the
order of threads changes nothing.
"""

import math
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from sigma_jax import errors
from sigma_jax.data import memory
from sigma_jax.data.examples import Examples, OnBad, OnTried, Pictures
from sigma_jax.data.lean_tensorflow import tf
from sigma_jax.data.sources import Source
from sigma_jax.settings import Data, Luma, Settings, Views

# Accelerators are JAX's: TensorFlow would claim all of their memory.
tf.config.set_visible_devices([], "GPU")

# Batches; times their clips it is still an int64.
_ENDLESS = 1 << 47
_CLEAN_EVERY = 1000  # elements, between two times that freed memory goes back

Element = dict[str, np.ndarray]


class Batches(Iterator[Element]):
  """Iterator over dicts of numpy arrays; close() or `with` ends its threads.

  An exception in a reading thread is raised from `next` as it is, not as a
  TensorFlow error, and again by every later `next`.
  """

  def __init__(
    self,
    make: Callable[[int], Element],
    blank: Element,
    num_batches: int,
    batch_size: int,
    data: Data,
  ):
    """Starts reading.

    Args:
      make: gives element 0, 1, ...; called from many threads.
      blank: an element: names, shapes and dtypes of k clips, [k, ...].
      num_batches: how many.
      batch_size: clips a batch; an element may reach into the next one.
      data: `workers` and `prefetch` are read.
    """
    self._names = tuple(blank)
    self._work = _Work(make, tuple(blank.values()))
    dataset = _dataset(self._work, num_batches, batch_size, data)
    self._source = [dataset.as_numpy_iterator()]
    # Runs at interpreter exit too, before threads lose Python under them.
    self._end = weakref.finalize(self, _end, self._work, self._source)

  def __next__(self) -> Element:
    values = next(self._source[0], None) if self._source else None
    if self._work.errors:
      self.close()
      raise self._work.errors[0]
    if values is None:
      self.close()
      raise StopIteration
    return dict(zip(self._names, values, strict=True))

  def close(self) -> None:
    """Stops the reading threads; no batch comes afterwards."""
    self._end()

  def __enter__(self) -> "Batches":
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()


class _Work:
  """What tf.data's threads run: `make`, until it fails or is stopped.

  From then on elements are blank and nobody sees them: an exception that
  passes through TensorFlow would bury its reason in a log.
  """

  def __init__(
    self, make: Callable[[int], Element], blank: tuple[np.ndarray, ...]
  ):
    self._make = make
    self.blank = blank
    self.errors: list[BaseException] = []
    self.stopped = False

  def __call__(self, number: np.int64) -> tuple[np.ndarray, ...]:
    if self.stopped or self.errors:
      return self.blank
    if number % _CLEAN_EVERY == _CLEAN_EVERY - 1:
      memory.give_back()
    try:
      return tuple(self._make(int(number)).values())
    except BaseException as error:
      self.errors.append(error)
      return self.blank


def _end(work: _Work, source: list) -> None:
  work.stopped = True
  source.clear()


def _dataset(
  work: _Work, num_batches: int, batch_size: int, data: Data
) -> tf.data.Dataset:
  """Elements in order, made by a thread pool of their own."""
  workers = data.workers or len(os.sched_getaffinity(0))
  clips = len(work.blank[0])

  def element(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
    values = tf.numpy_function(work, [number], [v.dtype for v in work.blank])
    return tuple(
      tf.ensure_shape(value, blank.shape)
      for value, blank in zip(values, work.blank, strict=True)
    )

  dataset = tf.data.Dataset.range(-(-num_batches * batch_size // clips))
  dataset = dataset.map(element, num_parallel_calls=workers, deterministic=True)
  dataset = dataset.unbatch().batch(batch_size, drop_remainder=True)
  dataset = dataset.take(num_batches)
  dataset = dataset.prefetch(data.prefetch)
  options = tf.data.Options()
  options.autotune.enabled = False
  options.threading.private_threadpool_size = workers
  options.threading.max_intra_op_parallelism = 1
  return dataset.with_options(options)


def _host_batch(batch_size: int, process_count: int) -> int:
  if batch_size % process_count:
    raise errors.UserError(
      f"the batch size must be divisible by the number of hosts, got "
      f"{batch_size} and {process_count}"
    )
  return batch_size // process_count


def train_batches(
  settings: Settings,
  source: Source,
  *,
  on_bad: OnBad,
  on_tried: OnTried | None = None,
  start_step: int = 0,
  slots: Sequence[int] | np.ndarray | None = None,
  views: tuple[Views, ...] = (),
  process_index: int = 0,
  process_count: int = 1,
  luma: Luma | None = None,
) -> Batches:
  """Endless training batches; a step's is a pure function of seed and step.

  A host reads some slots of each global batch of `settings.train.batch_size`
  videos: those of its devices, or, of P hosts, the p-th of P equal shares in
  order. So the global batch does not depend on P, nor on workers, nor on where
  a run was resumed. Each video gives `settings.data.samples` = k clips, which
  lie next to each other.

  Args:
    settings: `data`, `seed` and `train.batch_size` are read.
    source: rows to read, each once an epoch in shuffled order.
    on_bad: called as (row, path, reason) from reading threads for every file
      that cannot be read; another takes its place. What it raises ends the
      iterator: see bad_files.BadFiles.report.
    on_tried: called with every row before its file is opened.
    start_step: step of the first batch.
    slots: b places in the global batch that this host reads, in their order
      here, see `train.mesh.rows`; None: its share.
    views: further clips of each video: entries of their own.
    process_index: this host, p.
    process_count: hosts, P.
    luma: grey frames that go with the clips, if any.

  Returns:
    Iterator of `video` uint8 [b k, t, size, size, 3], `label` int32 [b k],
    `index` int32 [b k], the row of the source that was read, and `span` float32
    [b k, 2], when a clip's first and last frame are shown: seconds after the
    video's first frame, 0 and 0 where the source cannot tell (images); with
    `luma`, its frames under this name; and each of `views` by its name, uint8
    [b k, count, t', size', size', 3].

  Raises:
    UserError: the batch is not divisible by the hosts.
    TooManyBadFiles: from the iterator; no readable file found for a slot.
  """
  batch_size = settings.train.batch_size
  clips = settings.data.samples
  if slots is None:
    host_batch = _host_batch(batch_size, process_count)
    slots = process_index * host_batch + np.arange(host_batch)
  examples = Examples(settings, source, on_bad, on_tried, views, luma)

  def make(number: int) -> Element:
    step, place = divmod(number, len(slots))
    slot = int(slots[place])
    return _element(*examples.train((start_step + step) * batch_size + slot))

  blank = _element(examples.blank(clips), 0, 0, 0.0)
  return Batches(make, blank, _ENDLESS, len(slots) * clips, settings.data)


def eval_batches(
  settings: Settings,
  source: Source,
  *,
  batch_size: int,
  on_bad: OnBad,
  on_tried: OnTried | None = None,
  samples: int = 1,
  views: tuple[int, int] = (1, 1),
  process_index: int = 0,
  process_count: int = 1,
  luma: Luma | None = None,
) -> Batches:
  """Every clip of every row of a source once.

  A row gives `samples` centrally cropped clips, of which the first is from the
  middle of the video and the others start where the seed and the row say; or
  `views`, the clips of multi-view testing: as many in time, evenly spread over
  the video, and of each as many squares, evenly spread over the long side. A
  row's clips come from one host, which opens its file once, and one after the
  other. All hosts get the same number of batches; the last ones are padded.

  Args:
    settings: `data` and `seed` are read.
    source: n rows.
    batch_size: clips in a global batch, over all hosts: P b.
    on_bad: as in train_batches; its clips are black and not valid.
    on_tried: as in train_batches.
    samples: clips a row; more than one need views to be (1, 1).
    views: in time and in space.
    process_index: this host, p.
    process_count: hosts, P.
    luma: as in train_batches.

  Returns:
    Iterator of the arrays of train_batches, k = 1, and `view` int32 [b], in
    [0, samples) or [0, time x space), space the faster; `valid` bool [b].
    Padding has valid False, label 0, span 0, index and view -1.

  Raises:
    UserError: the batch is not divisible by the hosts.
    ValueError: samples or views below 1, or more than one of both.
  """
  if min(samples, *views) < 1 or (samples > 1 and views != (1, 1)):
    raise ValueError(
      "one or more samples or (time, space) views are possible, not both; got "
      f"samples {samples} and views {views}"
    )
  host_batch = _host_batch(batch_size, process_count)
  examples = Examples(settings, source, on_bad, on_tried, luma=luma)
  offset = process_index * host_batch
  clips = samples * math.prod(views)
  nothing = examples.blank(clips), 0, -1, 0.0
  absent = _evaluated(*nothing, np.full(clips, -1), False)

  def make(number: int) -> Element:
    group, slot = divmod(number, host_batch)
    row = group * batch_size + offset + slot
    if row >= len(source):
      return absent
    found, label, valid, spans = examples.evaluate(row, samples, views)
    return _evaluated(found, label, row, spans, np.arange(clips), valid)

  # The first host has the most rows.
  whole, rest = divmod(len(source), batch_size)
  rows = whole * host_batch + min(rest, host_batch)
  num_batches = -(-rows * clips // host_batch)
  return Batches(make, absent, num_batches, host_batch, settings.data)


def _element(pictures: Pictures, label: int, row: int, span) -> Element:
  clips = len(pictures["video"])
  return pictures | {
    "label": np.full(clips, label, np.int32),
    "index": np.full(clips, row, np.int32),
    "span": np.full((clips, 2), span, np.float32),
  }


def _evaluated(pictures, label, row, span, view, valid: bool) -> Element:
  return _element(pictures, label, row, span) | {
    "view": view.astype(np.int32),
    "valid": np.full(len(view), valid),
  }
