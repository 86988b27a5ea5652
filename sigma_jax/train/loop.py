"""The one training loop: read it top to bottom.

Methods differ by their step function and their config, never by their loop.
"""

import contextlib
import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.methods import method as method_lib
from sigma_jax.train import (
  ahead,
  checkpoint,
  continuing,
  feed,
  judging,
  layout,
  metrics,
  optimizer,
  preemption,
  profiling,
  state,
  steps,
)
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import workdir as workdir_lib

# Steps that the host may be ahead of the devices.
_AHEAD = 4
_SHOWN = "epochs/"


def total_steps(settings: settings_lib.Settings, num_examples: int) -> int:
  """Steps of the run: train.steps, or train.epochs over the examples."""
  if settings.train.steps > 0:
    return settings.train.steps
  return math.ceil(
    settings.train.epochs * num_examples / settings.train.batch_size
  )


def _clips_alone(video: jax.Array) -> dict[str, jax.Array]:
  return {"video": video}


@dataclasses.dataclass(frozen=True)
class Job:
  """What is trained: a method of pre-training, or a model with labels.

  Attributes:
    make_step: (settings, optimiser, schedule, mesh) -> the step.
    fresh: how a fresh run begins.
    inputs: entries of a batch that the step reads.
    batch: clips, uint8 [b, t, h, w, 3] -> a batch with all `inputs`; jit-able.
      It gives the shapes.
    optimizer: further arguments of `optimizer.make`.
    signs: of a collapse, as of `methods.method.Method`; None: nothing can.
    shown: metrics of the progress line.
    evaluated: the encoder that evaluations take, as of `Method`.
  """

  make_step: Callable[..., steps.Step]
  fresh: state.Fresh
  inputs: tuple[str, ...] = ("video",)
  batch: Callable[[jax.Array], dict[str, jax.Array]] = _clips_alone
  optimizer: dict[str, Any] = dataclasses.field(default_factory=dict)
  signs: Callable[..., dict[str, str]] | None = None
  shown: tuple[str, ...] = ()
  evaluated: tuple[str, str] = ("params", "encoder")


def job_of(method: method_lib.Method) -> Job:
  """A method of pre-training, as it is trained."""
  return Job(
    make_step=functools.partial(steps.pretrain_step, method=method),
    fresh=state.of_method(method),
    inputs=(*method.inputs, *(view.name for view in method.views())),
    batch=method.batch,
    optimizer=method.optimizer(),
    signs=method.signs,
    shown=method.shown,
    evaluated=method.evaluated,
  )


def pretrain(
  settings: settings_lib.Settings,
  workdir: str | pathlib.Path,
  *,
  num_examples: int,
  **options,
) -> dict[str, float]:
  """`run` of the settings' method; returns the last step's metrics."""
  length = method_lib.Length(
    total_steps(settings, num_examples),
    num_examples / settings.train.batch_size,
  )
  method = method_lib.of(settings, length)
  return run(
    settings, workdir, job_of(method), num_examples=num_examples, **options
  )[1]


