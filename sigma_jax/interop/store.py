"""The door to checkpoints of any format: read, kept as workdirs, exported."""

import dataclasses
import json
import pathlib

import jax
import numpy as np

from sigma_jax import errors, files
from sigma_jax import settings as settings_lib
from sigma_jax.interop import (
  agreement,
  deepspeed,
  destinations,
  hugging_face,
  published,
  runs,
  state_dicts,
  tensor_files,
  torch_pickle,
  unstated,
  vjepa,
  vjepa_hugging_face,
)
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop.exporting import export as export
from sigma_jax.interop.model import Model, Note, say
from sigma_jax.models import sigma
from sigma_jax.train import checkpoint
from sigma_jax.train import workdir as workdir_lib

# What files are called, and models of a hub are not.
_FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".json")


def read(
  source: str | pathlib.Path,
  *,
  config: settings_lib.Settings | None = None,
  num_frames: int = 0,
  size: int = 0,
  encoder_heads: int = 0,
  decoder_heads: int = 0,
  weights: str = "",
  note: Note = say,
) -> Model:
  """Reads a workdir, a folder of transformers or a state dict.

  Args:
    source: told apart by what is in it: a workdir or one of its checkpoints
      (WORKDIR/checkpoints/STEP), a folder of transformers or DeepSpeed, a .pth
      or .safetensors file, or a folder that holds one.
    config: settings that the model must agree with; gives what files do not
      tell. None: the published values.
    num_frames, size: clip geometry in place of what the file says.
    encoder_heads, decoder_heads: where the file does not say them.
    weights: of `state_dicts.CHOICES`: where there is an average of the weights
      beside the last ones, which to take.
    note: gets one line for everything that is assumed or left out.

  Raises:
    UserError: nothing there, not such a checkpoint, one that disagrees, or
      weights that are not finite.
  """
  source = (
    workdir_lib.path(source)
    if files.is_remote(source)
    else pathlib.Path(source)
  )
  if weights not in state_dicts.CHOICES:
    raise errors.UserError(
      f"weights must be last, average or empty, got {weights!r}"
    )
  if not source.exists():
    raise errors.UserError(f"no such checkpoint: {source}{_download(source)}")
  given = unstated.Facts(
    num_frames=num_frames,
    size=size,
    encoder_heads=encoder_heads,
    decoder_heads=decoder_heads,
  )
  if not source.is_dir():
    files.check_local(source, "checkpoint")
    return _read_state_dict(source, config, given, weights, note)
  if workdir_lib.of_checkpoint(source)[1] is not None:
    return runs.read(source, weights, note)
  if hugging_face.is_folder(source):
    return _read_transformers(source, config, given, weights, note)
  if file := _file_in(source):
    return _read_state_dict(file, config, given, weights, note)
  return runs.read(source, weights, note)


def _download(source: pathlib.Path) -> str:
  """What to do where the name is most likely one of huggingface.co's."""
  if len(source.parts) != 2 or source.suffix in _FILES:
    return ""
  if files.is_remote(source) or source.parent.exists() or source.anchor:
    return ""
  return (
    "; nothing is downloaded here: if that is a model of huggingface.co, run "
    f"hf download {source} --local-dir={source.name}, or save its config.json "
    "and model.safetensors in a folder, and give that folder"
  )


def folder_of_weights(folder: pathlib.Path) -> pathlib.Path | None:
  """Where the files lie that `read` takes of a folder; None of a workdir.

  Raises:
    UserError: it cannot tell; see `read`.
  """
  if hugging_face.is_folder(folder):
    return folder
  file = _file_in(folder)
  return file.parent if file else None


def _file_in(folder: pathlib.Path) -> pathlib.Path | None:
  """The state dict's file in a folder that is no workdir."""
  if destinations.is_run(folder):
    return None
  return deepspeed.find(folder) or tensor_files.in_folder(folder)


def with_table(model: Model, grid: tuple[int, ...]) -> Model:
  """The model for clips whose position table is interpolated.

  Args:
    model: as read.
    grid: `settings.Model.table_grid`, the grid whose table its encoder was
      trained with; empty: the model as it is, whose own run may interpolate.

  Raises:
    UserError: its encoder was trained with another table.
  """
  if not grid:
    return model
  run = model.settings
  trained = run.model.table_grid or run.grid
  if grid != trained:
    raise errors.UserError(
      f"model.table_grid is {grid}, but the encoder was trained with the "
      f"position table of {trained}; give that, or leave it out for the "
      "formula's own rows"
    )
  changed = dataclasses.replace(run.model, table_grid=grid)
  return model._replace(settings=dataclasses.replace(run, model=changed))


