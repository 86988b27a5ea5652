"""What a task with labels begins from: an encoder, perhaps a released head."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import errors, settings
from sigma_jax.interop import probes, store


def with_model(config) -> tuple[settings.Settings, store.Model]:
  """The config with `init`'s model, and that model; a random one without."""
  if config.init:
    model = store.read(config.init)
    if "encoder" not in model.params:
      raise errors.UserError(f"init {config.init!r} holds no encoder")
    model = store.with_table(model, config.model.table_grid)
    trained = model.settings.model.computed_as(config.model)
    # Replacing checks again whether clips divide into its tubes.
    try:
      config = dataclasses.replace(config, model=trained).like(model.settings)
    except ValueError as error:
      raise errors.UserError(f"init {config.init!r}: {error}") from error
    return config, model
  for name in ("num_frames", "stride", "size"):
    if not getattr(config.data, name):
      raise errors.UserError(
        f"data.{name} is 0, which takes that of init's run: set "
        f"--config.init=, or --config.data.{name}="
      )
  return config, store.Model(None, {}, config)


def encoder(given: dict, fresh: dict) -> dict:
  """The encoder that heads stand on.

  Most read tokens before the encoder's last norm, the attentive one after it;
  a fine-tuned `init` has none and gets one of no effect.

  Args:
    given: parameters of `init`; {} without one.
    fresh: of a random encoder with the parts that are wanted.
  """
  there = given.get("encoder", {})
  return {name: there.get(name, part) for name, part in fresh.items()}


def released(config) -> tuple[settings.Settings, probes.Probe | None]:
  """The config with the sizes of `supervised.head`, and that probe, if any."""
  options = config.supervised
  if not options.head:
    return config, None
  probe = probes.read(options.head)
  if probe.dim != config.model.encoder_dim:
    raise errors.UserError(
      f"supervised.head {options.head!r} reads tokens of width {probe.dim}, "
      f"the encoder's are {config.model.encoder_dim}"
    )
  options = dataclasses.replace(
    options,
    pool_blocks=probe.num_blocks,
    pool_heads=options.pool_heads or probe.num_heads,
  )
  return dataclasses.replace(config, supervised=options), probe


def as_released(task, model, probe) -> tuple[dict, dict]:
  """Heads and frozen parameters, of a probe that others have trained.

  Args:
    task: `train.supervised.Task`.
    model: with the encoder.
    probe: of `released`.

  Raises:
    UserError: the probe is not of the usual width.
  """
  fresh = jax.eval_shape(task.fresh, jax.random.key(0))
  shapes = {name: part for name, part in fresh.items() if name != "encoder"}
  found = jax.tree.map(np.shape, probe.params)
  if found != jax.tree.map(np.shape, shapes):
    raise errors.UserError(
      f"supervised.head {task.settings.supervised.head!r} does not fit an "
      "attentive probe whose MLP is four times as wide as its tokens"
    )
  params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], probe.params)
  found_encoder = encoder(model.params, fresh["encoder"])
  return params, {"encoder": found_encoder}
