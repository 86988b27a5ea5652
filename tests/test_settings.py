"""Options: checked, frozen, and wrong ones named with the nearest right one."""

import dataclasses
import json

import pytest

from sigma_jax import settings

HEAD = "supervised.head"


def build(**changes):
  """Settings from the default config with dotted keys replaced."""
  config = settings.default_config()
  with config.unlocked():
    for key, value in changes.items():
      config.update_from_flattened_dict({key.replace("__", "."): value})
  return settings.Settings.from_config(config)


def test_defaults_survive_the_config():
  assert build() == settings.Settings()


def test_grid():
  assert settings.Settings().grid == (8, 14, 14)
  assert build(data__num_frames=8, data__size=32, model__patch=8).grid == (
    4,
    4,
    4,
  )


@pytest.mark.parametrize(
  ("config", "message"),
  [
    ({"sed": 1}, "unknown config key 'sed'; did you mean 'seed'?"),
    (
      {"train": {"batchsize": 1}},
      "unknown config key 'train.batchsize'; did you mean 'train.batch_size'?",
    ),
    ({"zzz": 1}, "unknown config key 'zzz'"),
    ({"seed": "1"}, "config key 'seed' must be int, got '1'"),
    ({"seed": True}, "config key 'seed' must be int, got True"),
    ({"train": {"steps": 1.5}}, "config key 'train.steps' must be int"),
    ({"train": 3}, "config key 'train' is a section, got 3"),
    ({"data": {"scales": 1.0}}, "config key 'data.scales' must be a tuple"),
    (
      {"target": {"hidden": [1, "a"]}},
      "config key 'target.hidden' must be int, got 'a'",
    ),
    ({"loss": {"labels": "sotf"}}, "loss.labels must be one of"),
    ({"loss": {"labels": "sotf"}}, "did you mean 'soft'?"),
    ({"masking": {"ratio": 1.0}}, "masking.ratio must lie in (0, 1)"),
    ({"train": {"batch_size": 0}}, "train.batch_size must be positive"),
    (
      {"model": {"encoder_heads": 7}},
      "model.encoder_dim must be divisible by model.encoder_heads, got 768 "
      "and 7",
    ),
    (
      {"model": {"table_grid": [8, 14]}},
      "model.table_grid must be three numbers from 1 up",
    ),
    ({"data": {"size": 100}}, "data.size must be divisible by model.patch"),
    (
      {"data": {"num_frames": 7}},
      "data.num_frames must be divisible by model.tubelet",
    ),
    ({"target": {"kind": "pixel"}}, "target.kind 'pixel' needs loss.kind 'l2'"),
    ({"data": {"scales": [0.5, 1.5]}}, "data.scales must lie in (0, 1]"),
    ({"data": {"max_bad_share": 2.0}}, "data.max_bad_share must lie in [0, 1]"),
    ({"data": {"min_area": 0.0}}, "data.min_area must lie in (0, 1], got 0.0"),
    ({"data": {"samples": 0}}, "data.samples must be positive, got 0"),
    (
      {"data": {"mixture": [["a"]]}},
      "'data.mixture': an entry is (path, weight) or (path, weight, root), got "
      "('a',)",
    ),
    (
      {"data": {"mixture": [["a", "1"]]}},
      "config key 'data.mixture: weight' must be float, got '1'",
    ),
    ({"data": {"mixture": "a"}}, "config key 'data.mixture' must be a tuple"),
    (
      {"data": {"mixture": [["a", 1], ["b", 0]]}},
      "data.mixture needs a path and a weight above 0 for each set, got ('b', ",
    ),
    (
      {"data": {"mixture": [["a", 1]], "train": "b"}},
      "data.train and data.mixture both say what is trained on",
    ),
    (
      {"data": {"mixture": [["a", 1]]}, "task": "supervised"},
      "data.mixture is for pre-training",
    ),
    ({"data": {"sampling": "segment"}}, "did you mean 'segments'?"),
    ({"data": {"list_form": "label"}}, "did you mean 'path,label'?"),
    ({"augment": {"magnitude": 11}}, "augment.magnitude must lie in [0, 10]"),
    ({"augment": {"erase_prob": 2}}, "augment.erase_prob must lie in [0, 1]"),
    ({"augment": {"mixup": -1.0}}, "augment.mixup must not be negative"),
    ({"probe": {"penalties": []}}, "probe.penalties needs one or more"),
    ({"segmentation": {"teacher": "dinov2_vits"}}, "mean 'dinov2_vits14'"),
    ({"segmentation": {"overlays": -1}}, "overlays must not be negative"),
    ({"segmentation": {"clusters": 0}}, "clusters must be positive, got 0"),
    ({"train": {"epochs": 0}}, "train.epochs or train.steps must be positive"),
    ({"optimizer": {"base_lr": -1.0}}, "must not be negative"),
    ({"loss": {"epsilon": 0.0005}}, "loss.epsilon must be at least 0.001"),
    (
      {"loss": {"temperature": 0.0005}},
      "loss.temperature must be at least 0.001 where model.dtype is float32",
    ),
    (
      {"loss": {"temperature": 0.004}, "model": {"dtype": "bfloat16"}},
      "loss.temperature must be at least 0.005 where model.dtype is bfloat16",
    ),
  ],
)
def test_mistakes_are_named_in_one_line(config, message):
  with pytest.raises(ValueError) as caught:
    settings.Settings.from_config(config)
  assert message in str(caught.value)
  assert "\n" not in str(caught.value)


