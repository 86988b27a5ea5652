"""Options given beside a config: the last word, and who hears it."""

import dataclasses
import functools
import itertools
import pathlib
import re

import pytest

from sigma_jax import settings
from sigma_jax.settings import config_file, given

ROOT = pathlib.Path(__file__).parents[1]


def tree(**train):
  config = settings.Settings().to_dict()
  config["train"] |= train
  return config


def test_epochs_that_are_given_set_the_length():
  config = tree(steps=150, epochs=3.0)
  given.settle(config, ["train.epochs"])
  assert config["train"]["steps"] == 0
  # The config's own epochs do not: there the steps do.
  config = tree(steps=150)
  given.settle(config, ["train.steps", "seed"])
  assert config["train"]["steps"] == 150
  config = tree(steps=0, epochs=3.0)
  given.settle(config, ["train.steps", "train.epochs"])
  assert config["train"]["epochs"] == 3.0
  with pytest.raises(ValueError, match="give one of them"):
    given.settle(tree(steps=9), ["train.steps", "train.epochs"])


def test_one_set_that_is_given_takes_the_place_of_several():
  config = tree()
  config["data"] |= {"mixture": [["a", 1.0]], "train": "b"}
  given.settle(config, ["data.train"])
  assert not config["data"]["mixture"] and config["data"]["train"] == "b"
  config["data"] |= {"mixture": [["a", 1.0]]}
  given.settle(config, ["data.mixture", "seed"])
  assert config["data"]["mixture"] and not config["data"]["train"]
  config["data"]["train"] = "b"
  given.settle(config, ["data.mixture", "data.train"])
  with pytest.raises(ValueError, match="both say what is trained on"):
    settings.Settings.from_config(config)
  # As text, as grids and `set` have it.
  before = settings.Settings.from_config({"data": {"train": "b"}})
  made = config_file.changed(before, {"data.mixture": "(('~/x', 2), ('y', 1))"})
  assert [share.weight for share in made.data.mixture] == [2.0, 1.0]
  assert made.data.trained_on[0].endswith("/x") and "~" not in str(made.data)


@pytest.mark.parametrize(
  ("changes", "key", "why"),
  [
    ({}, "augment.mixup", "task 'pretrain' does not read it"),
    ({}, "evaluate.test", "evaluate.every is 0"),
    ({}, "train.keep_best", "evaluate.every is 0"),
    ({"task": "probe"}, "evaluate.every", "task 'probe' does not read it"),
    ({}, "data.min_area", "data.crop is 'multiscale'"),
    ({"data__sampling": "segments"}, "data.stride", "is 'segments'"),
    ({"data__crop": "center"}, "data.scales", "data.crop is 'center'"),
    ({}, "target.variant", "target.kind is 'mlp'"),
    ({"target__kind": "dino"}, "target.dim", "target.kind is 'dino'"),
    ({"loss__kind": "l2"}, "loss.epsilon", "loss.kind is 'l2'"),
    ({}, "masking.direction", "masking.kind is 'tube'"),
    ({"task": "probe"}, "train.steps", "task 'probe' does not read it"),
    ({"task": "probe"}, "data.size", "as init's run did"),
    ({"task": "probe"}, "model.encoder_dim", "the model is that of init"),
    ({"task": "probe"}, "data.crop", "task 'probe' does not read it"),
    ({"task": "segmentation"}, "mesh.fsdp", "task 'segmentation'"),
    ({"task": "segmentation"}, "target.dtype", "teacher is not set"),
    ({"task": "segmentation"}, "data.workers", "task 'segmentation'"),
    ({"task": "supervised"}, "loss.rounds", "task 'supervised'"),
    ({"task": "supervised"}, "model.decoder_dim", "task 'supervised'"),
    ({"task": "supervised"}, "supervised.holdout", "rates is one value"),
    ({"task": "supervised"}, "supervised.val_targets", "'classes'"),
    (
      {"task": "supervised", "init": "a"},
      "model.patch",
      "the model is that of init",
    ),
    (
      {"task": "supervised", "supervised__trains": "head"},
      "supervised.layer_decay",
      "supervised.trains is 'head'",
    ),
    (
      {"task": "supervised", "augment__mixup": 0.0},
      "augment.switch_prob",
      "not both on",
    ),
    (
      {"task": "supervised", "augment__num_ops": 0},
      "augment.magnitude",
      "num_ops is 0",
    ),
  ],
)
def test_what_has_no_effect_is_refused(change, changes, key, why):
  run = change(settings.Settings(), **changes)
  given.check_read(run, [])
  with pytest.raises(ValueError) as caught:
    given.check_read(run, ["seed", key])
  for text in (f"config.{key} would have no effect", why, "leave it out"):
    assert text in str(caught.value)


