"""MGMAE on golden cases: motion-guided masks, a whole step under them, RAFT.

The cases of masks give flows and random draws; all else is computed by what
trains, at the clip's own resolution. "published" is as their code runs, with
early maps against the motion; "corrected" is what we train with.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import masking
from sigma_jax.interop import flow_network, golden_case, published
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop.parity_views import Found
from sigma_jax.models import modules, targets, vit
from sigma_jax.models import raft as raft_lib
from sigma_jax.motion import volume

Arrays = dict[str, np.ndarray]
_FAINT = 1e-8  # of maps of whole tokens or pixels: seen, and no hole


def kind(options: dict, arrays: Arrays) -> str:
  """Which of the cases below it is; "" of none."""
  if str(options.get("kind")).startswith("mgmae_mask"):
    return "mask"
  if str(options.get("kind")).startswith("raft_small"):
    return "raft"
  if options.get("method") == "mgmae" and "coarse_next" in arrays:
    return "pretrain"
  return ""


def mask(options: dict, arrays: Arrays) -> Found:
  """Initial map, warps, maps, scores and visible tubes of both directions."""
  found = Found({}, {}, by_array={})
  initial = _initial(options, arrays)
  _compare(found, arrays, "init", initial)
  for variant in ("published", "corrected"):
    _volume(found, options, arrays, initial, variant, f"__{variant}")
  return found


def _compare(found: Found, arrays: Arrays, name: str, ours) -> None:
  """A quantity where the case holds it; warps add up the rounding."""
  if name in arrays:
    found.by_array[name] = np.asarray(ours), arrays[name]
  thinned = name.replace("init", "init_every4")
  if thinned in arrays and thinned != name:
    found.by_array[thinned] = np.asarray(ours)[:, ::4, ::4], arrays[thinned]


def _initial(options: dict, arrays: Arrays) -> jax.Array:
  side = options["patch"]
  if "seeds" in arrays:
    seeds = jnp.asarray(arrays["seeds"], jnp.int32)
    grid = _grid(options, arrays)[1:]
    return volume.bumps(seeds, jnp.ones(seeds.shape), grid, side)
  if "noise" in arrays:  # of pixels: the largest ones are seen
    noise = arrays["noise"]
    count = int(noise.shape[1] * (1 - options["ratio"]))
    least = np.sort(noise, axis=1)[:, -count][:, None]
    seen = (noise >= least).reshape(arrays["to_next"][:, 0, ..., 0].shape)
  else:
    _, rows, columns = options["grid"]
    seen = arrays["tokens_visible"].reshape(-1, rows, columns)
    seen = seen.repeat(side, axis=1).repeat(side, axis=2)
  return jnp.where(jnp.asarray(seen), 1.0, _FAINT).astype(jnp.float32)


def _grid(options: dict, arrays: Arrays) -> tuple[int, int, int]:
  if "grid" in options:
    return tuple(options["grid"])
  _, frames, height, width, _ = arrays["video"].shape
  patch = options["patch"]
  return frames // options["tubelet"], height // patch, width // patch


def _flows(options: dict, arrays: Arrays, base: int, variant: str):
  """float32 [b, t - 1, H, W, 2], as `volume.carried` takes them."""
  both = []
  for name in ("next", "prev"):
    if f"to_{name}" in arrays:
      both.append(arrays[f"to_{name}"])
      continue
    coarse = arrays[f"coarse_{name}"].astype(np.float32) / 4
    coarse = coarse.reshape(-1, *coarse.shape[-4:])
    height = _grid(options, arrays)[1] * options["patch"]
    times = height // coarse.shape[2]
    both.append(coarse.repeat(times, axis=2).repeat(times, axis=3))
  to_next, to_prev = both
  if variant == "corrected":
    to_prev = np.concatenate([to_next[:, :base], to_prev[:, base:]], axis=1)
  return jnp.asarray(to_prev)


def _volume(found, options, arrays, initial, variant, suffix) -> masking.Mask:
  """Compares one direction's; returns its mask."""
  frames = options["frames"]
  base = options.get("base_index", volume.base_frame(frames))
  flows = _flows(options, arrays, base, variant)
  height, width = initial.shape[1:]
  maps, warped = volume.carried(
    initial,
    flows,
    base,
    fill=options["hole_filling"] == "consist",
    shrink=((width - 1) / width, (height - 1) / height),
  )
  _compare(found, arrays, f"maps{suffix}", maps)
  _compare(found, arrays, f"warped{suffix}", warped)
  for name, place in (("first", 0), ("last", -1)):
    if f"{name}_every4{suffix}" in arrays:
      _compare(
        found, arrays, f"{name}_every4{suffix}", maps[:, place, ::4, ::4]
      )
  scores = volume.scores(maps, _grid(options, arrays))
  if "exposure_slot" in arrays:
    rows, slots = jnp.arange(len(scores)), arrays["exposure_slot"]
    scores = scores.at[rows, slots].add(arrays["exposure_noise"])
  visible = options.get("visible_per_choice")
  if visible is None:
    ratio = options.get("ratio", options.get("mask_ratio"))
    visible = int(scores.shape[-1] * (1 - ratio))
  if options.get("topk_on_all"):
    scores = scores.reshape(len(scores), 1, -1)
  theirs = arrays[f"scores{suffix}"]
  found.by_array[f"scores{suffix}"] = scores.reshape(theirs.shape), theirs
  chosen = volume.choose(scores, visible)
  hidden = np.asarray(masking.to_bool(chosen))
  found.exact[f"mask{suffix}"] = int((hidden != arrays[f"mask{suffix}"]).sum())
  if f"visible{suffix}" in arrays:
    differ = np.asarray(chosen.visible) != arrays[f"visible{suffix}"]
    found.exact[f"visible{suffix}"] = int(differ.sum())
  return chosen