def test_whole_numbers_are_floats_and_lists_tuples_where_wanted():
  found = settings.Settings.from_config(
    {"train": {"epochs": 3}, "data": {"scales": [1, 0.5]}}
  )
  assert type(found.train.epochs) is float
  assert found.data.scales == (1.0, 0.5)


def test_settings_are_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    settings.Settings().seed = 1


def test_json_and_back():
  found = build(train__steps=7, target__hidden=(8,))
  text = json.dumps(found.to_dict())
  assert settings.Settings.from_config(json.loads(text)) == found


def test_fingerprint_changes_with_any_option():
  def leaves(tree, prefix=""):
    for key, value in tree.items():
      if isinstance(value, dict):
        yield from leaves(value, f"{prefix}{key}.")
      else:
        yield prefix + key, value

  changed = {
    "data.list_form": "path,label",
    "data.mixture": (("a", 1.0),),
    "data.sampling": "segments",
    "data.crop": "center",
    "augment.erase_fill": "const",
    "method.name": "vjepa",
    "model.init": "xavier",
    "model.positions": "sine_3d",
    "optimizer.schedule": "stretched",
    "optimizer.stretch": 2.0,
    "optimizer.clip_by": "part",
    "model.table_grid": (8, 14, 14),
    "masking.flow": "raft_small",
    "masking.flow_dtype": "bfloat16",
    "model.dtype": "bfloat16",
    "model.remat": "full",
    "model.attention": "xla",
    "masking.kind": "random",
    "masking.direction": "published",
    "target.kind": "pixel",
    "target.variant": "dino_vits16",
    "target.dtype": "bfloat16",
    "loss.kind": "l2",
    "loss.labels": "soft",
    "loss.kernels": "keep",
    "loss.levels": (10,),
    "loss.hierarchy": "independent",
    "loss.level_scores": (1.0,),
    "loss.level_weights": (1.0,),
    "task": "probe",
    "segmentation.teacher": "dino_vits16",
    "segmentation.published": "davis",
    "supervised.trains": "head",
    "supervised.pooling": "attention",
    "supervised.targets": "count",
    "supervised.rates": (2.0,),
    "supervised.views": (1, 1),
  }
  prints = {build().fingerprint()}
  keys = list(leaves(settings.Settings().to_dict()))
  for key, value in keys:
    if key in changed:
      new = changed[key]
    elif isinstance(value, bool):
      new = not value
    elif isinstance(value, int):
      new = value * 2 if value else 2
    elif isinstance(value, float):
      new = value / 2 if value else 0.5
    elif isinstance(value, list):
      new = tuple(value[:-1])
    else:
      new = value + "x"
    config = {key: new}
    if key in ("supervised.pool_blocks", "supervised.pool_heads", HEAD):
      # Of the attentive probe alone, which changes the print too.
      probe = {"supervised.pooling": "attentive", "supervised.trains": "head"}
      assert (
        build(**probe).fingerprint() != build(**probe, **config).fingerprint()
      )
      config |= probe
    if key == "supervised.targets":
      # Counting needs files; that they are named changes the print too.
      files = {"supervised.train_targets": "a", "supervised.val_targets": "b"}
      assert (
        build(**files).fingerprint() != build(**files, **config).fingerprint()
      )
      config |= files
    if key == "target.kind":
      config["loss.kind"] = "l2"
    if key in ("model.tubelet", "model.patch", "mesh.data"):
      config[key] = 1
    prints.add(build(**config).fingerprint())
  assert len(prints) == len(keys) + 1
  assert len(build().fingerprint()) == 12


def test_default_config_refuses_new_keys():
  config = settings.default_config()
  with pytest.raises(AttributeError, match="batch_size"):
    config.train.batchsize = 3
