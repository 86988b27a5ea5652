"""Every config builds, says how it is run, and takes one step when shrunk.

The variants of a config, `--config=configs/x.py:dino`, are those whose commands
its docstring holds.
"""

import dataclasses
import functools
import importlib.util
import os
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sigma_jax import masking
from sigma_jax import settings as settings_lib
from sigma_jax.data import origins
from sigma_jax.data.layouts import __main__ as layouts
from sigma_jax.evaluate import features
from sigma_jax.evaluate.segmentation import clip, dense
from sigma_jax.methods import method
from sigma_jax.models import sigma
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import optimizer, steps, supervised
from sigma_jax.train import state as state_lib

ROOT = pathlib.Path(__file__).parents[1]
# Grids are no configs of runs: tests/ablate.
FILES = sorted(
  path
  for path in (ROOT / "configs").rglob("*.py")
  if path.parent.name != "ablations"
)


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
  """What enters a step, at sizes that compile and run in seconds.

  The rest is put back to its defaults, so that configs share their step.
  """
  model, data, test = settings.model, settings.data, settings.segmentation
  if settings.target.kind == "dino":
    settings = change(settings, target__variant="dino_vits16")
  if settings.method.name == "vjepa":
    # Of eight tubes.
    one = {"blocks": (1,), "areas": (0.5,), "context": (4,), "targets": (2,)}
    small = dataclasses.replace(settings.method, **one)
    settings = dataclasses.replace(settings, method=small)
  if settings.masking.kind == "motion":  # of four positions
    settings = change(settings, masking__ratio=0.75)
  if settings.task != "pretrain":
    # Masks are of pixels, features of tubes: any patch shows as much.
    model = dataclasses.replace(model, patch=8)
  settings = dataclasses.replace(
    settings,
    model=model,
    data=settings_lib.Data(
      num_frames=2 * model.tubelet, size=2 * model.patch, samples=data.samples
    ),
    optimizer=settings_lib.Optimizer(),
    train=settings_lib.Train(batch_size=2),
    probe=dataclasses.replace(settings.probe, batch_size=2, train_samples=1),
    segmentation=dataclasses.replace(test, published=""),
    supervised=dataclasses.replace(
      settings.supervised, views=(1, 1), label_set=""
    ),
  )
  if settings.task == "supervised":
    given = settings.supervised.targets != "classes"
    files = {"train_targets": "t", "val_targets": "v"} if given else {}
    settings = dataclasses.replace(
      settings, supervised=dataclasses.replace(settings.supervised, **files)
    )
  return change(
    settings,
    model__encoder_dim=16,
    model__encoder_depth=1,
    model__encoder_heads=2,
    model__decoder_dim=8,
    model__decoder_depth=1,
    model__decoder_heads=2,
    target__dim=8,
    target__hidden=[16] * len(settings.target.hidden),
    loss__num_prototypes=6,
    loss__epsilon=0.05,
  )


def clips(settings):
  data = settings.data
  return np.random.default_rng(0).integers(
    0, 256, (2, data.num_frames, data.size, data.size, 3), np.uint8
  )


def one_device():
  return mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])


def traced(step, state, frozen, batch):
  """A step as it is compiled, but not compiled: its metrics are scalars."""
  after, metrics = jax.eval_shape(step, state, frozen, batch)
  shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]
  assert shapes == [(x.shape, x.dtype) for x in jax.tree.leaves(after)]
  assert {x.shape for x in metrics.values()} == {()}


def pretraining(settings):
  """Optimiser and step."""
  tx = optax.sgd(0.1)
  return tx, steps.pretrain_step(settings, tx, lambda n: n.astype("float32"))


def pretraining_step(settings):
  tx, step = pretraining(settings)
  traced(
    step,
    state_lib.abstract(settings, tx, one_device()),
    sigma.abstract(settings).frozen,
    method.of(settings).batch(clips(settings)),
  )


def supervised_step(settings):
  """Of 4 classes, two videos and `data.samples` clips of each."""
  options = settings.supervised
  outputs = 1 if options.targets == "count" else 4
  task = supervised.Task(settings, outputs)
  job = supervised.job(task)
  tx = optax.sgd(0.1)
  state = state_lib.abstract(settings, tx, one_device(), job.fresh)
  video = np.repeat(clips(settings), settings.data.samples, axis=0)
  targets = {
    "classes": np.zeros(len(video), np.int32),
    "multilabel": np.zeros((len(video), outputs), np.float32),
    "count": np.zeros(len(video), np.float32),
  }
  factors = job.optimizer["factors"](state.params)
  assert jax.tree.structure(factors) == jax.tree.structure(state.params)
  encoder = jax.eval_shape(task.fresh, jax.random.key(0))["encoder"]
  traced(
    job.make_step(settings, tx, lambda step: step.astype("float32")),
    state,
    {"encoder": encoder} if task.frozen_encoder else {},
    {"video": video, "target": targets[options.targets]},
  )


