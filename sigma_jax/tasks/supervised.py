"""The task "supervised": fine-tuning and probes that are trained by steps."""

import functools
import pathlib
from typing import Any

import jax
import numpy as np

from sigma_jax import distributed, errors, files, settings
from sigma_jax.evaluate import confusion, frozen, predictions, verdicts
from sigma_jax.evaluate.segmentation import dense
from sigma_jax.interop import runs
from sigma_jax.tasks import reading, starting
from sigma_jax.train import (
  checksums,
  identity,
  loop,
  metrics,
  optimizer,
  supervised,
)
from sigma_jax.train import mesh as mesh_lib

# Protocols of frozen encoders, by `supervised.pooling`.
_PROBES = {
  "mean": "linear, augmented",
  "attentive": "attentive",
  "attention": "attentive, projected",
}


def run(
  config: settings.Settings,
  workdir: pathlib.Path,
  profile_steps: range = range(0),
) -> None:
  """Trains on `data.train`, tests on `data.val`, writes results.json.

  Both resume what the workdir holds. Without `init` the encoder is random:
  training from scratch, or the baseline of a probe.

  Raises:
    UserError, FileNotFoundError: the input has to change.
    RunStopped: the run ended itself.
  """
  from sigma_jax.data import labels

  config, model = starting.with_model(config)
  config, probe = starting.released(config)
  # What only the test needs is looked at now, and not after the training.
  train, val = distributed.agreed(
    lambda: labels.load_both(config, _names(config, probe, workdir)),
    lambda both: reading.contents(
      {split.source.path: split.source for split in both},
      {split.source.path: {"": split.values} for split in both},
    ),
  )
  reading.say_forms(train.source, val.source)
  reading.check(config, val.source, samples=1, views=_views(config))
  judged = _claim(config, model, train, workdir)
  runs.write_class_names(workdir, train.names)  # before what may be killed
  outputs = probe.num_classes if probe else train.num_outputs
  if train.num_outputs > outputs:
    raise errors.UserError(
      f"{config.data.val} has labels up to {train.num_outputs - 1}, and "
      f"supervised.head {config.supervised.head!r} tells {outputs} apart"
    )
  task = supervised.Task(config, outputs)
  held = None
  if len(config.supervised.rates) > 1:
    kept, chosen = labels.held_out(
      train, config.supervised.holdout, config.seed
    )
    train, held = labels.take(train, kept), labels.take(train, chosen)
  reading.warn_unseen(config.data.val, train.values, val.values, val.names)
  if config.supervised.targets == "classes" and not config.data.label_sets:
    reading.warn_gaps(config.data.train, train.values)
  if probe:
    params, frozen_params = starting.as_released(task, model, probe)
  else:
    params, frozen_params = _train(task, model, train, workdir, profile_steps)
  judge = functools.partial(_judge, task, params, frozen_params, workdir)
  head, by_rate = 0, None
  if held is not None:
    by_rate = judge("holdout", held, (1, 1))[1]
    for number, row in enumerate(by_rate):
      if verdicts.better(config.supervised.targets, row, by_rate[head]):
        head = number
  found, rows = judge("test", val, _views(config))
  if jax.process_index():
    return
  row = {
    "encoder": dense.PRETRAINED if config.init else dense.RANDOM,
    "protocol": _protocol(config.supervised),
    "label_set": config.supervised.label_set or "label",
    "targets": config.supervised.targets,
    "metric": verdicts.METRIC[config.supervised.targets],
    "num_train": 0 if probe else len(np.unique(train.videos)),
    "rate": config.supervised.rates[head],
    **rows[head],
  }
  _write(config, workdir, judged, row, by_rate, rows)
  # A picture of more classes would exhaust the memory.
  drawn = len(val.names) <= confusion.MOST_CLASSES
  if config.supervised.targets == "classes" and drawn:
    counts = verdicts.confusion(found, head, val.videos, val.truth, val.names)
    files.write_whole(
      workdir / "confusion.png", confusion.picture(counts, val.names)
    )
  print(table(row), flush=True)


def _names(config, probe, workdir) -> tuple[str, ...]:
  """Classes by name that a test counts in: the head's, or those trained."""
  if config.data.label_sets or config.supervised.targets != "classes":
    return ()  # they are what that file says
  return probe.class_names if probe else runs.class_names(workdir)


def _claim(config, model, train, workdir) -> dict[str, Any]:
  """Refuses to go on with a training of something else.

  Returns:
    What is judged, for results.json.
  """
  from sigma_jax.data import labels, sources

  weights = model.params.get("encoder", {})
  init = identity.init(config.init, weights, model.step)
  rows = f"{len(train.source)} rows of {config.data.train}"
  options = config.supervised
  told = (config.data.label_sets, options.label_set, options.train_targets)
  shown = " ".join(filter(None, told)) or "the manifest's"
  identity.claim(
    workdir,
    {
      "init": init,
      "data.train": identity.Thing(
        rows, sources.identity(train.source, labels=False)
      ),
      "labels of data.train": identity.Thing(
        shown, labels.identity(train, options.train_targets)
      ),
    },
  )
  return {"init": config.init, "step": model.step, "identity": init.content}