@pytest.mark.parametrize(
  ("changes", "keys"),
  [
    ({}, "data.scales data.stride data.flip loss.rounds masking.ratio"),
    ({}, "target.dim target.hidden mesh.fsdp train.accumulate model.patch"),
    ({}, "evaluate.every"),
    ({"evaluate__every": 9}, "evaluate.clips train.keep_best evaluate.train"),
    ({"target__kind": "dino"}, "target.weights target.variant target.dtype"),
    ({"data__crop": "random_resized"}, "data.min_area"),
    ({"task": "probe"}, "probe.layer data.sampling mesh.fsdp data.root init"),
    ({"task": "segmentation"}, "segmentation.clusters data.size data.val"),
    ({"task": "segmentation"}, "model.encoder_dim data.stride"),
    ({"task": "segmentation", "init": "a"}, "model.table_grid data.size"),
    (
      {"task": "segmentation", "segmentation__teacher": "dino_vits16"},
      "target.dtype",
    ),
    (
      {"task": "supervised", "init": "a"},
      "model.dtype model.remat model.attention model.table_grid "
      "supervised.rates data.size optimizer.base_lr augment.switch_prob "
      "supervised.label_set "
      "data.label_sets",
    ),
    (
      {"task": "supervised", "supervised__trains": "head",
       "supervised__rates": (1.0, 2.0)},
      "supervised.holdout supervised.ema",
    ),
  ],
)  # fmt: skip
def test_what_is_read_is_not_refused(change, changes, keys):
  given.check_read(change(settings.Settings(), **changes), keys.split())


def test_rules_name_options_that_exist(change):
  """Of all kinds of runs: a renamed option would never be refused."""
  valid = settings.Settings().to_dict()
  names = set()
  for task, init, kind, off in itertools.product(
    ("pretrain", "probe", "supervised", "segmentation"),
    ("", "a"),
    ("mlp", "dino", "pixel"),
    (False, True),
  ):
    run = change(
      settings.Settings(),
      task=task,
      init=init,
      target__kind=kind,
      loss__kind="l2" if kind == "pixel" else "assignment",
      **(OFF if off else {}),
    )
    for found, why in [*given._of_task(run), *given._of_values(run)]:
      assert why
      names |= set(found.split())
  for name in names:
    section, _, key = name.partition(".")
    assert key in valid[section] if key else section in valid, name
  assert len(names) > 50


OFF = {
  "augment__num_ops": 0,
  "augment__erase_prob": 0.0,
  "augment__mixup": 0.0,
  "data__sampling": "segments",
  "data__crop": "center",
  "supervised__trains": "head",
  "supervised__targets": "count",
  "supervised__train_targets": "a",
  "supervised__val_targets": "b",
  "segmentation__teacher": "dino_vits16",
}


def commands():
  """(file, config, options) of every command that the project shows."""
  for pattern in ("README.md", "docs/**/*.md", "configs/**/*.py", "launch/*"):
    for path in sorted(ROOT.glob(pattern)):
      if path.suffix not in (".md", ".py", ".sh", ".sbatch"):
        continue
      text = path.read_text().replace("\\\n", " ")
      for line in text.splitlines():
        config = re.search(r"--config=([\w/]+(?:\.py)?(?::\w+)?)(?:\s|$)", line)
        keys = re.findall(r"--config\.([a-z_.0-9]+)=", line)
        if config and keys and config[1] != "my_config.py":
          yield path, config[1], keys


def test_no_command_that_we_show_is_refused():
  found = list(commands())
  assert len(found) > 60
  for path, config, keys in found:
    run = config_file.load(config)
    if "init" in keys:
      run = settings.Settings.from_config(run.to_dict() | {"init": "somewhere"})
    if "evaluate.every" in keys:
      evaluate = {"evaluate": {"every": 9}}
      run = settings.Settings.from_config(run.to_dict() | evaluate)
    if "masking.flow" in keys:
      masking = dataclasses.replace(run.masking, flow="raft_small")
      run = dataclasses.replace(run, masking=masking)
    try:
      given.check_read(run, keys)
    except ValueError as error:
      pytest.fail(f"{path}: {config}: {error}")


def test_a_run_gives_all_weights_and_a_file_may_not(tmp_path):
  (tmp_path / "checkpoints").mkdir()
  read = functools.partial(given.unread, key="model.init")
  config = settings.Settings(init=str(tmp_path))
  assert read(config) == "all weights are those of init"
  for init in ("", "x.pth", "hf"):
    assert read(settings.Settings(init=init)) == ""
  (tmp_path / "imported.json").touch()
  assert read(config) == ""


@pytest.mark.parametrize(
  ("options", "key", "why"),
  [
    ({}, "model.decoder_dim", "method 'clip_swav' has no decoder"),
    ({}, "method.local_size", "method.local_views is 0"),
    ({}, "method.queue_epochs", "method.queue is 0"),
    ({"jitter_prob": 0.0}, "method.jitter", "method.jitter_prob is 0"),
    ({"blur_prob": (0.0,) * 3}, "method.blur", "method.blur_prob is 0"),
    ({}, "masking.ratio", "method.name is 'clip_swav'"),
  ],
)
def test_a_method_says_which_options_have_no_effect(options, key, why):
  def run(**options):
    config = {"method": {"name": "clip_swav", **options}}
    return settings.Settings.from_config(config)

  with pytest.raises(ValueError, match=why):
    given.check_read(run(**options), [key])
  read = "method.local_size method.queue_epochs method.jitter method.blur"
  given.check_read(run(local_views=2, queue=8), read.split())
