"""Options that are set by name beside a config file: what has the last word.

A config file may set anything, read or not: it is the same for many runs. What
somebody types for one run is meant to have an effect.
"""

import os
from collections.abc import Collection, Iterator
from typing import Any

from sigma_jax.settings.model import COMPUTED


def settle(tree: dict[str, Any], given: Collection[str]) -> None:
  """Lets a given option win over the file's where two say the same.

  Args:
    tree: nested values of the config with what was given in them; changed.
    given: dotted options.

  Raises:
    ValueError: both of such a pair are given.
  """
  _settle_sets(tree.get("data"), given)
  train = tree["train"]
  if "train.epochs" not in given or not isinstance(train, dict):
    return
  if "train.steps" in given and train["steps"]:
    raise ValueError(
      "train.epochs and train.steps both set the length of the run: give one "
      "of them"
    )
  train["steps"] = 0


def _settle_sets(data: Any, given: Collection[str]) -> None:
  """One set or several: what is given takes the place of the file's."""
  if not isinstance(data, dict):
    return
  if "data.train" in given and "data.mixture" not in given:
    data["mixture"] = ()
  if "data.mixture" in given and "data.train" not in given:
    data["train"] = ""


def check_read(settings, given: Collection[str]) -> None:
  """Refuses given options that this run does not read.

  Args:
    settings: the run's, whole.
    given: dotted options.

  Raises:
    ValueError: one line that names the first one and why it has no effect.
  """
  for key in given:
    why = unread(settings, key)
    if why:
      raise ValueError(
        f"config.{key} would have no effect: {why}; leave it out"
      )


def unread(settings, key: str) -> str:
  """Why a run does not read an option; "" where it does."""
  for names, why in (*_of_task(settings), *_of_values(settings)):
    for name in names.split():
      if key == name or (name.endswith(".") and key.startswith(name)):
        return why
  return ""


def _of_task(settings) -> Iterator[tuple[str, str]]:
  """(options, why they are not read): names, or sections with a dot."""
  task = settings.task
  why = f"task {task!r} does not read it"
  if task == "pretrain":
    yield "augment. probe. supervised. segmentation.", why
    if not settings.evaluate.every:
      own = "evaluate.train evaluate.test evaluate.clips evaluate.knn_k"
      yield f"{own} train.keep_best", "evaluate.every is 0"
    yield from _of_method(settings)
    # Other checkpoints may lack some, which are then drawn.
    if settings.init and _is_run(settings.init):
      yield "model.init", "all weights are those of init"
    return
  yield "masking. loss. method. evaluate. train.keep_best", why
  if task == "supervised":
    yield "target. probe. segmentation.", why
    yield _decoder(settings), why
    if settings.init:
      kept = (*COMPUTED, "table_grid")
      yield _model(settings, but=kept), "the model is that of init"
    return
  yield "augment. optimizer. train. supervised.", why
  yield _in("data", "crop scales min_area max_area flip samples"), why
  if task == "probe":
    yield "target. segmentation.", why
    yield "model.", "the model is that of init"
    clip = "data.num_frames data.stride data.size"
    yield clip, "probes cut clips as init's run did"
    return
  lists = "data.train data.label_sets data.list_form data.tar_labels data.root"
  yield f"probe. mesh. {lists}", why
  yield _in("data", "workers prefetch max_bad_share file_timeout"), why
  names = "kind dim hidden weights normalize"
  yield _in("target", names), why
  yield "target.variant", "segmentation.teacher names it"
  if settings.segmentation.teacher:
    yield "model.", "the model is segmentation.teacher"
  else:
    yield "target.dtype", "segmentation.teacher is not set"
    yield _decoder(settings), why
    if settings.init:
      kept = ("table_grid",)
      yield _model(settings, but=kept), "the model is that of init"


def _is_run(init: str) -> bool:
  """Whether it is the workdir of a run, and not of an import."""
  there = os.path.isdir(os.path.join(init, "checkpoints"))
  return there and not os.path.exists(os.path.join(init, "imported.json"))


