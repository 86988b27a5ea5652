"""A run that goes on with other options."""

import dataclasses
import json

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.methods import clip_swav
from sigma_jax.train import checkpoint, continuing
from sigma_jax.train import workdir as workdir_lib


@pytest.fixture
def saved(tiny, tmp_path):
  """A workdir with the settings `tiny` and a checkpoint of step 3."""
  workdir_lib.write_config(tmp_path, tiny)
  saver = checkpoint.Checkpointer(tmp_path, tiny.train)
  saver.save(3, {"x": np.zeros(2)})
  saver.close()
  return tmp_path


def go_on(workdir, settings, step=3):
  """What a run does with its settings before it goes on."""
  found = continuing.changes(workdir, settings)
  continuing.check(workdir, settings, found)
  continuing.settle(workdir, settings, found, step)


def noted(workdir):
  file = workdir / continuing.CHANGES
  lines = file.read_text().splitlines() if file.exists() else []
  return [tuple(json.loads(line).values()) for line in lines]


def test_a_fresh_run_stores_its_settings(tiny, tmp_path):
  go_on(tmp_path, tiny, step=0)
  assert workdir_lib.read_config(tmp_path) == tiny
  # Killed before its first checkpoint, it may begin with any others.
  (tmp_path / "checkpoints").mkdir()
  assert continuing.changes(tmp_path, tiny) == []


def test_another_model_is_refused_with_its_keys(tiny, saved, change):
  other = change(
    tiny,
    model__encoder_dim=64,
    loss__num_prototypes=9,
    data__size=32,
    train__override=True,
  )
  with pytest.raises(errors.UserError) as caught:
    go_on(saved, other)
  for text in (
    "model.encoder_dim (32 there, 64 here)",
    "loss.num_prototypes (12 there, 9 here)",
    "data.size (16 there, 32 here)",
    str(saved),
    "--workdir",
  ):
    assert text in str(caught.value)
  assert workdir_lib.read_config(saved) == tiny


def test_harmless_options_may_change(tiny, saved, change, capsys):
  other = change(
    tiny,
    train__log_every=7,
    train__keep=9,
    data__workers=3,
    data__train="moved.csv",
    model__remat="full",
    model__attention="xla",
    mesh__fsdp=2,
    supervised__drop_path=0.3,  # which no pre-training reads
  )
  go_on(saved, other)
  assert "train.log_every (1 there, 7 here)" in capsys.readouterr().out
  assert workdir_lib.read_config(saved) == other and not noted(saved)


def test_what_a_message_advises_may_change_and_is_noted(tiny, saved, change):
  go_on(saved, change(tiny, train__steps=99, optimizer__clip_norm=1.0))
  go_on(saved, change(tiny, train__steps=99, optimizer__base_lr=0.1), step=4)
  assert noted(saved) == [
    (3, "optimizer.clip_norm", 0.0, 1.0),
    (3, "train.steps", 6, 99),
    (4, "optimizer.base_lr", 0.03, 0.1),
    (4, "optimizer.clip_norm", 1.0, 0.0),
  ]


@pytest.mark.parametrize(
  "changes",
  [
    {"train__batch_size": 16},
    {"seed": 1},
    {"loss__epsilon": 0.03},
    {"data__stride": 2},
    {"masking__ratio": 0.5},
    {"optimizer__weight_decay": 0.1},
    {"model__dtype": "bfloat16"},
  ],
  ids=lambda changes: next(iter(changes)),
)
def test_any_other_needs_to_be_meant(tiny, saved, change, changes):
  other = change(tiny, **changes)
  key = next(iter(changes)).replace("__", ".")
  with pytest.raises(errors.UserError, match=rf"{key} \(.* there") as caught:
    go_on(saved, other)
  assert "--config.train.override=True" in str(caught.value)
  assert workdir_lib.read_config(saved) == tiny and not noted(saved)
  go_on(saved, change(other, train__override=True))
  [(step, name, _, now)] = noted(saved)
  assert (step, name, now) == (3, key, next(iter(changes.values())))
  # From then on they are the run's own.
  go_on(saved, other)


def test_the_way_weights_were_drawn_stays_on_record(tiny, saved, change):
  workdir_lib.write_config(saved, change(tiny, model__init="xavier"))
  go_on(saved, change(tiny, train__steps=99))
  assert workdir_lib.read_config(saved).model.init == "xavier"


def test_a_complete_run_keeps_its_own(tiny, saved, change, capsys):
  found = continuing.changes(saved, change(tiny, loss__epsilon=0.5))
  continuing.leave(saved, found)
  told = capsys.readouterr().out
  assert "complete" in told and "loss.epsilon (0.05 there, 0.5 here)" in told
  assert workdir_lib.read_config(saved) == tiny


def test_options_that_shape_a_methods_state_are_refused(tiny, saved):
  """Such as a queue's length: no checkpoint of the other would fit."""
  options = clip_swav.Options(queue=8)
  workdir_lib.write_config(saved, dataclasses.replace(tiny, method=options))
  train = dataclasses.replace(tiny.train, override=True)
  for name, value in (("queue", 16), ("dim", 64), ("prototypes", 9)):
    other = dataclasses.replace(
      tiny, method=dataclasses.replace(options, **{name: value}), train=train
    )
    with pytest.raises(errors.UserError, match=rf"model: method\.{name} \("):
      go_on(saved, other)
  softer = dataclasses.replace(options, epsilon=0.03)
  go_on(saved, dataclasses.replace(tiny, method=softer, train=train))
  assert (3, "method.epsilon", 0.05, 0.03) in noted(saved)
