"""RAFT-small, a frozen network of optical flow.

https://arxiv.org/abs/2003.12039; code https://github.com/princeton-vl/RAFT,
`core/raft.py` with `--small`. It compares all places of one frame with all of
another, and corrects a flow at an eighth of the size again and again by what it
finds there. Every weight is a `layers.Frozen`: it is loaded and read, and no
gradient is taken. Convolutions have the weights' dtype. Correlations, norms and
flow are float32 (the published code computes the former in float16, the latter
in float32).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sigma_jax import precision
from sigma_jax.models import correlations, layers
from sigma_jax.settings import FLOW_LEAST, FLOW_STRIDE

_HIDDEN, _CONTEXT, _FEATURES = 96, 64, 128  # channels
_EPSILON = 1e-5  # of the instance norm
# Of both encoders: channels and stride of each block.
BLOCKS = ((32, 1), (32, 1), (64, 2), (64, 1), (96, 2), (96, 1))


class Conv(nnx.Module):
  """A convolution in the weights' dtype; it keeps the size but for strides."""

  def __init__(
    self, inputs: int, outputs: int, side: int, *, stride: int = 1, dtype
  ):
    self.stride = stride
    self.kernel = layers.Frozen(jnp.zeros((side, side, inputs, outputs), dtype))
    self.bias = layers.Frozen(jnp.zeros((outputs,), dtype))

  def __call__(self, x: jax.Array) -> jax.Array:
    """float [n, h, w, inputs] -> float32 [n, h / stride, ..., outputs]."""
    kernel = self.kernel[...]
    half = kernel.shape[0] // 2
    x = jax.lax.conv_general_dilated(
      x.astype(kernel.dtype),
      kernel,
      (self.stride, self.stride),
      [(half, half), (half, half)],
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      precision=precision.of(kernel.dtype),
    )
    return (x + self.bias[...]).astype(jnp.float32)


def _instance_norm(x: jax.Array) -> jax.Array:
  """Each channel of each image standardised; no weights."""
  mean = jnp.mean(x, axis=(1, 2), keepdims=True)
  variance = jnp.mean(jnp.square(x - mean), axis=(1, 2), keepdims=True)
  return (x - mean) * jax.lax.rsqrt(variance + _EPSILON)


