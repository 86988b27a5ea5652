"""What a state dict does not say of its model, and where it is taken from.

No tensor's shape tells the number of heads, the clips or an epsilon. Files that
are written here say them in a text beside the state dict; of others they are
given by hand, or taken as published, which is said.
"""

import dataclasses
import json
import pathlib

import numpy as np

from sigma_jax import errors, settings
from sigma_jax.interop import layout as layout_lib

KEY = "sigma_jax"  # of the text in a .pth
_PUBLISHED = {"num_frames": 16, "size": 224}
# A file that says one of these of itself cannot be told another.
_FIXED = ("encoder_heads", "decoder_heads", "norm_epsilon")


@dataclasses.dataclass(frozen=True)
class Facts:
  """Of a model; 0, None or (): not known.

  Attributes:
    num_frames, size: of the clips, frames and pixels.
    encoder_heads, decoder_heads, norm_epsilon: of `settings.Model`.
    normalize: of `settings.Target`.
    class_names: of a fine-tuned model.
  """

  num_frames: int = 0
  size: int = 0
  encoder_heads: int = 0
  decoder_heads: int = 0
  norm_epsilon: float = 0.0
  normalize: bool | None = None
  class_names: tuple[str, ...] = ()

  def to_json(self) -> str:
    """A text for `from_json`."""
    return json.dumps(dataclasses.asdict(self))


def of_model(
  run: settings.Settings,
  layout: layout_lib.Layout | None = None,
  class_names: tuple[str, ...] = (),
) -> Facts:
  """All of them, of a run of ours, or of what the layout has of its model."""
  decodes = layout is None or layout.target_dim
  return Facts(
    num_frames=run.data.num_frames,
    size=run.data.size,
    encoder_heads=run.model.encoder_heads,
    decoder_heads=run.model.decoder_heads if decodes else 0,
    norm_epsilon=run.model.norm_epsilon,
    normalize=run.target.normalize,
    class_names=class_names,
  )


def from_json(text: str | None, source: pathlib.Path) -> Facts:
  """The inverse of `to_json`; nothing is known where there is no text.

  Raises:
    UserError: the text is not such.
  """
  if text is None:
    return Facts()
  try:
    found = json.loads(text)
    defaults = dataclasses.asdict(Facts(normalize=True))
    for key, value in found.items():
      kind = type(defaults[key])
      ok = type(value) is kind or (kind is tuple and isinstance(value, list))
      if not ok or (kind in (int, float) and value < 0):
        raise ValueError(f"{key} is {value!r}")
    names = tuple(str(name) for name in found.get("class_names", ()))
    return Facts(**found | {"class_names": names})
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise errors.UserError(
      f"{source}: what it says under {KEY!r} is not understood: {error!r}"
    ) from error


def combine(
  stated: Facts,
  given: Facts,
  config: settings.Settings | None,
  source: pathlib.Path,
) -> Facts:
  """What is known: given by hand, else by the config, else by the file.

  Raises:
    UserError: the file says otherwise of what its weights were trained with.
  """
  known = dataclasses.asdict(stated)
  others = []
  if config:
    facts = of_model(config)
    if stated.normalize is not None:  # compared with the layout later
      facts = dataclasses.replace(facts, normalize=None)
    others = [("the config", facts)]
  for origin, facts in (*others, ("the command", given)):
    for key, value in dataclasses.asdict(facts).items():
      if value in (0, None, ()) and value is not False:
        continue
      there = getattr(stated, key)
      unknown = there in (0, None) and there is not False
      if key in _FIXED and not unknown and there != value:
        raise errors.UserError(
          f"{source} says that its {key} is {there}, {origin} says {value}"
        )
      known[key] = value
  return Facts(**known)


def geometry(
  facts: Facts,
  tensors: dict[str, np.ndarray],
  layout: layout_lib.Layout,
  source: pathlib.Path,
) -> dict[str, int]:
  """num_frames and size; those that are not known are the published ones.

  Raises:
    UserError: a stored position table shows that they are not.
  """
  found = {
    key: getattr(facts, key) or value for key, value in _PUBLISHED.items()
  }
  if facts.num_frames and facts.size:
    return found
  model = layout.model
  tubes = found["num_frames"] // model.tubelet
  tubes *= (found["size"] // model.patch) ** 2
  for name, tensor in tensors.items():
    if name.split(".")[-1] == "pos_embed" and tensor.shape[-2] != tubes:
      raise errors.UserError(
        f"{source}: its {name} is of {tensor.shape[-2]} tubes, not the {tubes} "
        f"of clips of {found['num_frames']} x {found['size']}, which is the "
        "published geometry: give frames and size"
      )
  return found


def assumed(
  facts: Facts, layout: layout_lib.Layout, clips: dict[str, int]
) -> str:
  """One line about what is taken as published; "" where all is known."""
  model, found = layout.model, []
  if not facts.encoder_heads:
    found.append(f"{model.encoder_heads} heads in the encoder (encoder_heads)")
  if not facts.decoder_heads and layout.target_dim:
    found.append(f"{model.decoder_heads} in the decoder (decoder_heads)")
  if not (facts.num_frames and facts.size):
    found.append(f"clips of {clips['num_frames']} x {clips['size']} px")
  if not facts.norm_epsilon:
    found.append(f"an epsilon of {model.norm_epsilon:g} in its LayerNorms")
  if layout.kind == "pixel" and facts.normalize is None:
    found.append("a target of normalised pixels")
  if not found:
    return ""
  return f"not in the file, so taken as published: {', '.join(found)}"
