"""The published recipes, as the config files spell them."""

import dataclasses
import importlib.util
import pathlib

import jax
import pytest

from sigma_jax import recipes
from sigma_jax import settings as settings_lib
from sigma_jax.methods import method
from sigma_jax.models import sigma
from sigma_jax.train import optimizer

# Of SIGMA's scripts_finetune at 9876f09 and the defaults of its
# run_class_finetuning.py; HMDB51's and Diving48's epochs and batch are ours.
FINETUNED = {
  "finetune_k400": (100, 32, "dense", (5, 3), True),
  "finetune_ssv2": (40, 32, "segments", (2, 3), False),
  "finetune_ucf101": (100, 32, "dense", (5, 3), True),
  "finetune_diving48": (100, 32, "dense", (5, 3), True),
  "severe_gym99": (100, 32, "dense", (5, 3), True),
  "severe_fx_s1": (100, 32, "dense", (5, 3), True),
  "severe_charades": (100, 32, "dense", (10, 3), True),
}

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
RECIPES = [
  "k400_vitb",
  "k400_vitl",
  "k400_vith",
  "ssv2_vitb",
  "ssv2_vits",
]


def load(name: str, *args: str) -> settings_lib.Settings:
  spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return settings_lib.Settings.from_config(module.get_config(*args))


@pytest.mark.parametrize(
  "name, stride, batch, epochs, epsilon",
  [
    ("k400_vitb", 4, 640, 800, 0.05),
    ("ssv2_vitb", 2, 512, 800, 0.03),
    ("ssv2_vits", 2, 128, 2400, 0.05),
  ],
)
def test_published_numbers(name, stride, batch, epochs, epsilon):
  settings = load(name)
  assert settings.grid == (8, 14, 14)
  assert settings.data.stride == stride
  assert settings.train.batch_size == batch
  assert settings.train.epochs == epochs
  assert settings.optimizer.warmup_epochs == 40
  assert settings.loss.epsilon == epsilon
  assert settings.loss.num_prototypes == 3000
  assert settings.target.kind == "mlp"


@pytest.mark.parametrize("name", FINETUNED)
def test_fine_tuning_is_that_of_the_scripts(name):
  run = load(f"eval/{name}")
  epochs, batch, sampling, views, flip = FINETUNED[name]
  assert (run.train.epochs, run.train.batch_size) == (epochs, batch)
  # 1e-3 for 256 videos: 1.25e-4 a step.
  assert run.optimizer.base_lr * batch / 256 == pytest.approx(1.25e-4)
  assert (run.optimizer.min_lr, run.optimizer.warmup_epochs) == (1e-6, 5)
  assert (run.data.sampling, run.data.stride) == (sampling, 4)
  assert (run.data.num_frames, run.data.samples) == (16, 1)
  assert (run.supervised.views, run.data.flip) == (views, flip)
  assert not run.data.antialias
  assert load("k400_vitb").data.antialias  # pre-training scales with Pillow


def test_the_attentive_probe_is_v_jepas():
  run = load("eval/attentive_k400")
  assert run.supervised.pooling == "attentive"
  assert run.optimizer.weight_decay == 0.01
  assert run.optimizer.weight_decay_end == 1e-6
  assert run.optimizer.base_lr * run.train.batch_size / 256 == 1e-3
  assert (run.optimizer.min_lr, run.optimizer.clip_norm) == (0, 1)
  assert (run.train.epochs, run.supervised.views) == (20, (8, 3))


@pytest.mark.parametrize("name", RECIPES)
def test_dino_after_the_colon_predicts_dino_b16(name):
  settings = load(name, "dino")
  assert settings.target.variant == "dino_vitb16"
  assert sigma.abstract(settings).params["prototypes"].shape == (3000, 768)


def test_videomae_regresses_pixels_with_the_same_model():
  settings = load("k400_vitb_videomae")
  assert settings.model == load("k400_vitb").model
  assert settings.loss.kind == "l2"
  head = sigma.abstract(settings).params["decoder"]["head"]
  assert head["bias"].shape == (1536,)


