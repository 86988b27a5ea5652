"""A whole step of DINO on golden numbers: two sizes of crops of a tiny ViT.

The network is the published one, an image ViT with a class token. Loss, centre,
temperature, clipping, decay, held layer and moving average are the functions
that train `methods/clip_dino.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sigma_jax import settings as settings_lib
from sigma_jax.interop import golden_case, teacher
from sigma_jax.interop import layout as layout_lib
from sigma_jax.methods import method
from sigma_jax.models import image_vit, modules, projection, vit
from sigma_jax.train import optimizer, parts

Arrays = dict[str, np.ndarray]

_MAPS = {"fc1": "mlp.0", "fc2": "mlp.2", "fc3": "mlp.4"}
_DECAYED = ("cls_token", "positions")  # which no encoder of clips has


class Step:
  """A case's step, computed.

  Attributes:
    forward: ours and theirs by quantity.
    gradients: before clipping, by published name.
    after: parameters and teacher after the step, by published name.
  """

  def __init__(self, given: dict, arrays: Arrays):
    """given: the section `step` of the case; arrays: all of the case."""
    self._given, self._arrays = given, arrays
    weights = {
      name: golden_case.weight(name, shape)
      for name, shape in given["state_dict"].items()
      if not name.endswith("weight_g")
    }
    backbone = _below(weights, "student.backbone.")
    self._model = teacher.tiny(backbone, "dino_vits16", given["heads"])
    self._graph = modules.abstract(
      lambda rngs: image_vit.ImageViT(self._model, dtype=jnp.float32)
    ).graph
    student, slow = (
      self._tree(_below(weights, f"{side}.")) for side in ("student", "teacher")
    )
    self._method = self._as_trained()
    judge = jax.value_and_grad(self._judged, has_aux=True)
    (loss, (judged, outputs)), grads = judge(student, slow)
    self.gradients = self._published("student", grads)
    clipped = self._published("student", parts.clip_each(grads, given["clip"]))
    self.after = self._stepped(student, slow, grads)
    names = sorted(clipped)
    self.forward = {
      "step_loss": (loss, arrays["step_loss"]),
      "step_center_after": (
        judged.carry["centre"],
        arrays["step_center_after"],
      ),
      "step_student_out": (outputs[0], arrays["step_student_out"]),
      "step_teacher_out": (outputs[1], arrays["step_teacher_out"]),
      "step_clipped_norms": (
        np.array([np.linalg.norm(clipped[name]) for name in names]),
        np.array([given["clipped_norms"][name] for name in names]),
      ),
    }

  def _as_trained(self) -> method.Method:
    """Temperature 0.04 to 0.07 over 3 of 10 epochs, of one step each."""
    kind = method.named("clip_dino")
    options = kind.Options(
      outputs=self._given["K"],
      temperature_epochs=3,
      momentum=self._given["m"],
      freeze_epochs=0.0,
    )
    run = settings_lib.Settings(method=options)
    return kind(run, method.Length(10, 1.0))

  def _tree(self, weights: Arrays) -> dict:
    """Ours of one side."""
    head = {
      ours: {
        "kernel": jnp.asarray(weights[f"head.{theirs}.weight"].T),
        "bias": jnp.asarray(weights[f"head.{theirs}.bias"]),
      }
      for ours, theirs in _MAPS.items()
    }
    encoder = teacher.convert(
      _below(weights, "backbone."), self._model, np.dtype(np.float32)
    )
    last = jnp.asarray(weights["head.last_layer.weight_v"])
    return {
      "encoder": jax.tree.map(jnp.asarray, encoder),
      "head": head,
      "last": {"directions": last},
    }

  def _published(self, side: str, tree: dict) -> Arrays:
    """The inverse of `_tree`, of parameters or gradients by them."""
    found = {}
    for name, value in _image_names(tree["encoder"], self._model).items():
      found[f"{side}.backbone.{name}"] = value
    for ours, theirs in _MAPS.items():
      found[f"{side}.head.{theirs}.weight"] = tree["head"][ours]["kernel"].T
      found[f"{side}.head.{theirs}.bias"] = tree["head"][ours]["bias"]
    found[f"{side}.head.last_layer.weight_v"] = tree["last"]["directions"]
    return {name: np.asarray(value) for name, value in found.items()}

  def _outputs(self, params: dict, crops: np.ndarray) -> jax.Array:
    """Of uint8 [count, b, h, w, 3]: [b, count, k]."""
    given = self._given
    frames = vit.normalize_pixels(jnp.asarray(crops))
    network = modules.merge(self._graph, {}, params["encoder"])
    token = network.tokens(frames.reshape(-1, *frames.shape[2:]))[:, 0]
    sizes = given["dim"], given["hidden"], given["bottle"]
    head = layout_lib.assemble(params["head"], projection.Bottleneck, *sizes)
    last = layout_lib.assemble(
      params["last"], projection.UnitRows, given["bottle"], given["K"]
    )
    found = last(head(token)).reshape(*crops.shape[:2], -1)
    return found.swapaxes(0, 1)

  def _judged(self, student: dict, slow: dict):
    arrays = self._arrays
    large, local = arrays["step_global"], arrays["step_local"]
    features = {
      "student": [self._outputs(student, crops) for crops in (large, local)],
      "teacher": self._outputs(slow, large),
    }
    none = jnp.zeros((len(large[0]), 2, 1))
    judged = self._method.loss(
      {},
      features | {"embedded": none, "target": none},
      {"centre": jnp.asarray(arrays["step_center_before"])},
      jnp.int32(self._given["epoch"]),
      method.Where("cpu"),
    )
    said = [_in_order(features["student"]), _in_order([features["teacher"]])]
    return judged.loss, (judged, said)

  def _stepped(self, student: dict, slow: dict, grads: dict) -> Arrays:
    given = self._given
    run = settings_lib.Optimizer(
      base_lr=given["lr"],
      min_lr=given["lr"],
      b2=0.999,
      weight_decay=given["wd"],
      warmup_epochs=0.0,
      clip_norm=given["clip"],
      clip_by="parameter",
    )
    options = self._method.optimizer()
    options["decayed"] += _DECAYED
    tx, _ = optimizer.make(
      run, batch_size=256, total_steps=10, steps_per_epoch=1.0, **options
    )
    updates, _ = tx.update(grads, tx.init(student), student)
    student = optax.apply_updates(student, updates)
    slow = method.moved(slow, student, given["m"])
    return self._published("student", student) | self._published(
      "teacher", slow
    )


def _below(weights: Arrays, prefix: str) -> Arrays:
  """Those whose name begins so, without it."""
  return {
    name.removeprefix(prefix): value
    for name, value in weights.items()
    if name.startswith(prefix)
  }


def _in_order(outputs: list[jax.Array]) -> jax.Array:
  """[b, count, k] of several sizes -> crop by crop, [crops * b, k]."""
  return jnp.concatenate(
    [each.swapaxes(0, 1).reshape(-1, each.shape[-1]) for each in outputs]
  )


def _image_names(tree: dict, model) -> dict:
  """An image ViT's arrays by published name: `teacher.convert`, back."""
  kernel = tree["embed"]["kernel"]
  patches = kernel.reshape(model.patch, model.patch, 3, model.dim)
  found = {
    "cls_token": tree["cls_token"][None, None],
    "pos_embed": tree["positions"][None],
    "patch_embed.proj.weight": patches.transpose(3, 2, 0, 1),
    "patch_embed.proj.bias": tree["embed"]["bias"],
    "norm.weight": tree["norm"]["scale"],
    "norm.bias": tree["norm"]["bias"],
  }
  leaves = jax.tree_util.tree_leaves_with_path(tree["blocks"])
  for path, leaf in leaves:
    *names, last = (part.key for part in path)
    kind = "bias" if last == "bias" else "weight"
    for place in range(model.depth):
      value = leaf[place].T if last == "kernel" else leaf[place]
      found[f"blocks.{place}.{'.'.join(names)}.{kind}"] = value
  return found
