"""Checkpoints as workdirs: reading any of the formats, writing any of them."""

import dataclasses
import io
import json
import pathlib
import runpy
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from sigma_jax import errors, files
from sigma_jax import settings as settings_lib
from sigma_jax.interop import (
  hugging_face,
  published,
  torch_pickle,
  torch_writer,
)
from sigma_jax.interop import layout as layout_lib
from sigma_jax.models import sigma
from sigma_jax.train import checkpoint
from sigma_jax.train import workdir as workdir_lib

Note = Callable[[str], None]
# What an imported workdir has beside a run's files: where it comes from, and
# a fine-tuned model's norm and head.
IMPORTED, CLASSIFIER = "imported.json", "classifier.npz"


class Model(NamedTuple):
  """A checkpoint in memory.

  layout: its parts and sizes. params: ours, nested dicts of float32 numpy
  arrays. settings: a run that has this model; clip geometry is in its `data`.
  step: of a workdir's checkpoint.
  """

  layout: published.Layout
  params: dict
  settings: settings_lib.Settings
  step: int | None = None


def read(
  source: str | pathlib.Path,
  *,
  config: settings_lib.Settings | None = None,
  num_frames: int = 0,
  size: int = 0,
  encoder_heads: int = 0,
  decoder_heads: int = 0,
  note: Note = lambda line: None,
) -> Model:
  """Reads a workdir, a folder of transformers or a published .pth.

  Args:
    source: told apart by what is in it.
    config: settings that the model must agree with; gives what files do not
      tell. None: the published values.
    num_frames, size: clip geometry in place of the default 16 x 224.
    encoder_heads, decoder_heads: in place of those inferred from the widths.
    note: gets one line for everything that is assumed or left out.

  Raises:
    UserError: nothing there, not such a checkpoint, or one that disagrees.
  """
  source = (
    workdir_lib.path(source)
    if files.is_remote(source)
    else (pathlib.Path(source))
  )
  if not source.exists():
    raise errors.UserError(f"no such checkpoint: {source}")
  if not source.is_dir():
    files.check_local(source, "checkpoint")
  if source.is_dir() and not hugging_face.is_folder(source):
    return _read_workdir(source)
  geometry = {"num_frames": 16, "size": 224}
  if config is not None:
    geometry = {"num_frames": config.data.num_frames, "size": config.data.size}
    encoder_heads = encoder_heads or config.model.encoder_heads
    decoder_heads = decoder_heads or config.model.decoder_heads
  if source.is_dir():
    params, layout, geometry = hugging_face.read(source)
  else:
    tensors = torch_pickle.load(source, note)
    layout = layout_lib.infer(
      tensors,
      encoder_heads=encoder_heads,
      decoder_heads=decoder_heads,
      norm_epsilon=config.model.norm_epsilon if config else 1e-6,
    )
    params = published.to_params(tensors, layout)
  geometry["num_frames"] = num_frames or geometry["num_frames"]
  geometry["size"] = size or geometry["size"]
  return Model(layout, params, _settings(layout, config, geometry))


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
  """
  params = model.params
  if model.layout.kind in ("encoder", "finetune"):
    note("no decoder in it: one is initialised afresh")
    key = jax.random.key(model.settings.seed)
    full = jax.jit(lambda key: sigma.init_params(model.settings, key))(key)
    params = full | {"encoder": full["encoder"] | params["encoder"]}
  if model.layout.kind == "dino":
    note(f"teacher taken to be {model.settings.target.variant}; see --config")
  checkpoint.write_params(workdir, model.settings, params)
  about = {"source": source, "kind": model.layout.kind}
  workdir = workdir_lib.path(workdir)
  files.write_whole(workdir / IMPORTED, json.dumps(about, indent=1) + "\n")
  if model.layout.kind == "finetune":
    note(f"norm and classifier stored in {CLASSIFIER}")
    files.write_whole(workdir / CLASSIFIER, files.npz(**_head(model)))


def export(
  model: Model, out: str | pathlib.Path, kind: str, note: Note
) -> None:
  """Writes a checkpoint for PyTorch ("pth") or transformers ("hf").

  Raises:
    UserError: its encoder's position table is an interpolated one.
  """
  table = model.settings.model.table_grid
  if table and table != model.settings.grid:
    raise errors.UserError(
      f"this encoder was trained with the position table of {table}, "
      f"interpolated to {model.settings.grid} (model.table_grid): no format "
      "but a run's own can say so, and the formula's rows would be others"
    )
  files.check_local(out, "the exported checkpoint")
  if kind == "pth":
    tensors = published.from_params(model.params, model.layout)
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    torch_writer.save(out, tensors)
    note(f"{len(tensors)} tensors of a {model.layout.kind} model in {out}")
    return
  data = model.settings.data
  name = hugging_face.write(
    out,
    model.params,
    model.layout,
    num_frames=data.num_frames,
    size=data.size,
  )
  if name == "VideoMAEModel" and model.layout.kind != "encoder":
    note("decoder, target and prototypes left out: transformers has no such")
  note(f"{name}.from_pretrained({str(out)!r})")


def config_file(path: str | pathlib.Path) -> settings_lib.Settings:
  """The settings of a config file, configs/<name>.py or <name>.py:argument.

  Raises:
    UserError: no such file, or it fails; one line that names it.
  """
  file, colon, argument = str(path).partition(":")
  if not pathlib.Path(file).is_file():
    raise errors.UserError(f"no such config file: {file}")
  try:
    found = runpy.run_path(file).get("get_config")
    if found is None:
      raise errors.UserError("it has no get_config()")
    config = found(argument) if colon else found()
    return settings_lib.Settings.from_config(config)
  except Exception as error:  # whatever a user's own Python can raise
    raise errors.UserError(f"config file {path}: {error}") from error


def _read_workdir(workdir: pathlib.Path) -> Model:
  settings = workdir_lib.read_config(workdir)
  if settings.task == "supervised":
    _check_published_form(workdir, settings.supervised)
  restored, step = checkpoint.restore_params(workdir)
  params = jax.tree.map(np.asarray, restored)
  if settings.task == "supervised":
    classes = len(params["head"]["bias"])
    layout = published.Layout(settings.model, classes)
    return Model(layout, params, settings, step)
  layout = layout_lib.of_settings(settings)
  about = workdir / IMPORTED
  kind = json.loads(about.read_text())["kind"] if about.is_file() else ""
  if kind == "encoder":
    layout = published.Layout(settings.model)
    params = {"encoder": params["encoder"]}
  elif kind == "finetune":
    with np.load(io.BytesIO((workdir / CLASSIFIER).read_bytes())) as head:
      encoder = {k: v for k, v in params["encoder"].items() if k != "norm"}
      params = {
        "encoder": encoder,
        "norm": {"scale": head["scale"], "bias": head["norm_bias"]},
        "head": {"kernel": head["kernel"], "bias": head["bias"]},
      }
    classes = len(params["head"]["bias"])
    layout = published.Layout(settings.model, num_classes=classes)
  return Model(layout, params, settings, step)


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


def _head(model: Model) -> dict[str, np.ndarray]:
  norm, head = model.params["norm"], model.params["head"]
  return {
    "scale": norm["scale"],
    "norm_bias": norm["bias"],
    "kernel": head["kernel"],
    "bias": head["bias"],
  }


def _settings(layout, config, geometry) -> settings_lib.Settings:
  if config is None:
    return layout_lib.to_settings(layout, **geometry)
  if layout.kind in ("encoder", "finetune"):
    wanted = published.Layout(config.model)
    given = published.Layout(layout.model)
    fields = ("tubelet", "patch", "mlp_ratio", "norm_epsilon")
    fields += ("encoder_dim", "encoder_depth", "encoder_heads")
  else:
    wanted, given = layout_lib.of_settings(config), layout
    free = ("dtype", "remat", "table_grid")
    fields = [f for f in vars(config.model) if f not in free]
  differing = [
    f"model.{name} ({getattr(given.model, name)} in the checkpoint, "
    f"{getattr(wanted.model, name)} in the config)"
    for name in fields
    if getattr(given.model, name) != getattr(wanted.model, name)
  ]
  for name in ("target_dim", "num_prototypes", "hidden"):
    if getattr(given, name) != getattr(wanted, name):
      differing.append(
        f"{name} ({getattr(given, name)} in the checkpoint, "
        f"{getattr(wanted, name)} in the config)"
      )
  if differing:
    raise errors.UserError(
      f"the config is of another model: {', '.join(differing)}"
    )
  return config