@pytest.mark.parametrize(
  "name, stride, steps, videos",
  [
    ("k400_vitb_mgmae", 4, 125_200, 240_436),
    ("ssv2_vitb_mgmae", 2, 87_800, 168_913),
  ],
)
def test_mgmae_is_trained_as_its_scripts_do(name, stride, steps, videos):
  """Of MCG-NJU/MGMAE at af7beb9."""
  run = load(name)
  assert (run.masking.kind, run.masking.direction) == ("motion", "corrected")
  assert (run.target.kind, run.loss.kind) == ("pixel", "l2")
  assert (run.data.stride, run.data.samples, run.data.flip) == (
    *(stride, 4),
    False,
  )
  assert videos // run.train.batch_size * run.train.epochs == steps
  assert run.optimizer.base_lr * run.train.batch_size / 256 == 1.5e-3
  assert run.optimizer.min_lr * run.train.batch_size / 256 == pytest.approx(
    1.5e-5
  )
  assert run.optimizer.warmup_epochs == 20
  assert (run.optimizer.b2, run.optimizer.weight_decay) == (0.95, 0.05)
  assert run.optimizer.clip_norm == 0
  assert run.model == load("k400_vitb").model


@pytest.mark.parametrize(
  "name, stride, epochs, frames",
  [("k400_vitb_mme", 4, 1600, 4), ("ssv2_vitb_mme", 2, 400, 2)],
)
def test_mme_is_trained_as_its_script_does(name, stride, epochs, frames):
  """Of XinyuSun/MME at 17689a9; of SSv2 the README's epochs."""
  run = load(name)
  ours = method.of(run)
  assert (run.data.stride, run.data.flip, run.data.samples) == (
    stride,
    False,
    1,
  )
  assert run.data.scales == (1, 0.875, 0.75, 0.66)
  # Tracks go from a tube's first frame to its second one.
  assert (run.method.steps, ours.luma) == (
    stride,
    settings_lib.Luma(every=2, frames=frames + 1, size=112),
  )
  assert int(run.masking.ratio * 196) == 137
  assert (run.train.batch_size, run.train.epochs) == (1024, epochs)
  assert run.optimizer == dataclasses.replace(
    load("k400_vitb").optimizer, base_lr=1.5e-4, min_lr=1e-5
  )
  if frames == 4:  # as published
    sizes = [leaf.size for leaf in jax.tree.leaves(ours.abstract.params)]
    assert sum(sizes) == 87_089_356


@pytest.mark.parametrize("target", ["mlp", "dino"])
@pytest.mark.parametrize("data", ["k400", "ssv2"])
def test_motion_guided_sigma_is_sigma_but_for_its_masks(data, target):
  run, plain = (load(f"{data}_vitb{x}", target) for x in ("_mgmae", ""))
  assert run.masking.kind == "motion"
  assert dataclasses.replace(run, masking=plain.masking) == plain


def test_unknown_target_names_the_nearest():
  with pytest.raises(ValueError, match="'dinov2'; did you mean 'dino'"):
    load("k400_vitb", "dinov2")


@pytest.mark.parametrize(
  "name, millions", [("ssv2_vits", 22), ("k400_vitl", 304), ("k400_vith", 631)]
)
def test_encoders_have_the_published_sizes(name, millions):
  params = sigma.abstract(load(name)).params["encoder"]
  count = sum(leaf.size for leaf in jax.tree.leaves(params))
  assert abs(count / 1e6 - millions) < 0.01 * millions + 1


def test_v_jepa_is_trained_as_published():
  """Numbers printed by facebookresearch/jepa at 51c59d5."""
  run, kinetics = load("k400_vitl_vjepa"), 240_436
  length = method.Length(
    steps=run.train.steps, epoch=kinetics / run.train.batch_size
  )
  ours = method.of(run, length)
  sizes = {
    part: sum(leaf.size for leaf in jax.tree.leaves(tree)) / 1e6
    for part, tree in ours.abstract.params.items()
  }
  assert sizes == pytest.approx({"encoder": 303.9, "predictor": 22.1}, abs=0.05)
  warmup = optimizer.warmup_steps(run.optimizer, length.epoch)
  rate, decay = optimizer.schedules(
    run.optimizer, run.train.batch_size, length.steps, warmup
  )
  at = [0, 11_999, 89_999]
  assert [float(rate(k)) for k in at] == pytest.approx(
    [2.0004e-4, 6.25e-4, 7.50e-5], rel=1e-3
  )
  assert [float(decay(k)) for k in at] == pytest.approx(
    [0.04, 0.05, 0.3656], rel=1e-3
  )
  momentum = ours.follows()["encoder"].momentum
  assert [float(momentum(k)) for k in at] == pytest.approx(
    [0.998, 0.99821, 0.9996], abs=1e-5
  )


