"""Writing checkpoints for the published codes and for transformers."""

import pathlib

import numpy as np

from sigma_jax import errors, files
from sigma_jax.interop import (
  destinations,
  hugging_face,
  published,
  torch_writer,
  unstated,
  vjepa,
  vjepa_hugging_face,
  vjepa_names,
)
from sigma_jax.interop.model import Model, Note
from sigma_jax.models import positions

# Under which key the published scripts look for a .pth's state dict.
_KEY = "model"


def export(
  model: Model,
  out: str | pathlib.Path,
  kind: str,
  note: Note,
  source: str | pathlib.Path = "",
) -> None:
  """Writes a checkpoint for PyTorch ("pth") or transformers ("hf").

  Args:
    model: what is written.
    out: the file, or the folder.
    kind: pth or hf.
    note: gets a line about what is written and what is left out.
    source: what the model was read from; is not written over.

  Raises:
    UserError: a run or another file would be written over, or no format can
      say what the encoder is.
  """
  destinations.check_export(out, kind, source)
  _check_expressible(model, kind)
  files.check_local(out, "the exported checkpoint")
  if model.settings.model.key_bias:
    return _vjepa(model, out, kind, note)
  if kind == "pth":
    tensors = published.from_params(model.params, model.layout)
    facts = unstated.of_model(model.settings, model.layout, model.class_names)
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    torch_writer.save(out, tensors, _KEY, {unstated.KEY: facts.to_json()})
    note(
      f"{len(tensors)} tensors of a {model.layout.kind} model in {out}, under "
      f"the key {_KEY!r}"
    )
    return
  data = model.settings.data
  name = hugging_face.write(
    out,
    model.params,
    model.layout,
    num_frames=data.num_frames,
    size=data.size,
    class_names=model.class_names,
  )
  if name == "VideoMAEModel" and model.layout.kind != "encoder":
    note("decoder, target and prototypes left out: transformers has no such")
  note(f"{name}.from_pretrained({str(out)!r})")


def _check_expressible(model: Model, kind: str) -> None:
  run = model.settings
  if kind == "pth" and not model.layout.final_norm:
    raise errors.UserError(
      "this encoder ends without a LayerNorm (transformers' use_mean_pooling), "
      "which the published code cannot read: export it by --format=hf"
    )
  table = run.model.table_grid
  if table and table != run.grid:
    raise errors.UserError(
      f"this encoder was trained with the position table of {table}, "
      f"interpolated to {run.grid} (model.table_grid): no format "
      "but a run's own can say so, and the formula's rows would be others"
    )
  pretrained = model.layout.num_prototypes > 0
  if kind == "pth" and pretrained and run.loss.levels:
    raise errors.UserError(
      f"this run has prototypes in a tree (loss.levels {run.loss.levels}): a "
      ".pth has no place for them, and a folder of transformers holds the "
      "encoder alone"
    )
  if model.layout.kind == "finetune" and "norm" in model.params["encoder"]:
    raise errors.UserError(
      "this fine-tuned model keeps its encoder's last norm "
      "(model.pool_normed): no format but a run's own has a place for it"
    )


def _vjepa(model: Model, out, kind: str, note: Note) -> None:
  """An encoder of V-JEPA or V-JEPA 2, as their own files hold it."""
  run = model.settings
  if set(model.params) != {"encoder"}:
    raise errors.UserError(
      "a model with biases on attention's keys (model.key_bias) is written as "
      f"an encoder of V-JEPA alone, and this one is of kind {model.layout.kind}"
    )
  tensors = vjepa_names.to_published(
    "encoder", model.params["encoder"], run.model.tubelet, run.model.patch
  )
  if kind == "hf":
    name = vjepa_hugging_face.write(out, tensors, run)
    note(f"{name}.from_pretrained({str(out)!r})")
    return
  if run.model.positions != "rotary":
    table = positions.table(
      run.model.positions, run.model.encoder_dim, run.grid
    )
    tensors["pos_embed"] = np.array(table[None])
  facts = unstated.of_model(run, model.layout)
  pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
  torch_writer.save(out, tensors, vjepa.KEY, {unstated.KEY: facts.to_json()})
  note(f"{len(tensors)} tensors of an encoder in {out}, under {vjepa.KEY!r}")
