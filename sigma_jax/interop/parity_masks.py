"""V-JEPA's masks on golden cases, index by index."""

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import block_masks
from sigma_jax.interop.parity_views import Found

Arrays = dict[str, np.ndarray]


def _blocks(generator: dict) -> block_masks.Blocks:
  return block_masks.Blocks(
    generator["num_blocks"],
    tuple(generator["spatial_scale"]),
    tuple(generator["aspect_ratio"]),
    tuple(generator.get("temporal_scale", (1.0, 1.0))),
    generator.get("max_temporal_keep", 1.0),
  )


def masks(options: dict, arrays: Arrays) -> Found:
  """Sizes, hidden tubes by the published places, and both sides by index."""
  exact = {}
  for case in options["cases"]:
    grid, total = tuple(case["grid"]), int(np.prod(case["grid"]))
    for call, generators in enumerate(case["calls"]):
      for number, drawn in enumerate(generators):
        blocks = _blocks(case["generators"][number])
        name = f"{case['name']}_c{call}_g{number}"
        size = block_masks.block_size(drawn["uniform"], grid, blocks, np)
        exact[f"{name}_size"] = _differ(size, drawn["block_t_h_w"])
        places = arrays[f"{name}_places"]
        hidden = jax.vmap(
          lambda each, size=size, grid=grid, keep=blocks.keep: (
            block_masks.hidden(each, size, grid, keep)
          )
        )(jnp.asarray(places, jnp.int32))
        hidden = hidden[np.asarray(hidden.sum(axis=1)) < total]
        count = np.asarray(hidden.sum(axis=1))
        most = case["generators"][number].get("max_keep")
        context = min(total - count.max(), most or total)
        mask = block_masks.cut(hidden, int(context), int(count.min()))
        for side in ("context", "targets"):
          found = np.asarray(getattr(mask, side))
          exact[f"{name}_{side}"] = _differ(found, arrays[f"{name}_{side}"])
  for name in arrays:
    if name.startswith("sizes_grid"):
      exact[name] = _sizes(name, options, arrays[name])
  return Found(exact=exact)


def _sizes(name: str, options: dict, rows: np.ndarray) -> int:
  side, number = (int(part) for part in name[len("sizes_grid") :].split("_g"))
  case = next(c for c in options["cases"] if c["grid"][1] == side)
  blocks = _blocks(case["generators"][number])
  grid = tuple(case["grid"])
  return sum(
    _differ(block_masks.block_size(row[:3], grid, blocks, np), row[3:])
    for row in rows
  )


def _differ(ours, theirs) -> int:
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  if ours.shape != theirs.shape:
    return max(ours.size, theirs.size)
  return int((ours != theirs).sum())


def mask_options(options: dict, arrays: Arrays) -> Found:
  """V-JEPA 2's options, each made of the plain masks."""
  exact = {}
  for case in options["cases"]:
    total = int(np.prod(case["grid"]))
    plain = block_masks.Mask(
      *(
        jnp.asarray(arrays[f"plain_g{case['generator']}_{side}"], jnp.int32)
        for side in ("context", "targets")
      )
    )
    mask = block_masks.complemented(plain, total, case["option"])
    for side in ("context", "targets"):
      name = f"{case['option']}_g{case['generator']}_{side}"
      exact[name] = _differ(getattr(mask, side), arrays[name])
  return Found(exact=exact)
