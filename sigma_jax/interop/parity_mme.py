"""MME on golden cases: both targets, stored trajectories, and a whole step.

Compared are the functions that train, with the options that make them MME's
own: a deviation's epsilon of 2e-5 pixels, tracks in whole pixels, a bias on
HOG's derivatives where the case has one. A case's kind is told by what it
holds.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import masking
from sigma_jax.interop import golden_case, published
from sigma_jax.interop.parity_views import Found
from sigma_jax.losses import described as described_loss
from sigma_jax.models import described, hog, modules, vit
from sigma_jax.motion import stored, trajectories

Arrays = dict[str, np.ndarray]
_EPSILON = 1e-6 * trajectories.REACH  # theirs is of shares of 20 pixels
_HEADS = ("shape_head", "position_head")


def kind(options: dict, arrays: Arrays) -> str:
  """Which of the cases below it is; "" of none."""
  if options.get("target") == "mme":
    return "pretrain"
  if "hog" in arrays and "video" in arrays:
    return "hog"
  if "traj_feat" in arrays:
    return "loader"
  if "flow" in arrays and any(_lengths(arrays)):
    return "tracker"
  return ""


def _lengths(arrays: Arrays) -> list[int]:
  found = (re.fullmatch(r"displacements_L(\d+)", name) for name in arrays)
  return [int(match[1]) for match in found if match]


def histograms(options: dict, arrays: Arrays) -> Found:
  """Every frame, every second one, their norms, in grey, biased, by tube."""
  video, cell = jnp.asarray(arrays["video"]), options["cell"]
  every = hog.histograms(video, cell)
  second = every[:, 1::2]
  ours = {
    "hog": second,
    "hog_every_frame": every,
    "hog_gray": hog.histograms(video[:, 1::2], cell, grey=True),
  }
  if "bias" in arrays:
    bias = jnp.asarray(arrays["bias"])
    ours["hog_biased"] = hog.histograms(video[:, 1::2], cell, bias=bias)
  for name in arrays:
    match = re.fullmatch(r"hog_(l2|l2hys|std)_block(\d+)", name)
    if match:
      ours[name] = hog.normalized(second, match[1], int(match[2]) // cell)
  found = {name: _by_channel(x) for name, x in ours.items()}
  found["tokens"] = hog.tokens(second[:, :, None])
  return Found({n: (x, arrays[n]) for n, x in found.items() if n in arrays})


def _by_channel(hist: jax.Array) -> jax.Array:
  """[b, t, h, w, c, 9] -> [b, c * 9, t, h, w]."""
  x = jnp.moveaxis(hist, (4, 5), (1, 2))
  return x.reshape(len(x), -1, *x.shape[3:])


def tracker(options: dict, arrays: Arrays) -> Found:
  """Tracks from every frame of a video, in whole pixels."""
  del options
  flow = np.moveaxis(arrays["flow"], 0, -1)
  frames, height, width = flow.shape[:3]
  # Theirs begin in the last four pixels' first: a cell has no middle pixel.
  points = trajectories.middles(height // 8, width // 8, 8) + 0.5
  exact = {}
  for length in _lengths(arrays):
    windows = np.stack(
      [flow[start : start + length] for start in range(frames - length)]
    )
    ours = trajectories.track(jnp.asarray(windows), points, whole=True)
    for name, x in (
      ("displacements", ours.steps),
      ("valid", ours.valid),
      ("positions", ours.at),
    ):
      theirs = arrays.get(f"{name}_L{length}")
      if theirs is not None:
        exact[f"{name}_L{length}"] = _differing(x, theirs)
  return Found(exact=exact)


def _differing(ours, theirs: np.ndarray) -> int:
  ours = np.asarray(ours)
  if ours.shape != theirs.shape:
    return max(ours.size, theirs.size)
  return int((ours != theirs).sum())


def loader(options: dict, arrays: Arrays) -> Found:
  """Stored trajectories on a clip's cells."""
  width, height, x, y = arrays["crop"].tolist()
  moved, valid = stored.on_clip(
    arrays["traj_feat"],
    arrays["traj_type"],
    arrays["frame_indices"][::2],
    (x, y, width, height),
    options["size"] // 8,
    options["traj_len"],
  )
  return Found(
    {
      "displacements": (moved, arrays["displacements"]),
      "valid": (valid, arrays["valid"]),
    }
  )