def _train(task, model, train, workdir, profile_steps) -> tuple[dict, dict]:
  """Trained parameters, averaged where that is wanted, and frozen ones."""
  from sigma_jax.data import sources

  config = task.settings
  fresh = jax.jit(lambda key: task.fresh(key))(jax.random.key(config.seed))
  fresh = jax.device_get(fresh)
  encoder = starting.encoder(model.params, fresh["encoder"])
  initial, frozen_params = None, {}
  if task.frozen_encoder:
    frozen_params = {"encoder": encoder}
  else:
    initial = fresh | {"encoder": encoder}
  training = reading.Training(config, workdir, train.source)
  state, _ = loop.run(
    config,
    workdir,
    supervised.job(task),
    num_examples=len(train.source),
    open_batches=lambda start: _WithTargets(training(start), train),
    account=training.account,
    file_name=lambda row: sources.name(train.source, row),
    frozen=frozen_params,
    initial=initial,
    profile_steps=profile_steps,
  )
  return optimizer.averaged(state.opt_state) or state.params, frozen_params


class _WithTargets:
  """Batches of a pipeline, with what each clip is to give."""

  def __init__(self, batches, train):
    self._batches, self._train = batches, train

  def __iter__(self):
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    batch = next(self._batches)
    return {**batch, "target": self._train.of_clips(batch)}

  def close(self) -> None:
    self._batches.close()


def _judge(
  task, params, frozen_params, workdir, name, split, views
) -> tuple[predictions.Predictions, list[dict[str, Any]]]:
  """Predictions of a split, and the figures of every head."""
  from sigma_jax.data import sources

  config = task.settings
  mesh = mesh_lib.make(config.mesh)
  arrays = (params, jax.device_put(frozen_params, mesh_lib.replicated(mesh)))
  targets = config.supervised.targets

  forward = supervised.forward(task, mesh)
  bad = reading.account(config, workdir, split.source)

  def compute(rows: np.ndarray, before: int) -> predictions.Predictions:
    batches = reading.evaluate(
      config,
      workdir,
      sources.take(split.source, rows),
      batch_size=config.supervised.test_batch_size,
      views=views,
      bad=bad,
      rows=rows,
      before=before,
    )
    with batches:
      found = predictions.collect(
        functools.partial(forward, arrays), batches, mesh
      )
    return found._replace(rows=rows[found.rows])

  found = predictions.in_parts(
    workdir / name,
    [config.fingerprint(), checksums.of(arrays), views],
    len(split.source),
    compute,
    lambda line: metrics.say(f"{name}: {line}"),
    identify=functools.partial(sources.key_of_rows, split.source),
  )
  given = split.videos, split.truth, config.supervised.bootstrap
  try:
    rows = [
      verdicts.judge(targets, found, head, *given)
      for head in range(len(found.values))
    ]
  except ValueError as error:  # nothing was readable, or a prediction is NaN
    raise errors.RunStopped(
      f"{name} split {split.source.path}: {error}; see bad_files.jsonl in "
      f"{workdir}"
    ) from error
  return found, rows


def _views(config) -> tuple[int, int]:
  """A window for counting is one clip."""
  one = config.supervised.targets == "count"
  return (1, 1) if one else config.supervised.views


def _protocol(options: settings.Supervised) -> str:
  if options.trains == "all":
    return "finetune"
  released = ", released head" if options.head else ""
  return _PROBES[options.pooling] + released


def _write(config, workdir, judged, row, by_rate, rows) -> None:
  rates = [
    {"rate": rate, "test": test}
    | ({"holdout": by_rate[number]} if by_rate else {})
    for number, (rate, test) in enumerate(
      zip(config.supervised.rates, rows, strict=True)
    )
  ]
  frozen.write(
    workdir,
    judged
    | {
      "seed": config.seed,
      "config": config.fingerprint(),
      "views": int(np.prod(_views(config))),
      "rows": [row],
      "rates": rates,
    },
  )


def table(row: dict[str, Any]) -> str:
  """A row in a line: the metric with its interval, and what else there is."""
  shown = {
    "top1": "top-1",
    "map": "mAP",
    "error": "counting error",
    "top5": "top-5",
    "mean_per_class": "mean per class",
    "off_by_one": "off by one",
  }
  first = row["metric"]
  # A counting error is no share: published as it is.
  scale = 1 if first == "error" else 100
  value, low, high = (scale * row[k] for k in (first, "low", "high"))
  digits = 3 if first == "error" else 1
  text = (
    f"{row['protocol']}, {row['encoder']}: {shown[first]} {value:.{digits}f} "
    f"[{low:.{digits}f}, {high:.{digits}f}]"
  )
  for name in ("top5", "mean_per_class", "off_by_one"):
    if row.get(name) is not None:
      text += f", {shown[name]} {100 * row[name]:.1f}"
  return f"{text} ({row['num_test']} videos, {row['num_clips']} clips)"
