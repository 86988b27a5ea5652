"""RAFT-small as plain PyTorch functions of named tensors, for the tests alone.

Written from the paper and from what princeton-vl/RAFT's `core/` computes:
windows are looked up by `grid_sample` and pooled by `avg_pool2d`, where ours
are matrix products and means.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F

from sigma_jax.interop.golden_case import weight


class Raft:
  """Of weights by Princeton's names."""

  def __init__(self, weights):
    self.of = {name: torch.tensor(value) for name, value in weights.items()}

  def conv(self, name, x, stride=1):
    kernel = self.of[f"{name}.weight"]
    bias = self.of[f"{name}.bias"]
    return F.conv2d(x, kernel, bias, stride, kernel.shape[-1] // 2)

  def encoder(self, name, x, normed):
    norm = F.instance_norm if normed else lambda y: y
    x = F.relu(norm(self.conv(f"{name}.conv1", x, 2)))
    for layer in (1, 2, 3):
      for part in (0, 1):
        at = f"{name}.layer{layer}.{part}"
        stride = 2 if layer > 1 and part == 0 else 1
        y = F.relu(norm(self.conv(f"{at}.conv1", x)))
        y = F.relu(norm(self.conv(f"{at}.conv2", y, stride)))
        y = F.relu(norm(self.conv(f"{at}.conv3", y)))
        if stride > 1:
          x = norm(self.conv(f"{at}.downsample.0", x, stride))
        x = F.relu(x + y)
    return self.conv(f"{name}.conv2", x)

  def update(self, hidden, context, found, flow):
    at = "update_block.encoder"
    found = F.relu(self.conv(f"{at}.convc1", found))
    of_flow = F.relu(self.conv(f"{at}.convf1", flow))
    of_flow = F.relu(self.conv(f"{at}.convf2", of_flow))
    both = F.relu(self.conv(f"{at}.conv", torch.cat([found, of_flow], 1)))
    x = torch.cat([context, both, flow], 1)
    at, both = "update_block.gru", torch.cat([hidden, x], 1)
    z = torch.sigmoid(self.conv(f"{at}.convz", both))
    r = torch.sigmoid(self.conv(f"{at}.convr", both))
    q = torch.tanh(self.conv(f"{at}.convq", torch.cat([r * hidden, x], 1)))
    hidden = (1 - z) * hidden + z * q
    at = "update_block.flow_head"
    change = F.relu(self.conv(f"{at}.conv1", hidden))
    return hidden, self.conv(f"{at}.conv2", change)

  def __call__(self, first, second, iterations):
    """uint8 [n, h, w, 3] -> what a case holds, NumPy, channels last."""
    scaled = [
      torch.tensor(x).permute(0, 3, 1, 2).float() / 255 * 2 - 1
      for x in (first, second)
    ]
    features = [self.encoder("fnet", x, True) for x in scaled]
    both = self.encoder("cnet", scaled[0], False)
    levels = pyramid(*features)
    hidden, context = torch.tanh(both[:, :96]), F.relu(both[:, 96:])
    n, _, height, width = both.shape
    y, x = torch.meshgrid(
      torch.arange(height), torch.arange(width), indexing="ij"
    )
    start = torch.stack([x, y]).float()[None].repeat(n, 1, 1, 1)
    at, out = start, {}
    for i in range(1, iterations + 1):
      found = looked_up(levels, at)
      hidden, change = self.update(hidden, context, found, at - start)
      at = at + change
      out[f"flow_low_it{i}"] = at - start
    size = (8 * height, 8 * width)
    out["flow"] = 8 * F.interpolate(
      at - start, size, mode="bilinear", align_corners=True
    )
    out |= {"context": both, "features_first": features[0]}
    out["features_second"] = features[1]
    return {k: v.permute(0, 2, 3, 1).numpy() for k, v in out.items()}


def pyramid(first, second):
  _, channels, height, width = first.shape
  product = first.flatten(2).transpose(1, 2) @ second.flatten(2)
  levels = [product.reshape(-1, 1, height, width) / channels**0.5]
  while len(levels) < 4:
    levels.append(F.avg_pool2d(levels[-1], 2, stride=2))
  return levels


def looked_up(levels, at):
  n, _, height, width = at.shape
  steps = torch.linspace(-3, 3, 7)
  # As published: the two are exchanged, and x changes slowest.
  window = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)
  out = []
  for level, values in enumerate(levels):
    middle = at.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) / 2**level
    places = middle + window[None]
    size = torch.tensor([values.shape[3], values.shape[2]]) - 1
    found = F.grid_sample(values, 2 * places / size - 1, align_corners=True)
    out.append(found.reshape(n, height, width, -1))
  return torch.cat(out, -1).permute(0, 3, 1, 2)


def write_case(path, sizes, shape, iterations, *, batch=0, seed=0, names=None):
  """A case of noise that moves; batch 0: one pair without a batch axis.

  names: of `sizes` -> Princeton's, where they are others.
  """
  rng = np.random.RandomState(seed)
  count = max(batch, 1)
  coarse = rng.randint(0, 256, (count, *(-(-n // 8) + 1 for n in shape), 3))
  large = coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
  first = large[:, : shape[0], : shape[1]]
  second = large[:, 2 : shape[0] + 2, 3 : shape[1] + 3]
  network = Raft(
    {(names or {}).get(n, n): weight(n, tuple(s)) for n, s in sizes.items()}
  )
  with torch.no_grad():
    arrays = network(first, second, iterations)
  arrays |= {"first": first, "second": second}
  if not batch:
    arrays = {name: value[0] for name, value in arrays.items()}
  np.savez(f"{path}.npz", **arrays)
  options = {"kind": "raft_small", "iters": [iterations], "state_dict": sizes}
  path.with_name(path.name + ".json").write_text(json.dumps(options))
