"""What `config.task` can be: wires data, training and evaluation together."""

import dataclasses
import functools
import pathlib

import numpy as np

from sigma_jax import compile_cache, errors, settings


def run(
  config: settings.Settings,
  workdir: pathlib.Path,
  profile_steps: range = range(0),
) -> None:
  """Runs the config's task in the workdir.

  Args:
    config, workdir: of the run.
    profile_steps: steps of a pre-training to trace.

  Raises:
    UserError, FileNotFoundError: the input has to change.
    RunStopped: the run ended itself.
  """
  compile_cache.use()
  if config.task == "pretrain":
    pretrain(config, workdir, profile_steps)
  elif config.task == "segmentation":
    segmentation(config, workdir)
  elif config.task == "supervised":
    from sigma_jax import supervised_task

    supervised_task.run(config, workdir, profile_steps)
  else:
    probe(config, workdir)


def pretrain(
  config: settings.Settings,
  workdir: pathlib.Path,
  profile_steps: range = range(0),
) -> None:
  """Pre-trains on `data.train`; resumes what the workdir holds.

  A fresh run starts from `init`'s parameters where that is set.
  """
  import jax

  from sigma_jax.data import bad_files, pipeline, sources
  from sigma_jax.interop import teacher
  from sigma_jax.train import checkpoint, loop

  frozen = teacher.load(config)
  initial = checkpoint.restore_params(config.init)[0] if config.init else None
  rows = sources.load(config.data.train, config.data.root)
  bad = bad_files.BadFiles(
    str(workdir),
    config.data.max_bad_share,
    len(rows.files),
    jax.process_index(),
  )

  def open_batches(start_step: int):
    return pipeline.train_batches(
      config,
      rows,
      start_step=start_step,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
      on_bad=bad.report,
      on_tried=bad.tried,
    )

  loop.pretrain(
    config,
    workdir,
    num_examples=len(rows.files),
    open_batches=open_batches,
    file_name=lambda row: rows.files[row],
    frozen=frozen,
    initial=initial,
    profile_steps=profile_steps,
  )


def probe(config: settings.Settings, workdir: pathlib.Path) -> None:
  """Linear probe and kNN of `init`'s encoder, and of an untrained one."""
  import jax

  from sigma_jax.evaluate import frozen
  from sigma_jax.models import sigma
  from sigma_jax.train import checkpoint
  from sigma_jax.train import mesh as mesh_lib
  from sigma_jax.train import workdir as workdir_lib

  if not config.init:
    raise errors.UserError(
      "the probe needs --config.init=<workdir of a pre-training run>"
    )
  trained = workdir_lib.read_config(config.init)
  config = _with_model_of(trained, config)
  mesh = mesh_lib.make(config.mesh)
  params, step = checkpoint.restore_params(config.init)
  encoders = {"pretrained": params}
  if config.probe.random_baseline:
    key = jax.random.key(trained.seed)
    encoders["random"] = jax.jit(lambda key: sigma.init_params(trained, key))(
      key
    )
  rows = _probe(config, encoders, mesh, workdir)
  if jax.process_index():
    return
  frozen.write(
    workdir,
    {
      "init": config.init,
      "step": step,
      "seed": config.seed,
      "config": config.fingerprint(),
      "views": 1,
      "rows": rows,
    },
  )
  print(frozen.table(rows), flush=True)


def _probe(config, encoders, mesh, workdir: pathlib.Path) -> list[dict]:
  """Rows of each encoder for every label set."""
  import jax

  from sigma_jax.data import bad_files, pipeline
  from sigma_jax.evaluate import features, frozen

  opened, labels, num_classes = open_splits(config)
  sets = {}
  for split, rows in opened.items():
    bad = bad_files.BadFiles(
      str(workdir),
      config.data.max_bad_share,
      len(rows.files),
      jax.process_index(),
    )
    batches = pipeline.eval_batches(
      config,
      rows,
      batch_size=config.probe.batch_size,
      samples=config.probe.train_samples if split == "train" else 1,
      on_bad=bad.report,
      on_tried=bad.tried,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    with batches:
      sets[split] = features.extract(
        config, encoders, batches, mesh, config.probe.layer
      )
  results = []
  for encoder in encoders:
    for label_set, count in num_classes.items():
      found = frozen.evaluate(
        config.probe,
        sets["train"][encoder],
        sets["val"][encoder],
        np.asarray(labels["train"][label_set]),
        np.asarray(labels["val"][label_set]),
        count,
      )
      which = {"encoder": encoder, "label_set": label_set}
      results += [which | row for row in found]
  return results


def open_splits(config: settings.Settings) -> tuple[dict, dict, dict]:
  """Opens `data.train` and `data.val` for training and testing a classifier.

  Returns:
    The sources, `train` and `val`; the classes of each one's rows, label set ->
    int32 [n]; and label set -> number of classes.

  Raises:
    FileNotFoundError, UserError: see `sources.load` and `load_label_sets`; or a
      file is in both, or the training rows are all of one class.
  """
  from sigma_jax.data import manifest, sources, splits

  opened, labels, num_classes = {}, {}, {}
  for split, path in (("train", config.data.train), ("val", config.data.val)):
    opened[split] = sources.load(path, config.data.root)
    labels[split], names = manifest.load_label_sets(
      config.data.label_sets, opened[split]
    )
    # Without label sets the names are the classes of this split alone.
    for name, classes in names.items():
      num_classes[name] = max(len(classes), num_classes.get(name, 0))
  splits.check_disjoint(opened["train"], opened["val"])
  for name, of_rows in labels["train"].items():
    splits.check_classes(config.data.train, name, of_rows)
  return opened, labels, num_classes


def segmentation(config: settings.Settings, workdir: pathlib.Path) -> None:
  """Segments the sequences of `data.val` by clustering features of `init`."""
  import jax

  from sigma_jax.data import annotated, mp4, sequences
  from sigma_jax.evaluate import segmentation_run

  if jax.process_count() > 1:
    raise errors.UserError(
      "segmentation runs in one process; leave --distributed out"
    )
  sources = [
    segmentation_run.Source(
      sequence.name,
      sequence.frames + sequence.masks,
      functools.partial(annotated.read, sequence, config.data),
    )
    for sequence in sequences.load(config.data.val)
  ]
  segmentation_run.run(config, workdir, sources, mp4.encode)


def _with_model_of(
  trained: settings.Settings, config: settings.Settings
) -> settings.Settings:
  """`config` with the model, and the clip geometry, that was trained."""
  data = dataclasses.replace(
    config.data,
    num_frames=trained.data.num_frames,
    stride=trained.data.stride,
    size=trained.data.size,
  )
  return dataclasses.replace(
    config,
    data=data,
    model=trained.model,
    target=trained.target,
    loss=trained.loss,
    masking=trained.masking,
  )
