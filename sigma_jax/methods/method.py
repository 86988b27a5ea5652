"""What a method of pre-training is to the trainer: one class in one file.

A step (`train.steps`) mirrors the clips and changes their colours as the method
says (`colours`). It asks the method to `prepare` them, and takes its
`features`, which may be computed in several parts. Then it takes the method's
`loss` of the features of the whole global batch. The loss's gradients go back
through the features to the parameters. docs/methods/own.md has a worked
example.

A method is static: it is made once for a run, from the settings, and never
changes. It knows no mesh and no checkpoint.
"""

import dataclasses
import functools
import importlib
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sigma_jax import settings as settings_lib
from sigma_jax.methods.description import Chart, Description
from sigma_jax.methods.values import (
  Follow,
  Judged,
  Length,
  Metrics,
  Tree,
  Weights,
  Where,
)
from sigma_jax.models import modules
from sigma_jax.motion import luma as luma_lib

# One name for all that a method is made of.
__all__ = ["Chart", "Description", "Follow", "Judged", "Length", "Method"]
__all__ += ["Metrics", "Tree", "Weights", "Where", "beside", "moved", "named"]
__all__ += ["of"]


class Method:
  """The base of methods. What has no default has to be written.

  Attributes:
    Options: dataclass of `config.method.*`, on top of `settings.Method`.
    inputs: entries of a batch that `prepare` reads: "video", and "luma" where
      the method asks for such frames, see `luma`.
    reads: sections of the settings beside `model` and `method` that it reads.
    heads: parts of the parameters that `loss` itself reads; all others reach
      it through the features.
    evaluated: which encoder evaluations take: ("params", "encoder") or, of a
      moving average, ("slow", NAME).
    shown: metrics of the progress line.
    settings, length: of the run; length is None if nothing is trained.
  """

  Options: type[settings_lib.Method] = settings_lib.Method
  inputs: tuple[str, ...] = ("video",)
  reads: tuple[str, ...] = ()
  heads: tuple[str, ...] = ()
  evaluated: tuple[str, str] = ("params", "encoder")
  shown: tuple[str, ...] = ()

  def __init__(
    self, settings: settings_lib.Settings, length: Length | None = None
  ):
    self.settings, self.length = settings, length

  @property
  def options(self) -> Any:
    """The run's `Options`."""
    return self.settings.method

  # --- what is read ----------------------------------------------------------

  def views(self) -> tuple[settings_lib.Views, ...]:
    """Further clips of each video that a batch has, beside `inputs`."""
    return ()

  @property
  def luma(self) -> settings_lib.Luma | None:
    """Grey frames that batches hold beside the clips, or None.

    They are the entry "luma", uint8 [b, t / every, frames, size, size], cut
    out and mirrored like the clips.
    """
    return None

  def batch(self, video: jax.Array) -> Tree:
    """A batch of clips alone, uint8 [b, t, h, w, 3]; jit-able.

    For benchmarks, and for clips that are drawn and not read. Grey frames and
    further views are made of the clips themselves.
    """
    found = {"video": video}
    if self.luma is not None:
      found["luma"] = luma_lib.of_clips(video, *dataclasses.astuple(self.luma))
    for view in self.views():
      _, t, h, w, _ = video.shape
      frames = np.arange(view.num_frames) % t
      rows, columns = (np.arange(view.size) % side for side in (h, w))
      clip = jnp.asarray(video)[:, frames][:, :, rows][:, :, :, columns]
      found[view.name] = jnp.repeat(clip[:, None], view.count, axis=1)
    return found

  # --- what is trained -------------------------------------------------------

  def module(self, rngs: nnx.Rngs) -> nnx.Module:
    """The networks, each an attribute; "encoder" is a `models.vit.Encoder`."""
    raise NotImplementedError

  def follows(self) -> dict[str, Follow]:
    """Moving averages that the features are computed with, by name."""
    return {}

  def carry(self) -> Tree:
    """Other state that goes from step to step, as it begins."""
    return {}

  def load(self) -> Tree:
    """The frozen weights as host arrays.

    Called before a run reads its data: what cannot work is refused here.

    Raises:
      UserError: weights that are not there, or options that do not fit.
    """
    return {}

  @functools.cached_property
  def abstract(self) -> modules.Abstract:
    """The networks without their weights; allocates nothing."""
    return modules.abstract(self.module)

  def init(self, key: jax.Array) -> Tree:
    """Fresh trained parameters, float32; jit-able."""
    return modules.init(self.module, key)

  def networks(self, params: Tree, frozen: Tree) -> Any:
    """`module` with these weights; inside jit."""
    return modules.merge(self.abstract.graph, params, frozen)

  def project(self, params: Tree) -> Tree:
    """Parameters as a step begins with them, such as unit prototypes."""
    return params

  def optimizer(self) -> dict[str, Any]:
    """Further arguments of `train.optimizer.make`."""
    return {}

  # --- a step ----------------------------------------------------------------

  def colours(self) -> dict[str, settings_lib.Colours]:
    """How colours are changed: entry, "video" or of `views` -> how.

    Where nothing is said they stay.
    """
    return {}

  def prepare(self, batch: Tree, key: jax.Array, frozen: Tree) -> Any:
    """A batch as `features` takes it, such as with masks. Pure, no gradient.

    Args:
      batch: `inputs` and `views` by name, the global batch; "video" is uint8
        [b, t, h, w, 3], each of `views` [b, count, t, h, w, 3]. All, "luma"
        too, are mirrored where the settings say so, in the method's `colours`.
      key: of the step; every use draws from its own, see `keys`.
      frozen: weights as of `load`.

    Returns:
      A tree of arrays whose first axis is the clips'.
    """
    raise NotImplementedError

  def features(self, weights: Weights, inputs: Any) -> Any:
    """What the loss judges: a tree of arrays [b, ...], clip by clip.

    A clip's features may depend on that clip alone: with `train.accumulate`
    they are computed for a part of the batch at a time.
    """
    raise NotImplementedError

  def loss(
    self, heads: Tree, features: Any, carry: Tree, step: jax.Array, where: Where
  ) -> Judged:
    """The loss of the global batch.

    Args:
      heads: the parameters that `self.heads` names.
      features: of all clips.
      carry: from the step before; no gradient goes through it.
      step: int32 scalar, from 0.
      where: the devices.
    """
    raise NotImplementedError

  def plan(self, where: Where) -> str:
    """How the loss is computed on these devices, in words for the bench."""
    return ""

  # --- what people are told --------------------------------------------------

  def signs(
    self, step: int, first: dict[str, float], now: dict[str, float]
  ) -> dict[str, str]:
    """Signs of a collapse, with advice: sign -> words.

    Args:
      step: steps done.
      first, now: metrics of the run's first logged step, and of this one.
    """
    return {}

  def describe(self) -> Description:
    """The run in words."""
    return Description(type(self).__name__)

  def hidden(self, key: jax.Array, video: np.ndarray) -> np.ndarray | None:
    """Tubes of the grid that the encoder does not see; or None.

    Drawn with `key`: clips, uint8 [c, t, h, w, 3] -> bool [c, t, h, w].
    """
    return None

  def guides(self, key: jax.Array, video: np.ndarray) -> dict[str, np.ndarray]:
    """What `hidden` of the same arguments went by, if by the clips.

    In a reader's words: float32 [c, t, h, w] of the grid, shares of the
    largest; or [c, t, h, w, 2], arrows, right and down, in tubes.
    """
    return {}

  def traces(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Lines over clips that the loss is about, by a reader's words.

    float32 [c, t, r, q, k, 2]: k points, right and down in tubes; NaN: no line.
    """
    return {}


def of(settings: settings_lib.Settings, length: Length | None = None) -> Method:
  """The method of a run.

  Raises:
    UserError: options that do not fit together.
    ValueError: no such method.
  """
  return named(settings.method.name)(settings, length)


@functools.cache
def named(name: str) -> type[Method]:
  """The class of a method.

  Args:
    name: of a module in sigma_jax/methods, else of one that Python finds, such
      as my_method for my_method.py in the current folder.

  Raises:
    ValueError: there is none, or not one method in it.
  """
  module = _module(name)
  found = [
    thing
    for _, thing in inspect.getmembers(module, inspect.isclass)
    if issubclass(thing, Method) and thing.__module__ == module.__name__
  ]
  if len(found) != 1:
    raise ValueError(
      f"method.name: the module {name!r} must define one method, a subclass of "
      f"sigma_jax.methods.method.Method, and has {len(found)}"
    )
  return found[0]


def _module(name: str):
  for path in (f"{__package__}.{name}", name):
    try:
      return importlib.import_module(path)
    except ModuleNotFoundError as error:
      if not path.startswith(error.name or " "):
        raise  # something that the method's own file imports
  raise ValueError(
    f"method.name: there is no method {name!r}: it is the name of a module in "
    "sigma_jax/methods, or of one that Python finds from here"
  )


def moved(average: Tree, new: Tree, momentum: Any) -> Tree:
  """A moving average after a step: momentum average + (1 - momentum) new."""
  return jax.tree.map(
    lambda old, part: momentum * old + (1 - momentum) * part, average, new
  )


def beside(method: Method, params: Tree) -> tuple[Tree, Tree]:
  """The state beside fresh parameters: moving averages, and `carry`."""
  slow = {
    name: jax.tree.map(jnp.array, params[follow.of])
    for name, follow in method.follows().items()
  }
  return slow, method.carry()
