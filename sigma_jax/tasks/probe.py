"""Linear probe and kNN on the cached features of a frozen encoder."""

import dataclasses
import functools
import pathlib

import jax
import numpy as np

from sigma_jax import distributed, errors, settings
from sigma_jax.evaluate import features, frozen, predictions
from sigma_jax.evaluate.segmentation import dense
from sigma_jax.interop import store
from sigma_jax.methods import method
from sigma_jax.tasks import reading
from sigma_jax.train import checksums, identity, metrics, preemption
from sigma_jax.train import mesh as mesh_lib


def run(
  config: settings.Settings,
  workdir: pathlib.Path,
  profile_steps: range = range(0),
) -> None:
  """Judges `init`'s encoder, and an untrained one beside it.

  `init` is the workdir of a run, a .pth or a folder of transformers.
  """
  del profile_steps  # nothing is trained by steps
  if not config.init:
    raise errors.UserError(
      "the probe needs --config.init=<workdir of a pre-training run>"
    )
  model = store.read(config.init)
  config = _with_model_of(model.settings, config)
  depth = config.model.encoder_depth
  if not 0 <= config.probe.layer <= depth:
    raise errors.UserError(
      f"probe.layer must lie in 0 .. {depth}, the encoder's blocks, got "
      f"{config.probe.layer}"
    )
  encoders = {dense.PRETRAINED: model.params["encoder"]}
  if config.probe.random_baseline:
    draw = jax.jit(lambda key: method.of(model.settings).init(key)["encoder"])
    encoders[dense.RANDOM] = draw(jax.random.key(model.settings.seed))
  rows = _rows(config, encoders, workdir)
  if jax.process_index():
    return
  frozen.write(
    workdir,
    {
      "init": config.init,
      "step": model.step,
      "identity": identity.of_weights(model.params["encoder"]),
      "seed": config.seed,
      "config": config.fingerprint(),
      "views": 1,
      "rows": rows,
    },
  )
  print(frozen.table(rows), flush=True)


def _rows(config, encoders, workdir: pathlib.Path) -> list[dict]:
  """Rows of each encoder for every label set."""
  opened, labels, num_classes = distributed.agreed(
    lambda: open_splits(config),
    lambda found: reading.contents(
      {found[0][split].path: found[0][split] for split in found[0]},
      {found[0][split].path: found[1][split] for split in found[0]},
    ),
  )
  reading.check(config, opened["val"], samples=1, views=(1, 1))
  for name, count in num_classes.items():
    both = (labels[split][name] for split in ("train", "val"))
    reading.warn_unseen(config.data.val, *both, tuple(map(str, range(count))))
    if not config.data.label_sets:
      reading.warn_gaps(config.data.train, labels["train"][name])
  samples = {"train": config.probe.train_samples, "val": 1}
  sets = {
    split: _features(config, encoders, workdir, split, source, samples[split])
    for split, source in opened.items()
  }
  results = []
  for encoder in encoders:
    for label_set, count in num_classes.items():
      preemption.poll(" before a probe; features are kept")
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


def _features(
  config, encoders, workdir, split: str, source, samples: int
) -> dict[str, features.FeatureSet]:
  """Each encoder's features of a split; goes on where a run was interrupted."""
  from sigma_jax.data import sources

  mesh = mesh_lib.make(config.mesh)
  bad = reading.account(config, workdir, source)

  def compute(rows: np.ndarray, before: int) -> predictions.Predictions:
    batches = reading.evaluate(
      config,
      workdir,
      sources.take(source, rows),
      batch_size=config.probe.batch_size,
      samples=samples,
      bad=bad,
      rows=rows,
      before=before,
    )
    with batches:
      found = features.extract(
        config, encoders, batches, mesh, config.probe.layer
      )
    place = next(iter(found.values())).rows
    values = np.stack([one.features for one in found.values()])
    return predictions.Predictions(values, rows[place], np.zeros_like(place))

  found = predictions.in_parts(
    workdir / "features" / split,
    [config.fingerprint(), checksums.of(encoders), samples],
    len(source),
    compute,
    lambda line: metrics.say(f"features of {split}: {line}"),
    part_rows=8 * predictions.PART_ROWS,  # one view each
    identify=functools.partial(sources.key_of_rows, source),
  )
  return {
    name: features.FeatureSet(values, found.rows)
    for name, values in zip(encoders, found.values, strict=True)
  }


def open_splits(config: settings.Settings) -> tuple[dict, dict, dict]:
  """Opens `data.train` and `data.val` for training and testing a classifier.

  Returns:
    The sources, `train` and `val`; the classes of each one's rows, label set ->
    int32 [n]; and label set -> number of classes.

  Raises:
    FileNotFoundError, UserError: see `sources.load` and `load_label_sets`; or a
      split is not named, a file is in both, test files are missing, or the
      training rows are all of one class.
  """
  from sigma_jax.data import manifest, sources, splits

  opened, labels, num_classes = {}, {}, {}
  for split, path in (("train", config.data.train), ("val", config.data.val)):
    if not path:
      raise errors.UserError(
        f"data.{split} is not set: it names the {split} split"
      )
    names = splits.class_names(opened.get("train"))
    opened[split] = sources.load(
      path, config.data.root, names=names, tar_labels=config.data.tar_labels
    )
    if split == "val" and isinstance(opened[split], sources.Files):
      splits.check_present(split, opened[split], config.data.max_bad_share)
    labels[split], names = manifest.load_label_sets(
      config.data.label_sets, opened[split]
    )
    # Without label sets the names are the classes of this split alone.
    for name, classes in names.items():
      num_classes[name] = max(len(classes), num_classes.get(name, 0))
  splits.check_alike(opened["train"], opened["val"])
  splits.check_disjoint(opened["train"], opened["val"])
  for name, of_rows in labels["train"].items():
    splits.check_classes(config.data.train, name, of_rows)
    splits.check_shared(
      config.data.train, config.data.val, name, of_rows, labels["val"][name]
    )
  return opened, labels, num_classes


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
