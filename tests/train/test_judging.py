"""Evaluations in the run: when, by what, and that nothing else changes."""

import json
import types

import jax
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.interop import store
from sigma_jax.train import checkpoint, judging, metrics

# By step; the best one is that of step 2, the first of two alike.
KNN = {1: 0.25, 2: 0.75, 3: 0.5, 4: 0.75, 5: 0.5, 6: 0.25}


class Score:
  """Gives KNN's numbers, and the mean square of the encoder that it is shown.

  `stop_at`: at this call it ends the run as a signal does.
  """

  def __init__(self, first_step, every, stop_at=None):
    self._step, self._every, self._stop_at = first_step, every, stop_at
    self.shown = []

  def __call__(self, encoder):
    self.shown.append(self._step)
    if len(self.shown) == self._stop_at:
      raise errors.Interrupted("stopped by Ctrl-C within an evaluation")
    step, self._step = self._step, self._step + self._every
    square = sum(float((leaf**2).mean()) for leaf in jax.tree.leaves(encoder))
    return {"knn": KNN[step], "linear": square, "num_test": 7}


@pytest.fixture(scope="module")
def judged(tiny, change):
  """`tiny` with an evaluation after steps 2, 4, 6; all are saved."""
  return change(tiny, evaluate__every=2, train__keep=9)


