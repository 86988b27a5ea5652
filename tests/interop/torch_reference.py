"""The published model as plain PyTorch functions of named tensors.

For the tests alone, written from METHOD (the paper and the published code's
behaviour): makes golden cases of any size and trains beside us.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F

from sigma_jax.interop.golden_case import weight

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])


def tensors(sizes):
  """Leaves that take gradients, by published name."""
  return {
    name: torch.tensor(weight(name, tuple(shape)), requires_grad=True)
    for name, shape in sizes.items()
  }


def block_sizes(prefix, dim, depth, ratio=4):
  """Names and shapes of `depth` blocks."""
  sizes = {}
  for i in range(depth):
    p = f"{prefix}blocks.{i}."
    for norm in ("norm1", "norm2"):
      sizes |= {f"{p}{norm}.weight": [dim], f"{p}{norm}.bias": [dim]}
    sizes |= {
      f"{p}attn.q_bias": [dim],
      f"{p}attn.v_bias": [dim],
      f"{p}attn.qkv.weight": [3 * dim, dim],
      f"{p}attn.proj.weight": [dim, dim],
      f"{p}attn.proj.bias": [dim],
      f"{p}mlp.fc1.weight": [ratio * dim, dim],
      f"{p}mlp.fc1.bias": [ratio * dim],
      f"{p}mlp.fc2.weight": [dim, ratio * dim],
      f"{p}mlp.fc2.bias": [dim],
    }
  return sizes


def pretrain_sizes(o, hidden=(20, 12)):
  """Names and shapes of a pre-training state dict, by a case's options."""
  e, d = o["encoder"], o["decoder"]
  values = o["tubelet"] * o["patch"] ** 2 * 3
  embed = [e["dim"], 3, o["tubelet"], o["patch"], o["patch"]]
  sizes = {
    "mask_token": [1, 1, d["dim"]],
    "encoder.patch_embed.proj.weight": embed,
    "encoder.patch_embed.proj.bias": [e["dim"]],
    "encoder.norm.weight": [e["dim"]],
    "encoder.norm.bias": [e["dim"]],
    "decoder.norm.weight": [d["dim"]],
    "decoder.norm.bias": [d["dim"]],
    "decoder.head.weight": [d["out"], d["dim"]],
    "decoder.head.bias": [d["out"]],
    "encoder_to_decoder.weight": [d["dim"], e["dim"]],
  }
  sizes |= block_sizes("encoder.", e["dim"], e["depth"])
  sizes |= block_sizes("decoder.", d["dim"], d["depth"])
  if o["num_prototypes"]:
    sizes["prototypes"] = [o["num_prototypes"], d["out"]]
  if o["target"] == "mlp":
    widths = [values, *hidden, d["out"]]
    for i in range(len(widths) - 1):
      sizes[f"head.{2 * i}.weight"] = [widths[i + 1], widths[i]]
      sizes[f"head.{2 * i}.bias"] = [widths[i + 1]]
  return sizes