def write_workdir(
  workdir: str | pathlib.Path, model: Model, source: str, note: Note
) -> None:
  """Makes a workdir that evaluation, report and `read` take like a run's.

  A file without a decoder leaves that part of our model untrained: it is
  initialised afresh, and said so.

  Raises:
    UserError: the workdir holds something else.
  """
  destinations.check_workdir(workdir, source)
  settings, params = model.settings, model.params
  if settings.task != "pretrain":
    # A workdir of parameters alone; of the run, how its clips are cut stays.
    data = settings.data
    settings = layout_lib.to_settings(
      model.layout, num_frames=data.num_frames, size=data.size
    )
    settings = dataclasses.replace(settings, data=data)
  if model.layout.kind in ("encoder", "finetune"):
    note("no decoder in it: one is initialised afresh")
    key = jax.random.key(settings.seed)
    full = jax.jit(lambda key: sigma.init_params(settings, key))(key)
    params = full | {"encoder": full["encoder"] | params["encoder"]}
  if model.layout.kind == "dino":
    note(f"teacher taken to be {settings.target.variant}; see --config")
  about = {"source": str(source), "kind": model.layout.kind}
  if not model.layout.final_norm:
    about["final_norm"] = False
  folder = workdir_lib.path(workdir)
  folder.mkdir(parents=True, exist_ok=True)
  # First of all files: an import that breaks off can then be told from a run.
  files.write_whole(
    folder / destinations.IMPORTED, json.dumps(about, indent=1) + "\n"
  )
  runs.write_class_names(workdir, model.class_names)
  if model.layout.kind == "finetune":
    note(f"norm and classifier stored in {runs.CLASSIFIER}")
    files.write_whole(folder / runs.CLASSIFIER, files.npz(**_head(model)))
  checkpoint.write_params(workdir, settings, params)


def _read_state_dict(path, config, given, weights, note) -> Model:
  """A model of which only names and shapes of tensors are known for certain."""
  tensors = tensor_files.read(path, note, weights)
  deepspeed.refuse_parts(path, tensors)
  tensor_files.check_finite(tensors.items(), path)
  facts = unstated.Facts()
  if path.suffix not in (".safetensors", ".json"):
    facts = unstated.from_json(torch_pickle.text(path, unstated.KEY), path)
  facts = unstated.combine(facts, given, config, path)
  if vjepa.is_encoder(tensors):
    return _of_vjepa(tensors, facts, config, note)
  layout = layout_lib.infer(
    tensors,
    encoder_heads=facts.encoder_heads,
    decoder_heads=facts.decoder_heads,
    norm_epsilon=facts.norm_epsilon or 1e-6,
    normalized=facts.normalize is not False,
  )
  geometry = unstated.geometry(facts, tensors, layout, path)
  if assumed := unstated.assumed(facts, layout, geometry):
    note(assumed)
  params = published.to_params(tensors, layout)
  names = facts.class_names
  names = names if len(names) == layout.num_classes else ()
  settings = agreement.settings(layout, config, geometry)
  return Model(layout, params, settings, class_names=names)


def _of_vjepa(tensors, facts, config, note) -> Model:
  """An encoder of V-JEPA or V-JEPA 2, by its published names."""
  layout, params, geometry, line = vjepa.read(
    tensors,
    heads=facts.encoder_heads,
    num_frames=facts.num_frames,
    size=facts.size,
    norm_epsilon=facts.norm_epsilon,
    kind=config.model.positions if config else "",
  )
  note(line)
  return Model(layout, params, agreement.settings(layout, config, geometry))


def _read_transformers(source, config, given, weights, note) -> Model:
  if weights == "average":
    raise errors.UserError(f"{source} holds one set of weights, no average")
  if vjepa_hugging_face.is_folder(source):
    tensors, facts = vjepa_hugging_face.read(source, note)
    facts = unstated.combine(facts, given, config, source)
    return _of_vjepa(tensors, facts, config, note)
  params, layout, geometry = hugging_face.read(source, note)
  stated = unstated.Facts(
    encoder_heads=layout.model.encoder_heads,
    decoder_heads=layout.model.decoder_heads if layout.target_dim else 0,
  )
  unstated.combine(stated, given, None, source)
  geometry["num_frames"] = given.num_frames or geometry["num_frames"]
  geometry["size"] = given.size or geometry["size"]
  names = ()
  if layout.num_classes:
    names = hugging_face.class_names(source, layout.num_classes, note)
  settings = agreement.settings(layout, config, geometry)
  return Model(layout, params, settings, class_names=names)


def _head(model: Model) -> dict[str, np.ndarray]:
  norm, head = model.params["norm"], model.params["head"]
  return {
    "scale": norm["scale"],
    "norm_bias": norm["bias"],
    "kernel": head["kernel"],
    "bias": head["bias"],
  }
