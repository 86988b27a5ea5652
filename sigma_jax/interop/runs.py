"""What a workdir says of its model: read from a run, or as imported.

A workdir states all that its encoder is: config.json the model, the clips and
whether an average of the weights was tested, class_names.json what its classes
are called.
"""

import dataclasses
import io
import json
import pathlib

import jax
import numpy as np

from sigma_jax import errors, files
from sigma_jax import settings as settings_lib
from sigma_jax.interop import destinations, tensor_files
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop.model import Model, Note
from sigma_jax.train import checkpoint, checksums
from sigma_jax.train import workdir as workdir_lib

# Of an imported fine-tuned model: its norm and head.
CLASSIFIER = "classifier.npz"
# What a fine-tuned model's classes are called, in any workdir: a JSON list.
CLASS_NAMES = "class_names.json"


def read(workdir: pathlib.Path, weights: str, note: Note) -> Model:
  """The model of a run's newest checkpoint, or of an imported one.

  Args:
    workdir: of a run, or the folder of one of its checkpoints.
    weights: of `state_dicts.CHOICES`; by default those that were tested.
    note: gets a line where that is not the last step's weights.

  Raises:
    UserError: no run or no checkpoint, no such weights, weights that are not
      finite, or a run whose model no published format has.
  """
  settings = workdir_lib.read_config(workdir)
  supervised = settings.task == "supervised"
  if supervised:
    _check_published_form(workdir, settings.supervised)
  decay = settings.supervised.ema if supervised else 0.0
  if weights == "average" and not decay:
    raise errors.UserError(f"{workdir} has no average: supervised.ema is 0")
  average = bool(decay) and weights != "last"
  if average:
    note(
      f"weights of {workdir}: their moving average (supervised.ema={decay}), "
      "which is what was tested, and not the last step's"
    )
  params, step = checkpoint.restore_params(
    workdir, average=average, judged=True
  )
  workdir, _ = workdir_lib.of_checkpoint(workdir)
  params = jax.tree.map(np.asarray, params)
  tensor_files.check_finite(
    (
      (checksums.name_of(path), leaf)
      for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ),
    workdir,
  )
  names = _class_names(workdir)
  if supervised:
    classes = len(params["head"]["bias"])
    layout = layout_lib.Layout(settings.model, classes)
    # A run that counts has one output and no classes.
    names = names if len(names) == classes else ()
    return Model(layout, params, settings, step, names)
  model = Model(None, params, settings, step, names)
  return _as_imported(workdir, model)


def _as_imported(workdir: pathlib.Path, model: Model) -> Model:
  """The model of a workdir without labels: a pre-training's, or imported."""
  settings, params = model.settings, model.params
  about = workdir / destinations.IMPORTED
  imported = json.loads(about.read_text()) if about.is_file() else {}
  kind = imported.get("kind", "")
  if not kind and settings.method.name != "masked":
    kind = "encoder"  # all that published formats, or anybody, wants of it
  if kind not in ("encoder", "finetune"):
    layout = layout_lib.of_settings(settings)
    return model._replace(layout=layout, class_names=())
  layout = layout_lib.Layout(
    settings.model, normalized=settings.target.normalize
  )
  if kind == "encoder":
    encoder = params["encoder"]
    if not imported.get("final_norm", True):  # the workdir's is a fresh one
      encoder = {k: v for k, v in encoder.items() if k != "norm"}
      layout = dataclasses.replace(layout, final_norm=False)
    params = {"encoder": encoder}
    return model._replace(layout=layout, params=params, class_names=())
  # Read whole: the workdir may be in a bucket.
  with np.load(io.BytesIO((workdir / CLASSIFIER).read_bytes())) as head:
    encoder = {k: v for k, v in params["encoder"].items() if k != "norm"}
    params = {
      "encoder": encoder,
      "norm": {"scale": head["scale"], "bias": head["norm_bias"]},
      "head": {"kernel": head["kernel"], "bias": head["bias"]},
    }
  layout = dataclasses.replace(layout, num_classes=len(params["head"]["bias"]))
  return model._replace(layout=layout, params=params)


def _class_names(workdir: pathlib.Path) -> tuple[str, ...]:
  file = workdir / CLASS_NAMES
  return tuple(json.loads(file.read_text())) if file.is_file() else ()


def write_class_names(
  workdir: str | pathlib.Path, names: tuple[str, ...]
) -> None:
  """Says in a workdir what its classes are called, if not by numbers alone."""
  numbers = tuple(str(index) for index in range(len(names)))
  if names == numbers or jax.process_index():
    return
  folder = workdir_lib.path(workdir)
  folder.mkdir(parents=True, exist_ok=True)
  text = json.dumps(list(names), ensure_ascii=False, indent=1) + "\n"
  files.write_whole(folder / CLASS_NAMES, text)


def _check_published_form(
  workdir: pathlib.Path, run: settings_lib.Supervised
) -> None:
  """Refuses runs with labels that hold no fine-tuned model as published."""
  if run.trains == "head":
    raise errors.UserError(
      f"{workdir} holds heads alone: give the encoder's own checkpoint"
    )
  if run.pooling != "mean":
    raise errors.UserError(
      f"{workdir} was fine-tuned with supervised.pooling={run.pooling!r}: no "
      "format but a run's own has that"
    )
