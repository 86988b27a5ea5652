"""MGMAE's mask volume in plain NumPy, in float64, for the tests alone.

Written from METHOD and the paper: one warp after another, pixel by pixel.
"""

import json

import numpy as np


def bumps(seeds, grid, side):
  """The map of one clip's base frame, [H, W]."""
  rows, columns = np.mgrid[: grid[0] * side, : grid[1] * side]
  found = np.zeros(rows.shape)
  for seed in seeds:
    row, column = divmod(int(seed), grid[1])
    y, x = (side * place + (side - 1) / 2 for place in (row, column))
    away = ((rows - y) / side) ** 2 + ((columns - x) / side) ** 2
    found = np.maximum(found, np.exp(-away))
  return found / found.max()


def warp(image, flow):
  """image [H, W] at pixel + flow * (size - 1) / size; 0 outside."""
  height, width = image.shape
  padded = np.zeros((height + 2, width + 2))
  padded[1:-1, 1:-1] = image
  out = np.zeros_like(image)
  for y in range(height):
    for x in range(width):
      at_x = np.clip(x + flow[y, x, 0] * (width - 1) / width, -1, width)
      at_y = np.clip(y + flow[y, x, 1] * (height - 1) / height, -1, height)
      left, top = (
        min(int(np.floor(at)), n - 1)
        for at, n in ((at_x, width), (at_y, height))
      )
      u, v = at_x - left, at_y - top
      cut = padded[top + 1 : top + 3, left + 1 : left + 3]
      out[y, x] = [1 - v, v] @ cut @ [1 - u, u]
  return out


def carried(initial, to_next, to_prev, base, fill):
  """Maps as they are carried on, and before they are filled: [T, H, W]."""
  frames = len(to_next) + 1
  maps, warped = {base: initial}, {base: initial}
  order = [*range(base - 1, -1, -1), *range(base + 1, frames)]
  for t in order:
    before = t < base
    flow = to_next[t] if before else to_prev[t - 1]
    warped[t] = warp(maps[t + 1 if before else t - 1], flow)
    holes = warped[t] == 0
    maps[t] = np.where(holes & fill, initial, warped[t])
  return tuple(np.stack([x[t] for t in range(frames)]) for x in (maps, warped))


def scores(maps, grid):
  """Sums over tubes, [slots, tokens]."""
  time, rows, columns = grid
  frames, height, width = maps.shape
  out = np.zeros(grid)
  step, high, wide = frames // time, height // rows, width // columns
  for t, r, c in np.ndindex(*grid):
    tube = maps[t * step : (t + 1) * step, r * high : (r + 1) * high]
    out[t, r, c] = tube[:, :, c * wide : (c + 1) * wide].sum()
  return out.reshape(time, -1)


def write_case(
  path,
  *,
  grid,
  patch,
  tubelet=2,
  base=None,
  batch=1,
  ratio=0.75,
  fill=True,
  whole=False,
  exposed=False,
  coarse=False,
  counted=True,
  least_gap=1e-3,
):
  """Random flows; drawn again until no two scores at the edge are alike."""
  time, rows, columns = grid
  frames, tokens = time * tubelet, rows * columns
  base = frames // 2 if base is None else base
  visible = int(tokens * (1 - ratio))
  count = tokens - int(ratio * tokens)
  for seed in range(100):
    rng = np.random.RandomState(seed)
    seeds = np.stack([rng.permutation(tokens)[:count] for _ in range(batch)])
    arrays = {"seeds": seeds.astype(np.int32)}
    blocks = (batch, frames - 1, rows, columns, 2)
    flows = {}
    for name in ("next", "prev"):
      quarters = rng.randint(-40, 41, blocks)
      large = quarters.repeat(patch, axis=2).repeat(patch, axis=3) / 4
      flows[name] = large
      given = {f"to_{name}": large.astype(np.float32)}
      small = {f"coarse_{name}": quarters.astype(np.int8)}
      arrays |= small if coarse else given
    initial = np.stack([bumps(row, grid[1:], patch) for row in seeds])
    arrays["init"] = initial.astype(np.float32)
    noise = rng.standard_normal((batch, tokens)) * exposed
    slots = rng.randint(0, time, batch)
    if exposed:
      arrays["exposure_noise"] = noise.astype(np.float32)
      arrays["exposure_slot"] = slots
    gaps = []
    for variant in ("published", "corrected"):
      found = {"maps": [], "warped": [], "scores": [], "mask": []}
      for i in range(batch):
        early = flows["prev" if variant == "published" else "next"][i]
        maps, warped = carried(initial[i], early, flows["prev"][i], base, fill)
        held = scores(maps, grid)
        held[slots[i]] += noise[i]
        held = held.reshape(1, -1) if whole else held
        # As published: of the whole clip as many as of all slots.
        places = visible * (time if whole else 1)
        order = np.argsort(-held, axis=1, kind="stable")
        sorted_ = np.take_along_axis(held, order, axis=1)
        gaps.append((sorted_[:, places - 1] - sorted_[:, places]).min())
        hidden = np.ones(held.shape, bool)
        np.put_along_axis(hidden, order[:, :places], False, axis=1)
        found["maps"].append(maps)
        found["warped"].append(warped)
        found["scores"].append(held[0] if whole else held)
        found["mask"].append(hidden.reshape(-1))
      for name, values in found.items():
        kind = bool if name == "mask" else np.float32
        arrays[f"{name}__{variant}"] = np.stack(values).astype(kind)
    if min(gaps) > least_gap:
      break
  else:
    raise AssertionError("ties in all draws")
  options = {
    "kind": "mgmae_mask",
    "grid": list(grid),
    "patch": patch,
    "tubelet": tubelet,
    "frames": frames,
    "ratio": ratio,
    "base_index": base,
    "hole_filling": "consist" if fill else "none",
    "topk_on_all": whole,
  }
  if counted:
    options["visible_per_choice"] = visible * (time if whole else 1)
  np.savez(f"{path}.npz", **arrays)
  path.with_name(path.name + ".json").write_text(json.dumps(options))
