"""Whether a checkpoint is of the model that a config describes."""

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop import published


def settings(
  layout: layout_lib.Layout,
  config: settings_lib.Settings | None,
  geometry: dict[str, int],
) -> settings_lib.Settings:
  """A run with the model of a checkpoint: the config, where one is given.

  Args:
    layout: of the checkpoint.
    config: that it must agree with, or None.
    geometry: {"num_frames", "size"}, where there is no config.

  Raises:
    UserError: the config is of another model; names what differs.
  """
  if config is None:
    return layout_lib.to_settings(layout, **geometry)
  if layout.kind in ("encoder", "finetune"):
    wanted = published.Layout(config.model)
    given = published.Layout(layout.model)
    fields = ("tubelet", "patch", "mlp_ratio", "norm_epsilon")
    fields += ("encoder_dim", "encoder_depth", "encoder_heads")
    fields += ("positions", "key_bias", "encoder_mlp_dim", "pool_normed")
  else:
    wanted, given = layout_lib.of_settings(config), layout
    free = (*settings_lib.COMPUTED, "table_grid")
    fields = [f for f in vars(config.model) if f not in free]
  differing = [
    f"model.{name} ({getattr(given.model, name)} in the checkpoint, "
    f"{getattr(wanted.model, name)} in the config)"
    for name in fields
    if getattr(given.model, name) != getattr(wanted.model, name)
  ]
  for name in ("target_dim", "num_prototypes", "hidden", "normalized"):
    if getattr(given, name) != getattr(wanted, name):
      differing.append(
        f"{name} ({getattr(given, name)} in the checkpoint, "
        f"{getattr(wanted, name)} in the config)"
      )
  if differing:
    raise errors.UserError(
      f"the config is of another model: {', '.join(differing)}"
    )
  return config
