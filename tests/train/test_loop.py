"""The loop in this process: resuming, stopping at NaN, what it leaves."""

import json
import types

import jax
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.models import sigma
from sigma_jax.train import checkpoint, loop, metrics, steps


def params_of(workdir):
  params, step = checkpoint.restore_params(workdir)
  return step, jax.tree.map(np.asarray, params)


@pytest.fixture(scope="module")
def unbroken(tiny, pretrain, tmp_path_factory):
  """A finished run's workdir and last metrics."""
  workdir = tmp_path_factory.mktemp("unbroken")
  return workdir, pretrain(tiny, workdir)


def test_resuming_gives_the_unbroken_run_bitwise(
  tiny, pretrain, unbroken, tmp_path, capsys
):
  unbroken, last = unbroken
  opened = []
  assert np.isfinite(last["loss"])
  with pytest.raises(KeyboardInterrupt):
    pretrain(tiny, tmp_path, stop_before=5, opened=opened)
  assert params_of(tmp_path)[0] == 3
  capsys.readouterr()
  again = pretrain(tiny, tmp_path, opened=opened)
  assert "resuming after step 3" in capsys.readouterr().out
  assert opened == [0, 3]

  (step, wanted), (last_step, found) = map(params_of, (unbroken, tmp_path))
  assert step == last_step == 6
  jax.tree.map(np.testing.assert_array_equal, found, wanted)
  assert again["loss"] == last["loss"]
  losses = [
    [(row["step"], row["loss"]) for row in metrics.read(workdir)]
    for workdir in (unbroken, tmp_path)
  ]
  assert losses[0] == losses[1]
  assert [step for step, _ in losses[0]] == [1, 2, 3, 4, 5, 6]

  # A finished run has nothing to do, and undoes nothing.
  pretrain(tiny, tmp_path, opened=opened)
  assert opened[-1] == 6
  assert params_of(tmp_path)[0] == 6
  assert len(metrics.read(tmp_path)) == 6


def test_a_run_trains_every_parameter_and_writes_its_config(tiny, unbroken):
  workdir, _ = unbroken
  assert json.loads((workdir / "config.json").read_text()) == tiny.to_dict()
  _, params = params_of(workdir)
  start = sigma.init_params(tiny, jax.random.key(tiny.seed))
  for (path, a), b in zip(
    jax.tree.leaves_with_path(params), jax.tree.leaves(start), strict=True
  ):
    assert (a != np.asarray(b)).any(), jax.tree_util.keystr(path)


def test_a_nan_stops_the_run_and_is_never_saved(
  tiny, change, pretrain, tmp_path, monkeypatch
):
  settings = change(
    tiny, train__log_every=100, train__checkpoint_every=2, train__steps=8
  )
  make = steps.pretrain_step

  def poisoned(*args, **options):
    step = make(*args, **options)

    def run(state, frozen, batch):
      after, values = step(state, frozen, batch)
      bad = state.step == 2  # the third step
      poison = jax.numpy.where(bad, jax.numpy.float32("nan"), 1.0)
      params = jax.tree.map(lambda leaf: leaf * poison, after.params)
      return after._replace(params=params), values | {
        "loss": values["loss"] * poison
      }

    return run

  monkeypatch.setattr(steps, "pretrain_step", poisoned)
  with pytest.raises(errors.RunStopped) as caught:
    pretrain(settings, tmp_path)
  message = str(caught.value)
  assert "loss not finite at step 3" in message
  assert "last good checkpoint: step 2" in message
  assert "clip300.mp4, clip301.mp4" in message and "clip307.mp4" in message
  assert "clip200" not in message and "clip400" not in message
  assert "optimizer.base_lr" in message and "\n" not in message
  step, params = params_of(tmp_path)
  assert step == 2
  for leaf in jax.tree.leaves(params):
    assert np.isfinite(leaf).all()


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"loss": 1.0, "grad_norm": np.nan}, "grad_norm not finite at step 8;"),
    ({"loss": np.inf, "grad_norm": 1.0}, "loss not finite at step 8;"),
    ({"loss": np.nan, "grad_norm": np.inf}, "loss and grad_norm not finite"),
  ],
)
def test_any_step_since_the_last_look_counts(values, message):
  good = {"loss": 1.0, "grad_norm": 1.0}
  pending = [
    (step, np.asarray([step]), values if step == 8 else good)
    for step in (7, 8, 9)
  ]
  no_checkpoint = types.SimpleNamespace(latest=None)
  with pytest.raises(errors.RunStopped) as caught:
    loop._drain(pending, no_checkpoint, "row {}".format)
  assert str(caught.value).startswith(message)
  assert "last good checkpoint: none" in str(caught.value)
  assert str(caught.value).endswith("files: row 8")


def test_a_run_says_where_it_starts_and_that_it_is_all_warm_up(
  tiny, change, pretrain, tmp_path, capsys
):
  start = sigma.init_params(tiny, jax.random.key(1))
  settings = change(
    tiny, init="runs/k", optimizer__warmup_epochs=40.0, train__steps=2
  )
  pretrain(settings, tmp_path, initial=start)
  lines = capsys.readouterr().out.splitlines()
  assert "from runs/k, 2 steps" in lines[1]
  assert lines[0] == (
    "warning: the run's 2 steps are all warm-up, which would be 160 "
    "(optimizer.warmup_epochs=40 of 4 steps): the learning rate rises to the "
    "last step; lower optimizer.warmup_epochs, or train for longer"
  )
  peak = tiny.optimizer.base_lr * tiny.train.batch_size / 256
  assert lines[-1].startswith("step 2/2") and f"rate {peak:.2e}" in lines[-1]


@pytest.mark.parametrize("epochs", [0.0, 0.25, 1.25])
def test_a_warm_up_that_ends_is_not_warned_of(tiny, change, capsys, epochs):
  """Epochs of 4 steps; warm-ups of 0, 1 and 5 of 6 steps."""
  settings = change(tiny, optimizer__warmup_epochs=epochs)
  loop._warn_of_warmup(settings, 4 * tiny.train.batch_size, 6)
  assert not capsys.readouterr().out


def test_misfits_are_found_before_anything_is_written(
  tiny, change, pretrain, tmp_path
):
  for bad in (
    change(tiny, train__batch_size=12),
    change(tiny, mesh__data=3),
  ):
    with pytest.raises(errors.UserError):
      pretrain(bad, tmp_path)
  with pytest.raises(errors.UserError, match="5:7: the run has 6 steps"):
    pretrain(tiny, tmp_path, profile_steps=range(5, 8))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("steps", "epochs", "total"), [(7, 100.0, 7), (0, 2.0, 26), (0, 0.5, 7)]
)
def test_total_steps(tiny, change, steps, epochs, total):
  settings = change(tiny, train__steps=steps, train__epochs=epochs)
  assert loop.total_steps(settings, num_examples=104) == total


def test_a_fresh_run_starts_from_given_parameters(
  tiny, change, unbroken, pretrain, tmp_path
):
  start = params_of(unbroken[0])[1]
  # Without a learning rate or decay the start is where the run stays.
  still = change(tiny, optimizer__base_lr=0.0, optimizer__min_lr=0.0)
  pretrain(still, tmp_path / "a", initial=start)
  end = params_of(tmp_path / "a")[1]
  end["prototypes"] = start["prototypes"]  # these are put on the sphere
  jax.tree.map(np.testing.assert_array_equal, end, start)
  wider = change(tiny, model__encoder_dim=2 * tiny.model.encoder_dim)
  with pytest.raises(errors.UserError, match="holds another model"):
    pretrain(wider, tmp_path / "b", initial=start)