def batch_of_features(settings):
  """A probe trains nothing of the model; it runs the encoder."""
  encoder = sigma.init_params(settings, jax.random.key(0))["encoder"]
  video = clips(settings)
  batch = {
    "video": video,
    "index": np.arange(len(video)),
    "valid": np.ones(len(video), bool),
  }
  found = features.extract(settings, {"it": encoder}, [batch], one_device())
  assert found["it"].features.shape == (len(video), settings.model.encoder_dim)
  assert np.isfinite(found["it"].features).all()


def segmented_clip(settings):
  (encoder,) = dense.load(settings).values()
  video = clips(settings)[0]
  masks = (video[..., 0] > 127).astype(np.uint8)
  found = clip.segment(
    encoder.maps(video),
    masks,
    np.ones(len(masks), bool),
    settings.segmentation,
    settings.seed,
  )
  assert all(np.isfinite(segments.mean_iou) for segments in found.values())


STEP_OF_TASK = {
  "pretrain": pretraining_step,
  "supervised": supervised_step,
  "probe": batch_of_features,
  "segmentation": segmented_clip,
}


@functools.cache
def run_once(settings):
  """Runs the task's step; configs that shrink to the same share it."""
  assert settings.task in STEP_OF_TASK, "add this task's step to STEP_OF_TASK"
  STEP_OF_TASK[settings.task](settings)


@pytest.mark.parametrize(("path", "variant"), list(variants()))
def test_config_takes_one_step(change, usual_promotion, path, variant):
  """Training steps are traced, which takes a tenth of compiling them."""
  settings = build(path, variant)
  if settings.method.name == "vjepa":
    assert method.of(settings).load() == {}  # the counts can be reached
  elif settings.task == "pretrain":
    # Before shrinking: the real grid leaves tubes to see and to predict.
    masking.num_masked(
      settings.masking.kind, settings.grid, settings.masking.ratio
    )
  # Of up to 8 devices, and in pairs, where clips are mixed.
  assert settings.train.batch_size % 8 == 0
  tx, schedule = optimizer.make(
    settings.optimizer,
    batch_size=settings.train.batch_size,
    total_steps=1000,
    steps_per_epoch=10.0,
  )
  assert 0 < schedule(500) < 1
  tx.init({"kernel": np.zeros(3, np.float32)})
  run_once(shrink(change, settings))


def test_a_published_recipe_runs(change, usual_promotion):
  """In bfloat16, as all of them are."""
  settings = shrink(change, build(ROOT / "configs/k400_vitb.py", ""))
  tx, step = pretraining(settings)
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda leaf: jnp.asarray(0.1 * rng.standard_normal(leaf.shape), leaf.dtype),
    sigma.abstract(settings).params,
  )
  state = state_lib.TrainState(jnp.int32(0), params, tx.init(params))
  after, metrics = jax.jit(step)(state, {}, {"video": clips(settings)})
  assert int(after.step) == 1
  for value in [*metrics.values(), *jax.tree.leaves(after.params)]:
    assert np.isfinite(value).all()


def commands(path, module):
  """What stands behind `python -m MODULE` in a config's docstring."""
  doc = load(path).__doc__.replace("\\\n", " ")
  return re.findall(rf"^python -m {module} (.*)$", doc, re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_docstring_holds_the_command(path):
  name = path.relative_to(ROOT)
  found = commands(path, rf"sigma_jax\.main --config={name}.*?")
  assert found
  assert all("--workdir=" in command for command in found)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_where_the_data_is_not_there_its_making_is_told(path):
  config = load(path).get_config()
  for file in filter(None, (config.data.train, config.data.val)):
    told = origins.hint(file)
    module = told.split()[2]
    assert importlib.util.find_spec(module), told
    if module == "sigma_jax.data.layouts":
      assert told.split()[3] in layouts.DATASETS
      assert f"--out={os.path.dirname(file)} " in told
      (page,) = re.findall(r"docs/\S+\.md", told)
      assert (ROOT / page).is_file()


def test_nothing_is_told_of_lists_of_ones_own():
  for path in ("train.csv", "/x/my_k400s/train.csv", "gs://b/mine/v.csv", ""):
    assert origins.hint(path) == ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_docstring_makes_the_manifests(path, monkeypatch, tmp_path, capsys):
  """Options exist, and what is written is what the config reads."""
  monkeypatch.chdir(tmp_path)
  data = load(path).get_config().data
  for command in commands(path, r"sigma_jax\.data\.layouts"):
    (out,) = re.findall(r"--out=(\S+)", command)
    for file in filter(None, (data.train, data.val, data.label_sets)):
      assert os.path.dirname(file) == out
    if "--download" in command:
      continue
    assert layouts.main(command.replace("/data/", f"{tmp_path}/").split()) == 2
    assert str(tmp_path) in capsys.readouterr().err
