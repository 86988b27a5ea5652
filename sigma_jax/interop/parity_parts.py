"""V-JEPA's position tables and attentive probes on golden cases."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sigma_jax.interop import golden_case
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop.parity_views import Found
from sigma_jax.models import heads, layers, positions

Arrays = dict[str, np.ndarray]
_PROBE_EPSILON = 1e-5  # of all LayerNorms of the published probes


def parts(options: dict, arrays: Arrays) -> Found:
  """Position tables, made and interpolated, and V-JEPA's probe."""
  given = options["options"]
  grid = (given["grid"][0], given["grid"][1], given["grid"][1])
  forward = {}
  for name, theirs in arrays.items():
    if name.startswith("sincos_d"):
      dim, shape = name[len("sincos_d") :].split("_")
      ours = positions.sinusoid_table_3d(
        int(dim), grid, uniform=shape == "uniform"
      )
      forward[name] = ours, theirs
    elif name.startswith("interpolated_"):
      new = tuple(int(n) for n in name.split("_")[1:])
      ours = positions.table("sine_3d", theirs.shape[1], new, grid)
      forward[name] = ours, theirs
  if "sincos_big" in arrays:
    dim, (time, side) = given["big"]
    table = positions.sinusoid_table_3d(dim, (time, side, side), uniform=True)
    rows = arrays["sincos_big_rows"]
    forward["sincos_big"] = table[rows], arrays["sincos_big"]
    summed = table.astype(np.float64).sum(axis=0)
    forward["sincos_big_sum"] = summed, arrays["sincos_big_sum"]
  if "probe_tokens" in arrays:
    probed = probe(options, arrays)
    return probed._replace(forward=forward | probed.forward)
  return Found(forward)


def probe(options: dict, arrays: Arrays) -> Found:
  """An attentive probe's logits, loss and gradients."""
  names = options["state_dict"]
  start = next(n for n in names if "query_tokens" in n).split("pooler.")[0]
  weights = {
    name.removeprefix(start): golden_case.weight(name, shape)
    for name, shape in names.items()
  }
  sizes = options["options"].get("probe", options["options"])
  prefix = "probe_" if "probe_tokens" in arrays else ""

  def loss(tensors):
    tokens = jnp.asarray(arrays[f"{prefix}tokens"])
    logits = _probed(tensors, tokens, sizes["heads"])
    error = optax.softmax_cross_entropy_with_integer_labels(
      logits, arrays[f"{prefix}labels"]
    )
    return jnp.mean(error), logits

  gradient = jax.value_and_grad(loss, has_aux=True)
  (value, logits), grads = gradient(weights)
  forward = {
    f"{prefix}logits": (logits, arrays[f"{prefix}logits"]),
    f"{prefix}loss": (value, arrays[f"{prefix}loss"]),
  }
  return Found(
    forward, gradients={start + k: np.asarray(v) for k, v in grads.items()}
  )


def _probed(tensors: dict, tokens: jax.Array, num_heads: int) -> jax.Array:
  """Logits of a published probe, by the modules that train."""
  dim, block = tokens.shape[-1], "pooler.cross_attention_block."

  def maps(name):
    return {
      "kernel": tensors[f"{name}.weight"].T,
      "bias": tensors[f"{name}.bias"],
    }

  def norm(name):
    return {
      "scale": tensors[f"{name}.weight"],
      "bias": tensors[f"{name}.bias"],
    }

  depth = sum(n.endswith("attn.qkv.weight") for n in tensors)
  for place in range(depth):
    at = f"pooler.blocks.{place}."
    qkv = jnp.split(tensors[f"{at}attn.qkv.bias"], 3)
    attention = dict(zip(("q_bias", "k_bias", "v_bias"), qkv, strict=True))
    attention |= {
      "qkv": {"kernel": tensors[f"{at}attn.qkv.weight"].T},
      "proj": maps(f"{at}attn.proj"),
    }
    mlp = {name: maps(f"{at}mlp.{name}") for name in ("fc1", "fc2")}
    params = {"attn": attention, "mlp": mlp}
    params |= {name: norm(f"{at}{name}") for name in ("norm1", "norm2")}
    tokens = layout_lib.assemble(
      params,
      layers.Block,
      dim,
      num_heads,
      mlp_ratio=len(mlp["fc1"]["bias"]) // dim,
      norm_epsilon=_PROBE_EPSILON,
      key_bias=True,
      dtype=jnp.float32,
    )(tokens)
  pool = {
    "query_tokens": tensors["pooler.query_tokens"][0],
    "q": maps(f"{block}xattn.q"),
    "kv": maps(f"{block}xattn.kv"),
    "mlp": {name: maps(f"{block}mlp.{name}") for name in ("fc1", "fc2")},
  } | {name: norm(block + name) for name in ("norm1", "norm2")}
  ratio = len(pool["mlp"]["fc1"]["bias"]) // dim
  pooled = layout_lib.assemble(
    pool, heads.AttentivePool, dim, num_heads, mlp_ratio=ratio
  )(tokens)
  return pooled @ tensors["linear.weight"].T + tensors["linear.bias"]