def table(n, d):
  i = np.arange(d)
  angle = np.arange(n)[:, None] / np.power(10000, 2 * (i // 2) / d)
  angle[:, 0::2], angle[:, 1::2] = (
    np.sin(angle[:, 0::2]),
    np.cos(angle[:, 1::2]),
  )
  return torch.tensor(angle, dtype=torch.float32)


def norm(w, name, x):
  return F.layer_norm(
    x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6
  )


def linear(w, name, x):
  return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def blocks(w, prefix, x, depth, heads):
  for i in range(depth):
    p = f"{prefix}blocks.{i}."
    y = norm(w, p + "norm1", x)
    b, n, d = y.shape
    q_bias, v_bias = w[p + "attn.q_bias"], w[p + "attn.v_bias"]
    bias = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    qkv = F.linear(y, w[p + "attn.qkv.weight"], bias)
    q, k, v = qkv.reshape(b, n, 3, heads, -1).permute(2, 0, 3, 1, 4)
    a = (q * (d // heads) ** -0.5) @ k.transpose(-2, -1)
    y = (a.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d)
    x = x + linear(w, p + "attn.proj", y)
    y = norm(w, p + "norm2", x)
    y = F.gelu(linear(w, p + "mlp.fc1", y))
    x = x + linear(w, p + "mlp.fc2", y)
  return x


def embed(w, prefix, video):
  """uint8 [b, t, h, w, 3] -> tokens with positions."""
  x = (video.float() / 255.0 - MEAN) / STD
  kernel = w[f"{prefix}patch_embed.proj.weight"]
  x = F.conv3d(
    x.permute(0, 4, 1, 2, 3),
    kernel,
    w[f"{prefix}patch_embed.proj.bias"],
    stride=kernel.shape[2:],
  )
  x = x.flatten(2).transpose(1, 2)
  return x + table(x.shape[1], x.shape[2])


def cut(video, tubelet, patch):
  """float [b, t, h, w, 3] -> [b, n, values / 3, 3]."""
  b, t, h, wd, c = video.shape
  x = video.reshape(
    b, t // tubelet, tubelet, h // patch, patch, wd // patch, patch, c
  )
  x = x.permute(0, 1, 3, 5, 2, 4, 6, 7)
  return x.reshape(b, -1, tubelet * patch * patch, c)


def standardize(x, dim):
  return (x - x.mean(dim, keepdim=True)) / (
    x.var(dim, unbiased=True, keepdim=True).sqrt() + 1e-6
  )


def sinkhorn(scores, eps, rounds):
  """The published solver on [tubes, k]: rows are prototypes in it."""
  with torch.no_grad():
    q = torch.exp(scores / eps).T
    q = q / q.sum()
    for _ in range(rounds):
      q = q / q.sum(1, keepdim=True) / q.shape[0]
      q = q / q.sum(0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).T


def forward(w, o, video, mask, teacher=None):
  """All quantities of a pre-training case; normalises prototypes in place."""
  b, e, d = len(video), o["encoder"], o["decoder"]
  x = embed(w, "encoder.", video)
  x = x[~mask].reshape(b, -1, e["dim"])
  x = norm(w, "encoder.norm", blocks(w, "encoder.", x, e["depth"], e["heads"]))
  out = {"enc_out": x}
  seen = linear(w, "encoder_to_decoder", x)
  positions = table(mask.shape[1], d["dim"]).expand(b, -1, -1)
  hidden = w["mask_token"] + positions[mask].reshape(b, -1, d["dim"])
  seen = seen + positions[~mask].reshape(b, -1, d["dim"])
  x = torch.cat([seen, hidden], 1)
  x = blocks(w, "decoder.", x, d["depth"], d["heads"])[:, -hidden.shape[1] :]
  x = linear(w, "decoder.head", norm(w, "decoder.norm", x))
  out["decoder_out"] = x
  if teacher is not None:
    target = standardize(teacher, 1)[mask]
  else:
    tubes = cut(video.float() / 255.0, o["tubelet"], o["patch"])
    target = standardize(tubes, 2).flatten(2)[mask]
  out["target_first"] = target[:3]
  layers = sum(name.startswith("head.") for name in w) // 2
  for i in range(layers):
    target = linear(w, f"head.{2 * i}", F.gelu(target) if i else target)
  out["proj"] = target.reshape(b, -1, target.shape[-1])
  if o["num_prototypes"]:
    out |= losses(w, o, out["decoder_out"], out["proj"])
  return out


def losses(w, o, video, target):
  with torch.no_grad():
    w["prototypes"].copy_(F.normalize(w["prototypes"], dim=1))
  c, shape = w["prototypes"], (*video.shape[:2], o["num_prototypes"])
  s_phi = F.normalize(target.flatten(0, 1), dim=-1) @ c.T
  s_psi = F.normalize(video.flatten(0, 1), dim=-1) @ c.detach().T
  eps, rounds = o["eps"], o["sinkhorn_iterations"]
  q_phi, q_psi = sinkhorn(s_phi, eps, rounds), sinkhorn(s_psi, eps, rounds)
  t, ce = o["temperature"], F.cross_entropy
  hard = ce(s_phi / t, q_psi.argmax(1)) + ce(s_psi / t, q_phi.argmax(1))
  soft = ce(s_phi / t, q_psi) + ce(s_psi / t, q_phi)
  out = {"scores_proj": s_phi, "scores_video": s_psi}
  out |= {"q_proj": q_phi, "q_video": q_psi}
  out = {name: x.reshape(shape) for name, x in out.items()}
  return out | {"loss_hard": hard, "loss_soft": soft}


def write_pretrain(path, o, *, mask, seed=0, teach=None):
  """Writes path.json and path.npz as golden/README.md says.

  teach: uint8 [b, t, h, w, 3] -> teacher features [b, n, p]; None: at random.
  """
  random = np.random.default_rng(seed)
  shape = (o["batch"], o["frames"], o["img"], o["img"], 3)
  arrays = {"video": random.integers(0, 256, shape, np.uint8), "mask": mask}
  if o["target"].startswith("dino"):
    teacher = random.standard_normal((*mask.shape, o["decoder"]["out"]))
    arrays["teacher_features"] = teacher.astype(np.float32)
    if teach is not None:
      arrays["teacher_features"] = teach(arrays["video"])
  sizes = pretrain_sizes(o)
  w = tensors(sizes)
  given = arrays.get("teacher_features")
  out = forward(
    w,
    o,
    torch.tensor(arrays["video"]),
    torch.tensor(mask),
    None if given is None else torch.tensor(given),
  )
  grads = {}
  if "loss_hard" in out:
    out["loss_hard"].backward()
    for name, leaf in w.items():
      g = leaf.grad
      grads[name] = None
      if g is not None:
        head = g.flatten()[:6].tolist()
        grads[name] = {"norm": g.double().norm().item(), "head": head}
  arrays |= {name: x.detach().numpy() for name, x in out.items()}
  np.savez(path.with_suffix(".npz"), **arrays)
  options = o | {"state_dict": sizes, "grads": grads}
  path.with_suffix(".json").write_text(json.dumps(options))


def write_finetune(path, *, dim, depth, heads, classes, tubelet, patch):
  """A fine-tuning case of 2 clips of 2 x 3 x 2 tubes."""
  sizes = {
    "patch_embed.proj.weight": [dim, 3, tubelet, patch, patch],
    "patch_embed.proj.bias": [dim],
    "fc_norm.weight": [dim],
    "fc_norm.bias": [dim],
    "head.weight": [classes, dim],
    "head.bias": [classes],
  } | block_sizes("", dim, depth)
  w = tensors(sizes)
  shape = (2, 2 * tubelet, 3 * patch, 2 * patch, 3)
  video = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  with torch.no_grad():
    x = blocks(w, "", embed(w, "", torch.tensor(video)), depth, heads)
    features = norm(w, "fc_norm", x.mean(1))
    logits = linear(w, "head", features)
  np.savez(
    path.with_suffix(".npz"),
    video=video,
    features=features.numpy(),
    logits=logits.numpy(),
  )
  options = {"dim": dim, "depth": depth, "heads": heads, "state_dict": sizes}
  options["num_classes"] = classes
  path.with_suffix(".json").write_text(json.dumps(options))