def test_v_jepas_vit_b_sees_as_many_clips_as_sigmas():
  ours, sigma_s = load("k400_vitb_vjepa"), load("k400_vitb")
  assert ours.train.epochs == sigma_s.train.epochs
  assert ours.data.train == sigma_s.data.train
  for name in ("encoder_dim", "encoder_depth", "encoder_heads"):
    assert getattr(ours.model, name) == getattr(sigma_s.model, name)
  # The warm-up's share of the run is that of the published one.
  share = ours.optimizer.warmup_epochs / ours.train.epochs
  assert share == pytest.approx(12 / 90)


def test_the_mixture_is_of_three_sets_in_the_published_shares():
  """V-JEPA 2, table 1: .188, .056, .318 of the three, and more sets."""
  run, alone = load("mix_vitb_vjepa"), load("k400_vitb_vjepa")
  weights = [share.weight for share in run.data.mixture]
  table = [0.188, 0.056, 0.318]
  assert weights == pytest.approx([x / sum(table) for x in table], abs=1e-3)
  assert (run.model, run.method) == (alone.model, alone.method)
  assert not run.data.train and len(run.data.trained_on) == 3
  warmup = run.optimizer.warmup_epochs * 2_001_000 / run.train.batch_size
  assert (round(warmup), run.train.steps) == (12_000, 90_000)


@pytest.mark.parametrize("trains", ["all", "head"])
def test_toy_evaluations_are_longer_than_their_warm_up(trains):
  config = recipes.toy_supervised("motion", trains)
  epoch = 6000 / config.train.batch_size  # of the toy clips
  assert config.optimizer.warmup_epochs * epoch < config.train.steps / 5


def test_dino_on_clips_is_trained_as_dinos_vit_b():
  """The args file of its ViT-B/16, but for outputs, batch and drop path."""
  run = load("k400_vitb_dino")
  options, optimizer_ = run.method, run.optimizer
  scale = run.train.batch_size / 256
  assert (options.name, options.hidden, options.bottleneck) == (
    *("clip_dino", 2048, 256),
  )
  assert (options.temperature_start, options.temperature) == (0.04, 0.07)
  assert (options.temperature_epochs, options.freeze_epochs) == (50, 3)
  assert (options.momentum, options.momentum_end) == (0.996, 1.0)
  assert (options.centre_momentum, options.student_temperature) == (0.9, 0.1)
  assert (optimizer_.weight_decay, optimizer_.weight_decay_end) == (0.04, 0.4)
  assert (optimizer_.clip_norm, optimizer_.clip_by) == (0.3, "parameter")
  assert (optimizer_.b2, optimizer_.warmup_epochs) == (0.999, 10)
  assert optimizer_.base_lr == 7.5e-4
  assert optimizer_.min_lr * scale == pytest.approx(2e-6)
  assert run.model.pool_normed  # as the head takes tokens


def test_swav_on_clips_has_the_published_crops_and_loss():
  """SlowFast's SwAV of Kinetics; its queue is SwAV's own for small batches."""
  run = load("k400_vitb_swav")
  options = run.method
  assert (run.data.min_area, run.data.max_area) == (0.2, 0.766)
  assert options.jitter == (0.6, 0.6, 0.6, 0.15) and options.grey_prob == 0.2
  assert (options.prototypes, options.dim, options.hidden) == (1000, 128, 2048)
  assert (options.epsilon, options.rounds, options.temperature) == (
    *(0.05, 3, 0.1),
  )
  assert (options.queue, options.queue_epochs) == (3840, 15)
  assert options.freeze_epochs == 1 and options.local_views == 0
