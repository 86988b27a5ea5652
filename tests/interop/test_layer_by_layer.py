"""Every layer beside PyTorch's, in order: the first failure is the culprit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import masking
from sigma_jax.interop import golden_case
from sigma_jax.interop import layout as layout_lib
from sigma_jax.models import positions, sigma, targets, vit

LAYERS = (
  "tube embedding and positions",
  "encoder block 0",
  "encoder block 1",
  "encoder norm",
  "encoder to decoder, mask tokens and positions",
  "decoder block 0",
  "decoder norm",
  "decoder head",
  "normalised tubes",
  "target layer 0",
  "target layer 1",
  "target layer 2",
  "target layer 3",
)


@pytest.fixture(scope="module")
def case(golden_dir):
  return golden_case.load(golden_dir / "pretrain_mlp")


@pytest.fixture(scope="module")
def ours(case):
  """Layer -> output of ours, each fed by the layers before it."""
  settings = layout_lib.to_settings(case.layout, num_frames=16, size=64)
  mask = masking.from_bool(jnp.asarray(case.arrays["mask"]), 96)

  def outputs(params, video):
    model = sigma.merge(sigma.abstract(settings).graph, params)
    tubes = vit.split_tubes(video, model.tubelet, model.patch)
    encoder, decoder = model.encoder, model.decoder
    found = [
      encoder(tubes, mask.visible, num_blocks=depth, final_norm=False)
      for depth in (0, 1, 2)
    ]
    found.append(encoder(tubes, mask.visible))
    table = jnp.asarray(positions.sinusoid_table(128, decoder.dim))
    seen = decoder.embed(found[-1]) + table[mask.visible]
    hidden = decoder.mask_token[...] + table[mask.masked]
    found.append(jnp.concatenate([seen, hidden], axis=1))
    found.append(decoder.stack(found[-1]))
    found.append(decoder.norm(found[-1][:, -96:]))
    found.append(decoder(found[3], mask.visible, mask.masked))
    x = targets.normalize_tubes(vit.gather_tokens(tubes, mask.masked))
    found.append(x)
    for i, layer in enumerate(model.target.layers):
      x = layer(jax.nn.gelu(x, approximate=False) if i else x)
      found.append(x)
    return found

  params = jax.tree.map(jnp.asarray, case.params)
  found = jax.jit(outputs)(params, jnp.asarray(case.arrays["video"]))
  return dict(zip(LAYERS, map(np.asarray, found), strict=True))


@pytest.fixture(scope="module")
def theirs(case, reference):
  """The same of the PyTorch writing."""
  torch, o = reference.torch, case.options
  w = reference.tensors(o["state_dict"])
  video = torch.tensor(case.arrays["video"])
  mask = torch.tensor(case.arrays["mask"])
  e, d = o["encoder"], o["decoder"]

  def pick(x, where):
    return x[where].reshape(len(x), -1, x.shape[-1])

  with torch.no_grad():
    x = pick(reference.embed(w, "encoder.", video), ~mask)
    found = [
      reference.blocks(w, "encoder.", x, depth, e["heads"])
      for depth in (0, 1, 2)
    ]
    found.append(reference.norm(w, "encoder.norm", found[-1]))
    table = reference.table(mask.shape[1], d["dim"]).expand(len(mask), -1, -1)
    seen = reference.linear(w, "encoder_to_decoder", found[-1])
    hidden = w["mask_token"] + pick(table, mask)
    found.append(torch.cat([seen + pick(table, ~mask), hidden], 1))
    found.append(
      reference.blocks(w, "decoder.", found[-1], d["depth"], d["heads"])
    )
    found.append(
      reference.norm(w, "decoder.norm", found[-1][:, -hidden.shape[1] :])
    )
    found.append(reference.linear(w, "decoder.head", found[-1]))
    tubes = reference.cut(video.float() / 255, o["tubelet"], o["patch"])
    x = pick(reference.standardize(tubes, 2).flatten(2), mask)
    found.append(x)
    for i in range(4):
      x = torch.nn.functional.gelu(x) if i else x
      x = reference.linear(w, f"head.{2 * i}", x)
      found.append(x)
  return {k: v.numpy() for k, v in zip(LAYERS, found, strict=True)}


@pytest.mark.parametrize("layer", LAYERS)
def test_layer(ours, theirs, layer):
  assert ours[layer].shape == theirs[layer].shape
  error = np.abs(ours[layer] - theirs[layer]).max()
  assert error <= 1e-5 * np.abs(theirs[layer]).max()