class Block(nnx.Module):
  """A residual block: narrow, over 3 x 3 pixels, wide again."""

  def __init__(self, inputs: int, outputs: int, stride: int, normed, *, dtype):
    middle = outputs // 4
    self.normed = normed
    self.conv1 = Conv(inputs, middle, 1, dtype=dtype)
    self.conv2 = Conv(middle, middle, 3, stride=stride, dtype=dtype)
    self.conv3 = Conv(middle, outputs, 1, dtype=dtype)
    self.strided = stride > 1
    if self.strided:
      self.downsample = Conv(inputs, outputs, 1, stride=stride, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    """float32 [n, h, w, inputs] -> [n, h / stride, w / stride, outputs]."""
    norm = _instance_norm if self.normed else lambda y: y
    y = x
    for conv in (self.conv1, self.conv2, self.conv3):
      y = jax.nn.relu(norm(conv(y)))
    return jax.nn.relu(y + (norm(self.downsample(x)) if self.strided else x))


class Encoder(nnx.Module):
  """Of frames, at an eighth of their size."""

  def __init__(self, outputs: int, *, normed: bool, dtype):
    self.normed = normed
    self.conv1 = Conv(3, 32, 7, stride=2, dtype=dtype)
    blocks, inputs = [], 32
    for width, stride in BLOCKS:
      blocks.append(Block(inputs, width, stride, normed, dtype=dtype))
      inputs = width
    self.blocks = nnx.List(blocks)
    self.conv2 = Conv(inputs, outputs, 1, dtype=dtype)

  def __call__(self, frames: jax.Array) -> jax.Array:
    """float32 [n, h, w, 3] in [-1, 1] -> float32 [n, h/8, w/8, outputs]."""
    x = self.conv1(frames)
    x = jax.nn.relu(_instance_norm(x) if self.normed else x)
    for block in self.blocks:
      x = block(x)
    return self.conv2(x)


class MotionEncoder(nnx.Module):
  """Of what was found around a flow, and of the flow."""

  def __init__(self, *, dtype):
    self.convc1 = Conv(correlations.FOUND, 96, 1, dtype=dtype)
    self.convf1 = Conv(2, 64, 7, dtype=dtype)
    self.convf2 = Conv(64, 32, 3, dtype=dtype)
    self.conv = Conv(128, 80, 3, dtype=dtype)

  def __call__(self, found: jax.Array, flow: jax.Array) -> jax.Array:
    """float32 [n, h, w, 196] and [n, h, w, 2] -> [n, h, w, 82]."""
    of_flow = jax.nn.relu(self.convf2(jax.nn.relu(self.convf1(flow))))
    both = [jax.nn.relu(self.convc1(found)), of_flow]
    both = jax.nn.relu(self.conv(jnp.concatenate(both, axis=-1)))
    return jnp.concatenate([both, flow], axis=-1)


class Gru(nnx.Module):
  """A gated recurrent unit of 3 x 3 convolutions."""

  def __init__(self, inputs: int, *, dtype):
    width = _HIDDEN + inputs
    self.convz = Conv(width, _HIDDEN, 3, dtype=dtype)
    self.convr = Conv(width, _HIDDEN, 3, dtype=dtype)
    self.convq = Conv(width, _HIDDEN, 3, dtype=dtype)

  def __call__(self, hidden: jax.Array, x: jax.Array) -> jax.Array:
    """float32 [n, h, w, 96] and [n, h, w, inputs] -> [n, h, w, 96]."""
    both = jnp.concatenate([hidden, x], axis=-1)
    kept = jax.nn.sigmoid(self.convz(both))
    read = jax.nn.sigmoid(self.convr(both))
    both = jnp.concatenate([read * hidden, x], axis=-1)
    return (1 - kept) * hidden + kept * jnp.tanh(self.convq(both))


class FlowHead(nnx.Module):
  """The correction of the flow."""

  def __init__(self, *, dtype):
    self.conv1 = Conv(_HIDDEN, 128, 3, dtype=dtype)
    self.conv2 = Conv(128, 2, 3, dtype=dtype)

  def __call__(self, hidden: jax.Array) -> jax.Array:
    """float32 [n, h, w, 96] -> [n, h, w, 2]."""
    return self.conv2(jax.nn.relu(self.conv1(hidden)))


class UpdateBlock(nnx.Module):
  """What turns at every iteration."""

  def __init__(self, *, dtype):
    self.encoder = MotionEncoder(dtype=dtype)
    self.gru = Gru(_CONTEXT + 82, dtype=dtype)
    self.flow_head = FlowHead(dtype=dtype)

  def __call__(self, hidden, context, found, flow):
    """Hidden state and correction after one iteration, float32."""
    motion = self.encoder(found, flow)
    x = jnp.concatenate([context, motion], axis=-1)
    hidden = self.gru(hidden, x)
    return hidden, self.flow_head(hidden)


class RaftSmall(nnx.Module):
  """The network; its weights have to be loaded. Parts are named as published.

  990,162 parameters; at 224 pixels and 6 iterations 9.4 GFLOP a pair.
  """

  def __init__(self, *, dtype):
    self.fnet = Encoder(_FEATURES, normed=True, dtype=dtype)
    self.cnet = Encoder(_HIDDEN + _CONTEXT, normed=False, dtype=dtype)
    self.update_block = UpdateBlock(dtype=dtype)

  @jax.named_scope("flow")
  def __call__(
    self, first: jax.Array, second: jax.Array, iterations: int
  ) -> jax.Array:
    """The flow of each first frame to its second one.

    Args:
      first, second: uint8 [n, h, w, 3]; sides are multiples of 8 from 128 up.
      iterations: from 1; published 6 in MGMAE, 12 and more elsewhere.

    Returns:
      float32 [n, h, w, 2], x (to the right) then y (down) in pixels. No
      gradient.

    Raises:
      ValueError: frames of another size.
    """
    return jax.lax.stop_gradient(
      enlarged(self.coarse(first, second, iterations)[-1])
    )

  def of_pairs(
    self, first: jax.Array, second: jax.Array, iterations: int
  ) -> jax.Array:
    """`__call__` of uint8 [b, p, h, w, 3] -> float32 [b, p, h, w, 2].

    One pair of all clips after another: memory as of one pair a clip.
    """
    pairs = (jnp.moveaxis(x, 1, 0) for x in (first, second))
    flows = jax.lax.map(lambda pair: self(*pair, iterations), tuple(pairs))
    return jnp.moveaxis(flows, 0, 1)

  def coarse(
    self, first: jax.Array, second: jax.Array, iterations: int
  ) -> jax.Array:
    """Flows after each iteration: float32 [i, n, h/8, w/8, 2], in 8 pixels."""
    check_size(*first.shape[1:3])
    first, second = scaled(first), scaled(second)
    levels = correlations.pyramid(self.fnet(first), self.fnet(second))
    hidden, context = jnp.split(self.cnet(first), [_HIDDEN], axis=-1)
    context = jax.nn.relu(context)

    def one(carry, _):
      hidden, flow = carry
      found = correlations.looked_up(levels, flow)
      hidden, change = self.update_block(hidden, context, found, flow)
      return (hidden, flow + change), flow + change

    still = jnp.zeros((*hidden.shape[:3], 2), jnp.float32)
    start = jnp.tanh(hidden), still
    return jax.lax.scan(one, start, length=iterations)[1]


def check_size(height: int, width: int) -> None:
  """Refuses frames that the published code cannot take, or makes NaN of."""
  if (
    min(height, width) < FLOW_LEAST
    or height % FLOW_STRIDE
    or (width % FLOW_STRIDE)
  ):
    raise ValueError(
      f"RAFT takes frames whose sides are multiples of {FLOW_STRIDE} from "
      f"{FLOW_LEAST} up, got {height} x {width}"
    )


def scaled(frames: jax.Array) -> jax.Array:
  """uint8 -> float32 in [-1, 1]."""
  return frames.astype(jnp.float32) / 255.0 * 2.0 - 1.0


def enlarged(flow: jax.Array) -> jax.Array:
  """8 times the size and 8 times the flow; bilinear, corners on corners.

  Args:
    flow: float32 [n, h, w, 2], in 8 pixels.

  Returns:
    float32 [n, 8 h, 8 w, 2], in pixels.
  """

  def weights(size):
    places = np.arange(8 * size) * ((size - 1) / (8 * size - 1))
    away = places[:, None] - np.arange(size)
    return jnp.asarray(np.maximum(1 - np.abs(away), 0), jnp.float32)

  rows, columns = map(weights, flow.shape[1:3])
  flow = precision.einsum("ih,nhwc->niwc", rows, flow)
  return 8 * precision.einsum("jw,niwc->nijc", columns, flow)