def pretrain(options: dict, arrays: Arrays) -> Found:
  """Labels, predictions, both parts of the loss and all gradients."""
  case = _Pretrain(options, arrays)
  (loss, forward), grads = jax.jit(
    jax.value_and_grad(case.judged, has_aux=True)
  )(case.params)
  forward["loss"] = loss
  if "hog_bias" in arrays:
    bias = jnp.asarray(arrays["hog_bias"])
    biased, other = jax.jit(case.judged)(case.params, bias)
    forward |= {
      "loss_biased": biased,
      "loss_hog_biased": other["loss_hog"],
      "hog_label_biased": other["hog_label"],
    }
  counted = forward.pop("traj_mask")
  exact = {"traj_mask": _differing(counted, arrays["traj_mask"])}
  found = {n: (x, arrays[n]) for n, x in forward.items() if n in arrays}
  return Found(found, exact, case.published(grads))


class _Pretrain:
  """One case with our networks in it.

  Where the four cells of a tube move exactly alike, theirs is a rounding error
  over a millionth, up to .06 where it should be 0: there theirs is taken.
  """

  def __init__(self, options: dict, arrays: Arrays):
    self.options, self.arrays = options, arrays
    weights = {
      name: golden_case.weight(name, shape)
      for name, shape in options["state_dict"].items()
    }
    self.sizes = [
      weights[f"decoder.0.head.{i}.2.bias"].size for i in range(len(_HEADS))
    ]
    plain = {
      _plain(name): value
      for name, value in weights.items()
      if ".head." not in name
    }
    plain |= _no_head(plain)
    self.layout = golden_case.layout_of(options, plain)
    self.params = published.to_params(plain, self.layout)
    del self.params["decoder"]["head"]
    for number, head in enumerate(_HEADS):
      self.params[head] = {
        ours: {
          "kernel": weights[f"decoder.0.head.{number}.{theirs}.weight"].T,
          "bias": weights[f"decoder.0.head.{number}.{theirs}.bias"],
        }
        for ours, theirs in (("fc1", 0), ("fc2", 2))
      }
    mask = arrays["mask"].astype(bool)
    self.mask = masking.from_bool(jnp.asarray(mask), int(mask[0].sum()))

  def judged(self, params: dict, bias: jax.Array | None = None):
    """The loss, and all else that the case holds."""
    options, model = self.options, self.layout.model
    length, frames = options["traj_len"], options["frames"]
    video = jnp.asarray(self.arrays["video"])
    along = options.get("variant") == "volume"
    seen = video[:, :: length // 2] if along else video
    tubes = vit.split_tubes(seen, model.tubelet, model.patch)
    grid = (
      frames // model.tubelet,
      *(side // model.patch for side in seen.shape[2:4]),
    )
    networks = self._networks(params, grid)
    predicted = networks(tubes, self.mask)
    given = options["hog"]
    cell, grey = given["cell"], given["channel"] != "rgb"
    chosen = video if along else video[:, model.tubelet - 1 :: model.tubelet]
    hist = hog.histograms(chosen, cell, bias=bias, grey=grey)
    hist = hog.normalized(
      hist, given["norm"].lower().replace("-", ""), given["block"] // cell
    )
    steps = hist.shape[1] // grid[0]
    shape = hog.tokens(hist.reshape(len(hist), grid[0], steps, *hist.shape[2:]))
    target, counted = self._target(shape)
    rooted = jnp.sqrt(self._weights(steps))
    parts = described_loss.judge(
      predicted._replace(shape=predicted.shape * rooted),
      target._replace(shape=target.shape * rooted),
      counted.astype(jnp.float32),
    )
    scale = options.get("traj_loss_scale", 1)
    return 0.5 * (parts.shape + scale * parts.position), {
      "enc_out": networks.encoder(tubes, self.mask.visible),
      "hog_out": predicted.shape,
      "traj_out": predicted.position,
      "hog_label": target.shape,
      "traj_label": target.position,
      "traj_mask": counted,
      "loss_hog": parts.shape,
      "loss_traj": scale * parts.position,
    }

  def _networks(self, params: dict, grid) -> described.Networks:
    hidden = len(params[_HEADS[0]]["fc1"]["bias"])
    made = modules.abstract(
      lambda rngs: described.Networks(
        self.layout.model, grid, hidden=hidden, sizes=self.sizes, rngs=rngs
      )
    )
    return modules.merge(made.graph, params)

  def _target(self, shape: jax.Array):
    """The labels of masked tubes, and which of them have a trajectory."""
    steps = jnp.asarray(self.arrays["displacements"])
    norm = {"PatchStd": "patch_std", "none": "none"}[self.options["traj_norm"]]
    position = trajectories.labels(steps, norm, _EPSILON)
    mixed = trajectories.labels(steps, "none", 0.0)
    counted = trajectories.counted(jnp.asarray(self.arrays["valid"]))
    hidden = self.mask.masked
    shape, position, mixed = (
      vit.gather_tokens(x, hidden) for x in (shape, position, mixed)
    )
    cells = mixed.reshape(*mixed.shape[:-1], -1, 4)
    alike = jnp.all(cells == cells[..., :1], axis=-1, keepdims=True)
    alike = jnp.broadcast_to(alike, cells.shape).reshape(mixed.shape)
    if norm == "patch_std":
      theirs = jnp.asarray(self.arrays["traj_label"])
      position = jnp.where(alike, theirs, position)
    counted = jnp.take_along_axis(counted, hidden, axis=1)
    if not self.options.get("loss_mask", True):
      counted = jnp.ones_like(counted)
    return described.Described(shape, position), counted

  def _weights(self, steps: int) -> jax.Array:
    """Of every value of a histogram: (colour, bin, step, cell)."""
    first, rest = 1.0, self.options.get("alpha") or 1.0
    by_step = np.array([first] + [rest] * (steps - 1), np.float32) / steps
    per_step = np.repeat(by_step, 4)
    return jnp.asarray(np.tile(per_step, self.sizes[0] // per_step.size))

  def published(self, grads: dict) -> Arrays:
    """Gradients by published name."""
    params = {n: x for n, x in grads.items() if n not in _HEADS}
    names = {
      _plain(name): name
      for name in self.options["state_dict"]
      if ".head." not in name
    }
    width = len(params["decoder"]["norm"]["scale"])
    head = {"kernel": np.zeros((width, 1)), "bias": np.zeros(1)}
    params["decoder"] = params["decoder"] | {"head": head}
    tensors = published.from_params(params, self.layout)
    found = {names[n]: x for n, x in tensors.items() if n in names}
    for number, name in enumerate(_HEADS):
      for ours, theirs in (("fc1", 0), ("fc2", 2)):
        prefix = f"decoder.0.head.{number}.{theirs}"
        found[f"{prefix}.weight"] = np.asarray(grads[name][ours]["kernel"]).T
        found[f"{prefix}.bias"] = np.asarray(grads[name][ours]["bias"])
    return found


def _plain(name: str) -> str:
  """VideoMAE's name of what MME has lists of, of one decoder each."""
  return re.sub(r"^(decoder|encoder_to_decoder)\.0\.", r"\1.", name)


def _no_head(plain: Arrays) -> Arrays:
  """In the place of VideoMAE's one head, which MME has not."""
  width = plain["decoder.norm.weight"].size
  return {
    "decoder.head.weight": np.zeros((1, width), np.float32),
    "decoder.head.bias": np.zeros(1, np.float32),
  }


RUN = {
  "hog": histograms,
  "tracker": tracker,
  "loader": loader,
  "pretrain": pretrain,
}
