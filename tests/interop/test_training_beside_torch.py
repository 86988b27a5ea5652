"""Five optimiser steps of ours beside PyTorch's AdamW on the same masks."""

import dataclasses

import jax
import numpy as np
import optax

from sigma_jax import keys, masking
from sigma_jax.interop import golden_case, published
from sigma_jax.interop import layout as layout_lib
from sigma_jax.methods import guided
from sigma_jax.models import sigma
from sigma_jax.train import optimizer as optimizer_lib
from sigma_jax.train import state as state_lib
from sigma_jax.train import steps

STEPS = 5


def _settings(case):
  """The golden mlp case as a run, with a rate that moves weights visibly."""
  run = layout_lib.to_settings(case.layout, num_frames=16, size=64)
  return dataclasses.replace(
    run,
    seed=3,
    masking=dataclasses.replace(run.masking, ratio=0.75),
    optimizer=dataclasses.replace(
      run.optimizer, base_lr=0.064, min_lr=0.0064, warmup_epochs=2.0
    ),
  )


def _ours(settings, case, optimizer, schedule):
  """Losses and published tensors after the steps."""
  params = jax.tree.map(jax.numpy.asarray, case.params)
  state = state_lib.TrainState(
    jax.numpy.zeros((), jax.numpy.int32), params, optimizer.init(params)
  )
  step = jax.jit(steps.pretrain_step(settings, optimizer, schedule))
  losses = []
  for _ in range(STEPS):
    state, metrics = step(state, {}, {"video": case.arrays["video"]})
    losses.append(float(metrics["loss"]))
  params = jax.tree.map(np.asarray, state.params)
  return losses, published.from_params(params, case.layout)


def _mask(settings, step):
  """The mask that the training step of this number draws."""
  key = keys.of_step(settings.seed, step)
  return masking.to_bool(guided.masks(settings, np.zeros((2, 0)), key))


def _theirs(reference, settings, case, schedule):
  torch = reference.torch
  sizes = case.options["state_dict"]
  weights = reference.tensors(sizes)
  plain = [
    name
    for name, shape in sizes.items()
    if len(shape) == 1 or name == "mask_token"
  ]
  groups = [
    {"params": [weights[n] for n in plain], "weight_decay": 0.0},
    {"params": [t for n, t in weights.items() if n not in plain]},
  ]
  adam = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), weight_decay=0.05)
  video, losses = torch.tensor(case.arrays["video"]), []
  for step in range(STEPS):
    for group in adam.param_groups:
      group["lr"] = float(schedule(step))
    mask = torch.tensor(np.array(_mask(settings, step)))
    out = reference.forward(weights, case.options, video, mask)
    adam.zero_grad()
    out["loss_hard"].backward()
    adam.step()
    losses.append(out["loss_hard"].item())
  return losses, {n: t.detach().numpy() for n, t in weights.items()}


def test_five_steps_agree(reference, golden_dir):
  case = golden_case.load(golden_dir / "pretrain_mlp")
  settings = _settings(case)
  assert sigma.abstract(settings).params == layout_lib.shapes(case.layout)
  optimizer, schedule = optimizer_lib.make(
    settings.optimizer, batch_size=2, total_steps=STEPS, steps_per_epoch=1
  )
  assert isinstance(optimizer, optax.GradientTransformation)
  losses, ours = _ours(settings, case, optimizer, schedule)
  expected, theirs = _theirs(reference, settings, case, schedule)
  np.testing.assert_allclose(losses, expected, rtol=1e-4)
  assert losses[-1] < losses[0]
  for name, start in case.weights.items():
    moved = np.linalg.norm(theirs[name] - start)
    assert moved > 0, name
    # Adam divides by the gradient's size: where that is nearly zero, rounding
    # alone decides the direction. Hence the norm over the whole tensor.
    assert np.linalg.norm(ours[name] - theirs[name]) < 0.01 * moved, name