def pretrain(options: dict, arrays: Arrays) -> Found:
  """Masks, then VideoMAE's model, its loss and gradients under them."""
  found = Found({}, {}, {}, {}, {})
  weights = {
    name: golden_case.weight(name, shape)
    for name, shape in options["state_dict"].items()
  }
  layout = golden_case.layout_of(options, weights)
  params = published.to_params(weights, layout)
  initial = _initial(options, arrays)
  gradients, theirs = {}, {}
  for variant, suffix in (("published", ""), ("corrected", "__corrected")):
    chosen = _volume(found, options, arrays, initial, variant, suffix)
    judge = jax.value_and_grad(
      lambda params, chosen=chosen: _judged(layout, arrays, params, chosen),
      has_aux=True,
    )
    (loss, forward), grads = jax.jit(judge)(params)
    for name, ours in {**forward, "loss": loss}.items():
      found.forward[name + suffix] = ours, arrays[name + suffix]
    grads = published.from_params(grads, layout)
    given = options["grads" + suffix.replace("__", "_")]
    for name, gradient in grads.items():
      gradients[name + suffix], theirs[name + suffix] = gradient, given[name]
  return found._replace(gradients=gradients, published=theirs)


def _judged(layout, arrays: Arrays, params: dict, mask: masking.Mask):
  """The loss, and what the case holds of encoder, decoder and target."""
  model = layout.model
  video = jnp.asarray(arrays["video"])
  _, frames, height, width, _ = video.shape
  grid = (
    frames // model.tubelet,
    height // model.patch,
    width // model.patch,
  )
  pixels = vit.split_tubes(video, model.tubelet, model.patch)
  encoder = layout_lib.assemble(params["encoder"], vit.Encoder, model, grid)
  decoder = layout_lib.assemble(
    params["decoder"], vit.Decoder, model, grid, layout.target_dim
  )
  encoded = encoder(pixels, mask.visible)
  decoded = decoder(encoded, mask.visible, mask.masked)
  target = targets.normalize_tubes(vit.gather_tokens(pixels, mask.masked))
  return jnp.mean(jnp.square(decoded - target)), {
    "enc_out": encoded,
    "decoder_head": decoded[:, : arrays["decoder_head"].shape[1]],
    "decoder_sums": jnp.sum(decoded, axis=-1),
    "target_first": target[:, 0],
  }


def raft(options: dict, arrays: Arrays) -> Found:
  """RAFT-small on pairs of frames: features, and flow after iterations.

  Frames are uint8 [h, w, 3] or [n, h, w, 3]. Of what can be computed, all that
  the case holds is compared: features_first, features_second, context,
  flow_low_itN after N iterations, and flow after the most of them.

  Raises:
    ValueError: frames or weights that are not RAFT-small's.
  """
  weights = {
    name: golden_case.weight(name, shape)
    for name, shape in options["state_dict"].items()
  }
  tree = flow_network.convert(weights, np.dtype(np.float32))
  made = modules.abstract(lambda _: raft_lib.RaftSmall(dtype=jnp.float32))
  network = modules.merge(made.graph, {}, tree)
  single = arrays["first"].ndim == 3
  first, second = (
    jnp.asarray(arrays[name][None] if single else arrays[name])
    for name in ("first", "second")
  )
  names = [name for name in arrays if name.startswith("flow_low_it")]
  low = sorted(int(name.removeprefix("flow_low_it")) for name in names)
  most = max((*low, *options.get("iters", ())), default=1)
  flows = network.coarse(first, second, most)
  ours = {
    "features_first": network.fnet(raft_lib.scaled(first)),
    "features_second": network.fnet(raft_lib.scaled(second)),
    "context": network.cnet(raft_lib.scaled(first)),
    "flow": network(first, second, most),
    **{f"flow_low_it{count}": flows[count - 1] for count in low},
  }
  return Found(
    {
      name: (values[0] if single else values, arrays[name])
      for name, values in ours.items()
      if name in arrays
    }
  )


RUN = {"mask": mask, "pretrain": pretrain, "raft": raft}
