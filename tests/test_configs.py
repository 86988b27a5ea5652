"""Every config builds, says how it is run, and takes one step when shrunk.

The variants of a config, `--config=configs/x.py:dino`, are those whose commands
its docstring holds.
"""

import dataclasses
import functools
import importlib.util
import pathlib
import re

import jax
import numpy as np
import optax
import pytest

from sigma_jax import masking
from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import dense, features, segmentation
from sigma_jax.models import sigma
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import optimizer, steps
from sigma_jax.train import state as state_lib

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").rglob("*.py"))


def load(path):
  spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def variants():
  """(file, argument or "") of all configs."""
  for path in FILES:
    name = str(path.relative_to(ROOT))
    pattern = rf"--config={re.escape(name)}(?::(\S+))?"
    for variant in re.findall(pattern, load(path).__doc__):
      yield pytest.param(path, variant, id=f"{path.stem}:{variant}".strip(":"))


def build(path, variant):
  arguments = (variant,) if variant else ()
  return settings_lib.Settings.from_config(load(path).get_config(*arguments))


def shrink(change, settings):
  """The same options at sizes that compile and run in seconds."""
  model = settings.model
  if settings.target.kind == "dino":
    settings = change(settings, target__variant="dino_vits16")
  return change(
    settings,
    data__num_frames=2 * model.tubelet,
    data__size=2 * model.patch,
    model__encoder_dim=16,
    model__encoder_depth=1,
    model__encoder_heads=2,
    model__decoder_dim=8,
    model__decoder_depth=1,
    model__decoder_heads=2,
    target__dim=8,
    target__hidden=[16] * len(settings.target.hidden),
    loss__num_prototypes=6,
    train__batch_size=2,
    probe__batch_size=2,
  )


def one_training_step(settings, mesh, video):
  tx = optax.sgd(0.1)
  state = state_lib.create(settings, tx, mesh)
  make = steps.pretrain_step(settings, tx, lambda step: step.astype("float32"))
  rng = np.random.default_rng(1)
  frozen = jax.tree.map(
    lambda leaf: (0.02 * rng.standard_normal(leaf.shape)).astype(leaf.dtype),
    sigma.abstract(settings).frozen,
  )
  after, metrics = jax.jit(make)(state, frozen, {"video": video})
  assert int(after.step) == 1
  return [*metrics.values(), *jax.tree.leaves(after.params)]


def one_batch_of_features(settings, mesh, video):
  """A probe trains nothing of the model; it runs the encoder."""
  params = sigma.init_params(settings, jax.random.key(0))
  batch = {
    "video": video,
    "index": np.arange(len(video)),
    "valid": np.ones(len(video), bool),
  }
  found = features.extract(settings, {"it": params}, [batch], mesh)["it"]
  assert found.features.shape == (len(video), settings.model.encoder_dim)
  return [found.features]


def one_clip_segmented(settings, mesh, video):
  (encoder,) = dense.load(settings).values()
  masks = (video[0, ..., 0] > 127).astype(np.uint8)
  found = segmentation.segment(
    encoder.maps(video[0]),
    masks,
    np.ones(len(masks), bool),
    settings.segmentation,
    settings.seed,
  )
  return [segments.mean_iou for segments in found.values()]


@functools.cache
def run_once(settings):
  """Runs the task's step; configs that shrink to the same share it."""
  assert settings.task in STEP_OF_TASK, "add this task's step to STEP_OF_TASK"
  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
  data = settings.data
  video = np.random.default_rng(0).integers(
    0, 256, (2, data.num_frames, data.size, data.size, 3), np.uint8
  )
  for value in STEP_OF_TASK[settings.task](settings, mesh, video):
    assert np.isfinite(value).all()


STEP_OF_TASK = {
  "pretrain": one_training_step,
  "probe": one_batch_of_features,
  "segmentation": one_clip_segmented,
}


@pytest.mark.parametrize(("path", "variant"), list(variants()))
def test_config_takes_one_step(change, usual_promotion, path, variant):
  settings = build(path, variant)
  if settings.task == "pretrain":
    # Before shrinking: the real grid leaves tubes to see and to predict.
    masking.num_masked(
      settings.masking.kind, settings.grid, settings.masking.ratio
    )
  small = shrink(change, settings)
  tx, schedule = optimizer.make(
    small.optimizer,
    batch_size=settings.train.batch_size,
    total_steps=1000,
    steps_per_epoch=10.0,
  )
  assert 0 < schedule(500) < 1
  tx.init({"kernel": np.zeros(3, np.float32)})
  # What is left does not enter the step.
  run_once(
    dataclasses.replace(
      small,
      data=settings_lib.Data(
        num_frames=small.data.num_frames, size=small.data.size
      ),
      optimizer=settings_lib.Optimizer(),
      train=settings_lib.Train(batch_size=2),
    )
  )


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_docstring_holds_the_command(path):
  name = path.relative_to(ROOT)
  commands = re.findall(
    rf"^python -m sigma_jax.main --config={name}.*$",
    load(path).__doc__.replace("\\\n", " "),
    re.MULTILINE,
  )
  assert commands
  assert all("--workdir=" in command for command in commands)