def _of_method(settings) -> Iterator[tuple[str, str]]:
  yield from settings.method.unread()
  name = settings.method.name
  if name == "masked":  # whose sections these are
    return
  from sigma_jax.methods import method

  reads = method.named(name).reads
  sections = ("masking", "target", "loss")
  names = " ".join(f"{part}." for part in sections if part not in reads)
  yield names, f"method.name is {name!r}"


def _of_values(settings) -> Iterator[tuple[str, str]]:
  """(options, why): those that another option's value switches off."""
  data, augment, options = settings.data, settings.augment, settings.supervised
  if data.sampling == "segments":
    yield "data.stride", "data.sampling is 'segments'"
  if data.crop != "multiscale":
    yield "data.scales", f"data.crop is {data.crop!r}"
  if data.crop != "random_resized":
    yield "data.min_area data.max_area", f"data.crop is {data.crop!r}"
  masking = settings.masking
  if masking.kind != "motion":
    names = "masking.direction masking.flow"
    yield names, f"masking.kind is {masking.kind!r}"
  if not masking.has_network:
    why = f"masking.flow is {masking.flow!r}"
    if masking.kind != "motion":
      why = f"masking.kind is {masking.kind!r}"
    yield _in("masking", "flow_weights flow_iterations flow_dtype"), why
  kind = settings.target.kind
  if kind != "mlp":
    yield "target.dim target.hidden", f"target.kind is {kind!r}"
  if kind != "pixel" and settings.task == "pretrain":
    yield "target.normalize", f"target.kind is {kind!r}"
  if kind != "dino" and settings.task == "pretrain":
    names = "target.variant target.weights target.dtype"
    yield names, f"target.kind is {kind!r}"
  if settings.loss.kind == "l2":
    names = "num_prototypes epsilon rounds temperature labels kernels levels"
    yield _in("loss", names), "loss.kind is 'l2'"
  if settings.loss.kind == "l2" or not settings.loss.levels:
    names = "hierarchy level_scores level_weights"
    yield _in("loss", names), "loss.levels is empty: there is no tree"
  elif settings.loss.hierarchy != "leaves":
    why = f"loss.hierarchy is {settings.loss.hierarchy!r}"
    yield "loss.level_scores", why
  if settings.optimizer.schedule == "cosine":
    why = "optimizer.schedule is 'cosine'"
    yield "optimizer.start_lr optimizer.stretch", why
  if settings.optimizer.schedule == "linear":
    why = "optimizer.schedule is 'linear'"
    yield "optimizer.start_lr optimizer.warmup_epochs", why
  if not settings.optimizer.clip_norm:
    names = "optimizer.clip_by optimizer.clip_after_warmup"
    yield names, "optimizer.clip_norm is 0"
  if not augment.num_ops:
    names = "op_prob magnitude magnitude_std"
    yield _in("augment", names), "augment.num_ops is 0"
  if not augment.erase_prob:
    yield "augment.erase_fill", "augment.erase_prob is 0"
  if not (augment.mixup and augment.cutmix):
    why = "augment.mixup and augment.cutmix are not both on"
    yield "augment.switch_prob", why
  if options.targets == "classes":
    names = "supervised.train_targets supervised.val_targets"
    yield names, "supervised.targets is 'classes'"
  else:
    why = f"supervised.targets is {options.targets!r}"
    yield "supervised.label_set data.label_sets", why
    yield _in("augment", "mixup cutmix switch_prob label_smoothing"), why
  if options.targets == "count":
    yield "supervised.views", "supervised.targets is 'count'"
  if options.trains == "head":
    names = "supervised.layer_decay supervised.drop_path"
    yield names, "supervised.trains is 'head'"
  if len(options.rates) < 2:
    yield "supervised.holdout", "supervised.rates is one value"


def _in(section: str, names: str) -> str:
  return " ".join(f"{section}.{name}" for name in names.split())


def _model(settings, but: tuple[str, ...]) -> str:
  names = [name for name in vars(settings.model) if name not in but]
  return _in("model", " ".join(names))


def _decoder(settings) -> str:
  names = [name for name in vars(settings.model) if name.startswith("decoder_")]
  return _in("model", " ".join(names))
