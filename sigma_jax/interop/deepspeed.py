"""Checkpoint folders of DeepSpeed, which VideoMAE's fine-tuning runs under.

A folder OUTPUT has a folder a checkpoint and a file `latest` that names one. In
it `mp_rank_00_model_states.pt` holds the weights, whole unless the model was
cut over devices (model parallelism, or ZeRO's stage 3).

Source: deepspeed/runtime/engine.py, `_get_ckpt_name` and
`_get_zero_ckpt_prefix`.
"""

import pathlib

from sigma_jax import errors

_LATEST = "latest"
_WHOLE = "mp_rank_*_model_states.pt"
_PARTS = "*zero_pp_rank_*_model_states.pt"
_JOIN = (
  "DeepSpeed puts zero_to_fp32.py beside its checkpoints: run `python "
  "zero_to_fp32.py . whole.pth` there and give that file"
)


def find(folder: pathlib.Path) -> pathlib.Path | None:
  """The file with the weights; None where the folder is not DeepSpeed's.

  Args:
    folder: of one checkpoint, or the one above with the file `latest`.

  Raises:
    UserError: the weights are cut into parts, or the folder holds several
      checkpoints and does not say which is the latest.
  """
  latest = folder / _LATEST
  if latest.is_file():
    tag = latest.read_text(errors="replace").strip()
    if pathlib.PurePath(tag).name != tag or not (folder / tag).is_dir():
      raise errors.UserError(
        f"{latest} names {tag[:80]!r}, no folder beside it"
      )
    folder = folder / tag
  whole = sorted(folder.glob(_WHOLE))
  if len(whole) > 1:
    raise errors.UserError(
      f"{folder}: the model is cut over {len(whole)} devices "
      f"({whole[0].name}, ...); save it whole"
    )
  if whole:
    return whole[0]
  parts = sorted(folder.glob(_PARTS))
  if parts:
    raise errors.UserError(
      f"{folder}: the weights are cut into {len(parts)} parts (ZeRO stage 3); "
      f"{_JOIN}"
    )
  below = sorted({file.parent.name for file in folder.glob(f"*/{_WHOLE}")})
  if below:
    raise errors.UserError(
      f"{folder} holds {len(below)} checkpoints of DeepSpeed; give one: "
      f"{', '.join(below[:5])}"
    )
  return None


def refuse_parts(path: pathlib.Path, tensors: dict) -> None:
  """Refuses the file of ZeRO's stage 3, whose tensors are all empty.

  Raises:
    UserError: says how to join the parts.
  """
  if tensors and all(tensor.size == 0 for tensor in tensors.values()):
    raise errors.UserError(
      f"{path}: all its tensors are empty, as where ZeRO's stage 3 has cut the "
      f"weights into parts; {_JOIN}"
    )