@preemption.watching()
def run(
  settings: settings_lib.Settings,
  workdir: str | pathlib.Path,
  job: Job,
  *,
  num_examples: int,
  open_batches: Callable[[int], Iterator[dict[str, np.ndarray]]],
  file_name: Callable[[int], str],
  account: Callable[[int, bool], None] | None = None,
  counts: Callable[[int], dict[str, float]] = lambda step: {},
  frozen: dict | None = None,
  initial: dict | None = None,
  score: judging.Score | None = None,
  profile_steps: range = range(0),
) -> tuple[state.TrainState, dict[str, float]]:
  """Trains, or resumes from the workdir's newest checkpoint.

  Args:
    settings: the run.
    workdir: config.json, metrics.jsonl, tensorboard/ and checkpoints/ go here.
    job: what is trained, and how.
    num_examples: length of an epoch in clips.
    open_batches: start step -> endless iterator of this process's batches
      {"video": uint8 [b, t, h, w, 3], "index": int32 [b], ...}.
    file_name: manifest row -> file, for messages.
    account: told of every step that is looked at, and whether it is saved;
      called by all processes at once.
    counts: step -> further figures of a line of metrics; the progress line has
      those that begin with "epochs/".
    frozen: weights that are not trained, as host arrays, where there are any.
    initial: parameters that a fresh run starts from instead of random ones.
    score: evaluates an encoder, every `evaluate.every` steps.
    profile_steps: steps that are traced by JAX's profiler into profile/.

  Returns:
    The state after the last step, and that step's metrics: {} where the run
    was complete before.

  Raises:
    UserError: settings that do not fit the devices or the workdir.
    RunStopped: the loss became non-finite, or no checkpoint can be written.
    Preempted: SIGTERM or Ctrl-C came; what was trained is saved.
  """
  # --- devices, optimiser, state ---------------------------------------------
  mesh = mesh_lib.make(settings.mesh)
  mesh_lib.host_batch(
    settings.train.batch_size, mesh, settings.train.accumulate
  )
  total = total_steps(settings, num_examples)
  profiling.check(profile_steps, total)
  tx, schedule = optimizer.make(
    settings.optimizer,
    batch_size=settings.train.batch_size,
    total_steps=total,
    steps_per_epoch=num_examples / settings.train.batch_size,
    **job.optimizer,
  )
  _warn_of_warmup(settings, num_examples, total)
  differing = continuing.changes(workdir, settings)
  judge = judging.Judging(workdir, settings, mesh, score, job.evaluated)
  checkpoints = checkpoint.Checkpointer(
    workdir, settings.train, lambda: judge.best_step
  )
  complete = (checkpoints.latest or 0) >= total
  if not complete:
    continuing.check(workdir, settings, differing)
  shape = settings, tx, mesh
  wanted = state.abstract(*shape, job.fresh)
  start, train_state = checkpoints.restore_newest(
    wanted, settings.train.start_over
  ) or (0, state.create(*shape, initial, job.fresh, wanted))
  if complete:
    continuing.leave(workdir, differing)
  else:
    continuing.settle(workdir, settings, differing, start)
    workdir_lib.begin(workdir)
  judge.begin(start, total, checkpoints.steps)
  frozen = jax.device_put(frozen or {}, mesh_lib.replicated(mesh))
  _announce(settings, mesh, train_state, start, total)

  # --- step, data, outputs ---------------------------------------------------
  train_state = layout.fit(train_state, mesh)
  step_fn = steps.jit(
    job.make_step(settings, tx, schedule, mesh), mesh, train_state
  )
  if start < total:
    expected = ahead.batch(settings, mesh, job.batch, job.inputs)
    step_fn = ahead.Step(step_fn, train_state, frozen, expected)
  batches = feed.Feed(open_batches(start), mesh, job.inputs)
  writer = metrics.Writer(workdir, start)
  shown = [name for name in counts(start) if name.startswith(_SHOWN)]
  progress = metrics.Progress(
    start, total, settings.train.batch_size, (*job.shown, *shown)
  )
  watch = metrics.Watch(job.signs) if job.signs else None
  for row in metrics.read(workdir) if watch else ():
    watch.check(row["step"], row)
  pending: list[tuple[int, np.ndarray, Any]] = []
  last: dict[str, float] = {}

  profile = profiling.Profile(workdir, profile_steps)

  # --- the loop --------------------------------------------------------------
  try:
    preemption.poll(f" before step {start + 1}, with nothing new to save")
    if judge.due(start):  # it was interrupted, or killed, before
      judge(start, train_state, checkpoints, writer, progress)
    for step in range(start + 1, total + 1):
      profile.before(step)
      batch, rows = next(batches)
      train_state, device_metrics = step_fn(train_state, frozen, batch)
      pending.append((step, rows, device_metrics))
      # Devices always have steps queued; more than these would hold batches.
      jax.block_until_ready(pending[-_AHEAD:][0][2])
      stop_now = preemption.asked()
      log_now = step % settings.train.log_every == 0 or step == total
      save_now = step % settings.train.checkpoint_every == 0 or step == total
      judge_now = judge.due(step)
      save_now |= judge.saves(step)
      if log_now or save_now or stop_now or judge_now:
        # The only look at the losses: all of them since the last one, so that
        # a checkpoint never holds what a non-finite step left behind.
        last = _drain(pending, checkpoints, file_name)
        if account is not None:
          account(step, save_now or stop_now)
      if log_now:
        checkpoints.check()
        for text in watch.check(step, last) if watch else ():
          metrics.say(f"warning: step {step}: collapse: {text}")
        last |= counts(step)
        writer.write(step, last | progress.line(step, last, batches.waited))
      if save_now or stop_now:
        checkpoints.save(step, layout.stack(train_state))
      if stop_now and step < total:
        checkpoints.wait()
        raise preemption.stop(f" after step {step}, which is saved")
      if judge_now:
        judge(step, train_state, checkpoints, writer, progress)
  finally:
    # Each of them, whatever another meets: the checkpoints are closed last.
    with contextlib.ExitStack() as closing:
      for part in (checkpoints, writer, batches, profile):
        closing.callback(part.close)
  workdir_lib.end(workdir, total)
  return layout.stack(train_state), last


def _drain(
  pending: list, checkpoints: checkpoint.Checkpointer, file_name
) -> dict[str, float]:
  """Fetches the steps since the last call; returns the newest's metrics.

  Raises:
    RunStopped: one of them had a non-finite loss or gradient.
  """
  fetched = metrics.fetch([values for _, _, values in pending])
  for (step, rows, _), values in zip(pending, fetched, strict=True):
    bad = [k for k in ("loss", "grad_norm") if not math.isfinite(values[k])]
    if bad:
      good = checkpoints.latest
      files = ", ".join(file_name(int(row)) for row in rows)
      raise errors.RunStopped(
        f"{' and '.join(bad)} not finite at step {step}; last good checkpoint: "
        f"{f'step {good}' if good is not None else 'none'}; lower "
        "optimizer.base_lr, set optimizer.clip_norm, or look at this batch's "
        f"files: {files}"
      )
  pending.clear()
  return fetched[-1]


def _warn_of_warmup(settings, num_examples: int, total: int) -> None:
  """Says before the first step that the rate will never fall."""
  epoch = num_examples / settings.train.batch_size
  warmup = optimizer.warmup_steps(settings.optimizer, epoch)
  if warmup < total or warmup < 2:
    return
  epochs = settings.optimizer.warmup_epochs
  metrics.say(
    f"warning: the run's {total} steps are all warm-up, which would be "
    f"{warmup} (optimizer.warmup_epochs={epochs:g} of {epoch:.4g} steps): the "
    "learning rate rises to the last step; lower optimizer.warmup_epochs, or "
    "train for longer"
  )


def _announce(settings, mesh, train_state, start: int, total: int) -> None:
  count = sum(leaf.size for leaf in jax.tree.leaves(train_state.params))
  where = " x ".join(f"{axis} {n}" for axis, n in mesh.shape.items())
  fresh = f"from {settings.init}" if settings.init else "from scratch"
  metrics.say(
    f"config {settings.fingerprint()}: {count / 1e6:.2f} M parameters, "
    f"{mesh.size} {jax.devices()[0].platform} device(s) ({where}), "
    f"{f'resuming after step {start}' if start else fresh}, "
    f"{total} steps"
  )
