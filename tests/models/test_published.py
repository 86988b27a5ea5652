"""The whole MLP case against the published implementation's numbers.

The mapping of names below covers this one case; strict conversion of
checkpoints is sigma_jax.interop's.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import masking
from sigma_jax import settings as settings_lib
from sigma_jax.losses import assignment, plans, sinkhorn, tiled
from sigma_jax.models import sigma, vit


def linear(w, name):
  out = {"kernel": w[f"{name}.weight"].T}
  return out | ({"bias": w[f"{name}.bias"]} if f"{name}.bias" in w else {})


def norm(w, name):
  return {"scale": w[f"{name}.weight"], "bias": w[f"{name}.bias"]}


def stack(w, name, depth):
  blocks = []
  for i in range(depth):
    block = f"{name}.blocks.{i}"
    attention = {
      "qkv": linear(w, f"{block}.attn.qkv"),
      "q_bias": w[f"{block}.attn.q_bias"],
      "v_bias": w[f"{block}.attn.v_bias"],
      "proj": linear(w, f"{block}.attn.proj"),
    }
    mlp = {fc: linear(w, f"{block}.mlp.{fc}") for fc in ("fc1", "fc2")}
    norms = {n: norm(w, f"{block}.{n}") for n in ("norm1", "norm2")}
    blocks.append({"attn": attention, "mlp": mlp, **norms})
  return {"blocks": jax.tree.map(lambda *x: np.stack(x), *blocks)}


def our_params(w):
  embed = w["encoder.patch_embed.proj.weight"]  # [d, channel, frame, row, col]
  return {
    "encoder": {
      "embed": {
        "kernel": embed.transpose(2, 3, 4, 1, 0).reshape(-1, len(embed)),
        "bias": w["encoder.patch_embed.proj.bias"],
      },
      "stack": stack(w, "encoder", 2),
      "norm": norm(w, "encoder.norm"),
    },
    "decoder": {
      "embed": linear(w, "encoder_to_decoder"),
      "mask_token": w["mask_token"].ravel(),
      "stack": stack(w, "decoder", 1),
      "norm": norm(w, "decoder.norm"),
      "head": linear(w, "decoder.head"),
    },
    "target": {"layers": {i: linear(w, f"head.{2 * i}") for i in range(4)}},
    "prototypes": w["prototypes"],
  }


def published_grads(grads):
  """Some of our gradients, in the published names and layouts."""
  encoder, decoder = grads["encoder"], grads["decoder"]
  first, last = (
    jax.tree.map(lambda x, i=i: x[i], encoder["stack"]["blocks"])
    for i in (0, 1)
  )
  embed = encoder["embed"]["kernel"].reshape(2, 16, 16, 3, -1)
  return {
    "prototypes": grads["prototypes"],
    "mask_token": decoder["mask_token"],
    "encoder.patch_embed.proj.weight": embed.transpose(4, 3, 0, 1, 2),
    "encoder.blocks.0.attn.qkv.weight": first["attn"]["qkv"]["kernel"].T,
    "encoder.blocks.1.attn.v_bias": last["attn"]["v_bias"],
    "encoder.blocks.1.norm2.weight": last["norm2"]["scale"],
    "encoder.blocks.1.mlp.fc2.weight": last["mlp"]["fc2"]["kernel"].T,
    "encoder_to_decoder.weight": decoder["embed"]["kernel"].T,
    "decoder.head.bias": decoder["head"]["bias"],
    "head.0.weight": grads["target"]["layers"][0]["kernel"].T,
    "head.6.weight": grads["target"]["layers"][3]["kernel"].T,
  }


def case_settings(options):
  config = settings_lib.default_config()
  config.data.num_frames, config.data.size = options["frames"], options["img"]
  encoder, decoder = options["encoder"], options["decoder"]
  for side, values in (("encoder", encoder), ("decoder", decoder)):
    for key in ("dim", "depth", "heads"):
      config.model[f"{side}_{key}"] = values[key]
  config.target.dim = decoder["out"]
  config.loss.num_prototypes = options["num_prototypes"]
  config.masking.ratio = options["mask_ratio"]
  return settings_lib.Settings.from_config(config)


@pytest.fixture(scope="module")
def case(golden):
  return golden("pretrain_mlp")


@pytest.fixture(scope="module", params=["reference", "keep", "recompute"])
def ours(request, case):
  """Our encoder output, features, assignments, losses and gradients."""
  settings = case_settings(case.options)
  abstract = sigma.abstract(settings)
  params = our_params(case.weights)
  shapes = jax.tree.map(lambda leaf: leaf.shape, abstract.params)
  assert shapes == jax.tree.map(lambda leaf: leaf.shape, params)
  params["prototypes"] = assignment.normalize(params["prototypes"])
  masked = int(case.arrays["mask"][0].sum())
  mask = masking.from_bool(jnp.asarray(case.arrays["mask"]), masked)

  @jax.jit
  def run(params, video):
    def loss(params, labels):
      model = sigma.merge(abstract.graph, params)
      features = model(video, mask)
      tubes = vit.split_tubes(video, 2, 16)
      inputs = (features.video, features.target, params["prototypes"])
      options = {
        "epsilon": case.options["eps"],
        "rounds": case.options["sinkhorn_iterations"],
        "temperature": case.options["temperature"],
        "labels": labels,
      }
      total, sides = assignment.loss(*inputs, **options)
      if request.param != "reference":
        total, _ = tiled.loss(*inputs, three_tiles(request.param, options))
      return total, (model.encoder(tubes, mask.visible), features, sides)

    (hard, aux), grads = jax.value_and_grad(
      lambda p: loss(p, "hard"), has_aux=True
    )(params)
    return {"hard": hard, "soft": loss(params, "soft")[0]}, aux, grads

  losses, (encoded, features, (video, target)), grads = run(
    params, case.arrays["video"]
  )
  assigned = [sinkhorn.assign(s.scores, s.log_u, 0.05) for s in (video, target)]
  outputs = {
    "enc_out": encoded,
    "decoder_out": features.video,
    "proj": features.target,
    "scores_video": video.scores,
    "scores_proj": target.scores,
  }
  assigned = dict(zip(("q_video", "q_proj"), assigned, strict=True))
  return losses, outputs, assigned, published_grads(grads)


def three_tiles(kernels, options):
  plan = plans.make(
    num_tubes=300,
    num_devices=1,
    num_prototypes=24,
    platform="cpu",
    kernels=kernels,
    dtype="float32",
    **options,
  )
  return plan._replace(tiles=3)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_loss(case, ours, labels):
  np.testing.assert_allclose(
    ours[0][labels], case.arrays[f"loss_{labels}"], rtol=1e-5
  )


@pytest.mark.parametrize(
  "name", ["enc_out", "decoder_out", "proj", "scores_video", "scores_proj"]
)
def test_forward(case, ours, name):
  wanted = case.arrays[name]
  np.testing.assert_allclose(
    ours[1][name], wanted, atol=1e-5 * np.abs(wanted).max()
  )


@pytest.mark.parametrize("name", ["q_video", "q_proj"])
def test_assignments(case, ours, name):
  # e^(s / 0.05) multiplies the scores' rounding by 20.
  np.testing.assert_allclose(ours[2][name], case.arrays[name], atol=5e-5)


def test_gradients(case, ours):
  for name, grad in ours[3].items():
    wanted = case.options["grads"][name]
    assert grad.size == np.prod(case.options["state_dict"][name])
    np.testing.assert_allclose(
      jnp.linalg.norm(grad), wanted["norm"], rtol=1e-4, err_msg=name
    )
    scale = np.abs(wanted["head"]).max()
    np.testing.assert_allclose(
      grad.ravel()[:6], wanted["head"], atol=1e-4 * scale, err_msg=name
    )