@pytest.fixture(scope="module")
def unbroken(judged, pretrain, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("judged")
  pretrain(judged, workdir, score=Score(2, 2))
  return workdir


def scores(workdir):
  """(step, knn, linear) of each line."""
  rows = judging.read(workdir)
  return [(row["step"], row["knn"], row["linear"]) for row in rows]


def end_of(workdir):
  params, step = checkpoint.restore_params(workdir)
  return step, jax.tree.map(np.asarray, params)


def test_evaluations_change_nothing_of_what_is_trained(
  tiny, change, pretrain, unbroken, tmp_path
):
  plain = change(tiny, train__keep=9)
  pretrain(plain, tmp_path)
  assert not (tmp_path / judging.EVALUATIONS).exists()
  (step, wanted), (last, found) = map(end_of, (tmp_path, unbroken))
  assert step == last == 6
  jax.tree.map(np.testing.assert_array_equal, found, wanted)
  curves = [
    [
      (row["step"], row["loss"], row["grad_norm"])
      for row in metrics.read(folder)
    ]
    for folder in (tmp_path, unbroken)
  ]
  assert curves[0] == curves[1]
  assert [step for step, *_ in curves[0]] == [1, 2, 3, 4, 5, 6]


def test_an_evaluation_is_of_its_steps_encoder(unbroken, tiny):
  """The mean square of the last checkpoint's encoder is the last line's."""
  assert [row[:2] for row in scores(unbroken)] == [
    (2, 0.75),
    (4, 0.75),
    (6, 0.25),
  ]
  encoder = end_of(unbroken)[1]["encoder"]
  square = sum((leaf**2).mean() for leaf in jax.tree.leaves(encoder))
  assert scores(unbroken)[-1][2] == pytest.approx(float(square), rel=1e-5)
  line = judging.read(unbroken)[-1]
  assert line["num_test"] == 7 and isinstance(line["num_test"], int)
  assert line["seconds"] >= 0
  assert not (unbroken / judging.BEST).exists()  # nobody asked for it


def test_a_slow_encoder_is_what_is_evaluated(judged, tmp_path):
  """Of a method that says so; it is brought whole to every device."""
  from sigma_jax.train import mesh as mesh_lib
  from sigma_jax.train import state

  seen = []
  mesh = mesh_lib.make(judged.mesh)
  judge = judging.Judging(
    tmp_path,
    judged,
    mesh,
    lambda encoder: seen.append(encoder) or {"knn": 0.5},
    ("slow", "teacher"),
  )
  split = jax.device_put(
    np.arange(2**16, dtype=np.float32),
    mesh_lib.batch_sharding(mesh),
  )
  params = {"encoder": {"w": split * 0}}
  now = state.TrainState(2, params, (), {"teacher": {"w": split}})
  judge._scores(now)
  (found,) = seen
  assert found["w"].sharding.is_fully_replicated
  np.testing.assert_array_equal(found["w"], split)


@pytest.mark.parametrize("stop_at", [2, 3])  # the third is that of the end
def test_a_run_that_is_stopped_within_an_evaluation_loses_nothing(
  stop_at, judged, pretrain, unbroken, tmp_path, capsys
):
  with pytest.raises(errors.Interrupted):
    pretrain(judged, tmp_path, score=Score(2, 2, stop_at))
  step = 2 * stop_at
  assert end_of(tmp_path)[0] == step
  assert [row[0] for row in scores(tmp_path)] == list(range(2, step, 2))
  capsys.readouterr()
  score = Score(step, 2)
  pretrain(judged, tmp_path, score=score)
  assert score.shown == list(range(step, 7, 2))  # that one first
  assert f"resuming after step {step}" in capsys.readouterr().out
  assert scores(tmp_path) == scores(unbroken)
  jax.tree.map(
    np.testing.assert_array_equal, end_of(tmp_path)[1], end_of(unbroken)[1]
  )
  # Nothing is left to do: neither training nor an evaluation.
  again = Score(6, 2)
  pretrain(judged, tmp_path, score=again)
  assert again.shown == []
  assert scores(tmp_path) == scores(unbroken)


def test_a_killed_run_evaluates_again_what_it_trains_again(
  judged, pretrain, unbroken, tmp_path
):
  with pytest.raises(KeyboardInterrupt):  # after step 4; step 3 is saved
    pretrain(judged, tmp_path, stop_before=5, score=Score(2, 2))
  assert end_of(tmp_path)[0] == 3
  assert [row[0] for row in scores(tmp_path)] == [2, 4]
  score = Score(4, 2)
  pretrain(judged, tmp_path, score=score)
  assert score.shown == [4, 6]
  assert scores(tmp_path) == scores(unbroken)
  replaced = (tmp_path / "evaluations_replaced.jsonl").read_text()
  assert [json.loads(text)["step"] for text in replaced.splitlines()] == [4]


def kept(workdir):
  return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_the_best_checkpoint_stays_and_is_known_after_a_stop(
  judged, change, pretrain, tmp_path
):
  settings = change(
    judged,
    evaluate__every=1,
    train__keep=1,
    train__keep_best=True,
    train__checkpoint_every=100,
  )
  with pytest.raises(errors.Interrupted):
    pretrain(settings, tmp_path, score=Score(1, 1, stop_at=4))
  assert kept(tmp_path) == [2, 4]
  best = {"step": 2, "by": "knn", "score": 0.75}
  assert json.loads((tmp_path / judging.BEST).read_text()) == best
  (tmp_path / judging.BEST).unlink()  # what counts are the evaluations
  pretrain(settings, tmp_path, score=Score(4, 1))
  assert kept(tmp_path) == [2, 6]
  # It can be named, to be judged in full.
  named = tmp_path / "checkpoints" / "2"
  params, step = checkpoint.restore_params(named)
  assert step == 2 and checkpoint.restore_params(tmp_path)[1] == 6
  squares = [
    np.square(leaf).mean() for leaf in jax.tree.leaves(params["encoder"])
  ]
  linear = judging.read(tmp_path)[1]["linear"]
  assert sum(map(float, squares)) == pytest.approx(linear, rel=1e-5)
  assert store.read(named).step == 2
  with pytest.raises(
    errors.UserError, match="no complete checkpoint of step 3"
  ):
    checkpoint.restore_params(tmp_path / "checkpoints" / "3")
  assert json.loads((tmp_path / judging.BEST).read_text()) == best


def test_a_checkpoint_that_is_gone_is_not_the_best(judged, change, tmp_path):
  settings = change(judged, train__keep_best=True)
  lines = [json.dumps({"step": k, "knn": v}) + "\n" for k, v in KNN.items()]
  (tmp_path / judging.EVALUATIONS).write_text("".join(lines))
  for saved, best in (([2, 4], 2), ([3, 4], 4), ([1, 3, 4], 4)):
    judge = judging.Judging(tmp_path, settings, None, lambda _: {}, ("", ""))
    judge.begin(5, 6, saved)
    assert judge.best_step == best
    note = json.loads((tmp_path / judging.BEST).read_text())
    assert note == {"step": best, "by": "knn", "score": 0.75}


def test_what_an_evaluation_notes_draws_and_says(
  judged, change, tmp_path, monkeypatch, capsys
):
  """best.json names no checkpoint before that is complete."""
  settings = change(judged, train__keep_best=True)
  told, drawn, left_out = [], [], []
  judge = judging.Judging(tmp_path, settings, None, None, ("", ""))
  judge.begin(0, 6, [])
  scores = {"knn": 0.5, "linear": 0.75, "chance": 0.1}
  scores |= {"knn_hue": 0.4, "linear_hue": 0.7, "knn_way": 0.6}
  monkeypatch.setattr(judge, "_scores", lambda state: scores)
  judge(
    2,
    None,
    types.SimpleNamespace(
      wait=lambda: told.append((tmp_path / judging.BEST).exists())
    ),
    types.SimpleNamespace(draw=lambda *each: drawn.append(each)),
    types.SimpleNamespace(leave_out=left_out.append),
  )
  seconds = judging.read(tmp_path)[0]["seconds"]
  assert judging.read(tmp_path) == [{"step": 2, **scores, "seconds": seconds}]
  wanted = {f"evaluation/{name}": value for name, value in scores.items()}
  assert drawn == [(2, wanted | {"evaluation/seconds": seconds})]
  assert len(left_out) == 1 and left_out[0] >= seconds
  assert capsys.readouterr().out == (
    "step 2/6  evaluation  kNN 50.0% (hue 40.0%, way 60.0%)  linear 75.0% (hue "
    "70.0%)  chance 10.0%  best kNN 50.0% at step 2  "
    f"({seconds:.1f} s)\n"
  )
  assert told == [False] and (tmp_path / judging.BEST).exists()


def test_a_negative_interval_is_refused(tiny, change):
  with pytest.raises(ValueError, match=r"evaluate.every must not be negative"):
    change(tiny, evaluate__every=-1)
