"""A trained encoder as an object: video in, tokens and assignments out.

encoder = sigma_jax.load("runs/k400")  # or a .pth, or a folder
tokens, pooled = encoder.encode(video)
"""

import hashlib
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sigma_jax import errors, precision
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop import store
from sigma_jax.losses import assignment, levels
from sigma_jax.models import heads, targets, vit


class Encoding(NamedTuple):
  """What an encoder makes of clips. Tubes are ordered (time, row, column).

  tokens: float32 [b, n, d], one for each tube.
  pooled: float32 [b, d], one for each clip.
  """

  tokens: jax.Array
  pooled: jax.Array


class Assignment(NamedTuple):
  """Prototypes of the tubes of clips.

  labels: int32 [b, n], the nearest prototype of every tube.
  soft: float32 [b, n, k], softmax of the scores divided by epsilon.
  """

  labels: jax.Array
  soft: jax.Array


class Classification(NamedTuple):
  """What a classifier says of clips.

  logits: float32 [b, classes], before softmax.
  names: of the classes; their numbers if nobody has named them.
  """

  logits: jax.Array
  names: tuple[str, ...]


class VideoEncoder:
  """One checkpoint's encoder and, where it has them, its prototypes.

  Attributes:
    settings: of the run; `data` has the clip geometry it was trained with.
    kind: mlp, dino or pixel (pre-trained with that target), encoder (an
      encoder alone) or finetune.
    dim: d, width of tokens.
    class_names: of a fine-tuned model's classes; () of others.
  """

  def __init__(self, model: store.Model):
    """model: from `interop.store.read`; `load` does both."""
    self.settings, self.kind = model.settings, model.layout.kind
    self.dim = model.settings.model.encoder_dim
    self._layout = model.layout
    numbers = tuple(map(str, range(model.layout.num_classes)))
    self.class_names = model.class_names or numbers
    self._params = jax.tree.map(jnp.asarray, model.params)
    self._frozen: dict | None = None
    self._encode = jax.jit(self._encoding)
    self._assign = jax.jit(self._assignment)
    self._classify = jax.jit(self._logits)

  def encode(self, video: jax.Array) -> Encoding:
    """Tokens of all tubes and one vector for each clip; nothing is masked.

    Clips may have another resolution or length than those trained with: `load`
    says which positions their tubes get.

    Args:
      video: uint8 [b, t, h, w, 3], t, h and w multiples of a tube's sides.

    Returns:
      An `Encoding`. Of pre-trained models it has the tokens after the encoder's
      last LayerNorm, and the mean over tubes of the tokens before it, which the
      frozen probes use (of V-JEPA's models, after it: see
      `settings.Model.pool_normed`). Of fine-tuned models it has the last
      block's tokens, and the normalised mean that the classifier reads.

    Raises:
      ValueError: the video has another type or shape.
    """
    return self._encode(self._params, self._checked(video))

  def classify(self, video: jax.Array) -> Classification:
    """Classifies clips, each by itself, with a fine-tuned model.

    For several clips of one video, take the mean of their softmax.

    Args:
      video: as of `encode`; `sigma_jax.read_clip` makes clips of files.

    Raises:
      UserError: the checkpoint has no classifier.
      ValueError: not such a video.
    """
    options = self.settings.supervised
    if self.settings.task == "supervised" and options.targets == "count":
      raise errors.UserError("this model counts repetitions, it has no classes")
    if not self._layout.num_classes:
      raise errors.UserError(
        f"this checkpoint has no classifier: it is of kind {self.kind!r}; "
        "configs/eval/finetune.py trains one on it"
      )
    logits = self._classify(self._params, self._checked(video))
    return Classification(logits, self.class_names)

  def assign(self, video: jax.Array) -> Assignment:
    """Prototypes of all tubes, by the target network and not by the encoder.

    Each tube's target embedding (SIGMA's mlp on its pixels, or the teacher's
    features) and the prototypes are L2-normalised. Their cosines are the
    scores. A label is the prototype with the largest score. `soft` is
    softmax(scores / epsilon) with the run's epsilon. Both depend on the tube
    alone. Training balances assignments over the batch by Sinkhorn, so its
    labels can differ.

    Args:
      video: uint8 [b, t, h, w, 3] of the size and length trained with.

    Raises:
      UserError: the checkpoint has no prototypes, or the teacher's weights
        (`target.weights`) are not there.
      ValueError: not such a video.
    """
    if not self._layout.num_prototypes:
      raise errors.UserError(
        f"this checkpoint has no prototypes: it is of kind {self.kind!r}"
      )
    data = self.settings.data
    video = self._checked(video)
    if video.shape[1:4] != (data.num_frames, data.size, data.size):
      raise ValueError(
        f"assignments need clips of {data.num_frames} x {data.size} x "
        f"{data.size}, got {video.shape[1:4]}"
      )
    if self._frozen is None:
      from sigma_jax.interop import teacher

      frozen = teacher.load(self.settings).get("target", {})
      self._frozen = jax.tree.map(jnp.asarray, frozen)
    return self._assign(self._params, self._frozen, video)

  def fingerprint(self) -> str:
    """Sixteen hex digits that change with any weight."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(self._params):
      digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]

  def _checked(self, video: jax.Array) -> jax.Array:
    video = jnp.asarray(video)
    model = self.settings.model
    sides = (model.tubelet, model.patch, model.patch)
    if (
      video.dtype != jnp.uint8
      or video.ndim != 5
      or video.shape[-1] != 3
      or any(
        n == 0 or n % k for n, k in zip(video.shape[1:4], sides, strict=True)
      )
    ):
      raise ValueError(
        "video must be uint8 [b, t, h, w, 3] with t, h, w multiples of "
        f"{sides}, got {video.dtype} {list(video.shape)}"
      )
    return video

  def _grid(self, video: jax.Array) -> tuple[int, int, int]:
    model = self.settings.model
    _, time, height, width, _ = video.shape
    return time // model.tubelet, height // model.patch, width // model.patch

  def _classifier(self, params: dict, video: jax.Array) -> heads.Classifier:
    return layout_lib.assemble(
      params,
      heads.Classifier,
      self.settings.model,
      self._grid(video),
      self._layout.num_classes,
    )

  def _logits(self, params: dict, video: jax.Array) -> jax.Array:
    return self._classifier(params, video)(video)

  def _encoding(self, params: dict, video: jax.Array) -> Encoding:
    if self._layout.num_classes:
      classifier = self._classifier(params, video)
      tokens = classifier.tokens(video)
      return Encoding(tokens, classifier.pooled(tokens))
    model = self.settings.model
    tubes = vit.split_tubes(video, model.tubelet, model.patch)
    encoder = layout_lib.assemble(
      params["encoder"],
      vit.Encoder,
      model,
      self._grid(video),
      final_norm=self._layout.final_norm,
    )
    tokens = encoder(tubes, final_norm=False)
    normed = encoder.norm(tokens) if self._layout.final_norm else tokens
    pooled = normed if model.pool_normed else tokens
    return Encoding(normed, jnp.mean(pooled, axis=1))

  def _assignment(self, params: dict, frozen: dict, video) -> Assignment:
    model = self.settings.model
    tubes = vit.split_tubes(video, model.tubelet, model.patch)
    made = nnx.eval_shape(
      lambda: targets.build(self.settings, rngs=nnx.Rngs(0))
    )
    target = nnx.merge(nnx.split(made)[0], params.get("target", {}), frozen)
    everything = jnp.arange(tubes.shape[1], dtype=jnp.int32)
    features = target(tubes, jnp.tile(everything, (len(tubes), 1)))
    scores = precision.einsum(
      "bnp,kp->bnk",
      assignment.normalize(features),
      levels.vectors(params, self.settings.loss),
    )
    soft = jax.nn.softmax(scores / self.settings.loss.epsilon, axis=-1)
    return Assignment(jnp.argmax(scores, axis=-1).astype(jnp.int32), soft)


def load(
  path: str | pathlib.Path, *, interpolate: bool = False, **options
) -> VideoEncoder:
  """Loads the encoder of a checkpoint.

  Args:
    path: workdir of a run, published .pth (SIGMA, VideoMAE; pre-trained or
      fine-tuned) or folder of transformers.
    interpolate: what positions get if clips have another length or size than
      those trained with. False: the rows that the table's formula has for
      their own tubes, as published models have; that is right for another
      length. True: the table of training, interpolated. It is meant for another
      picture size, where a row of the formula stands for another place than it
      did in training.
    **options: of `interop.store.read`: num_frames, size, encoder_heads,
      decoder_heads, config, note. Most files do not say for which clips they
      were trained: a .pth is then taken to be for 16 frames of 224 pixels.

  Raises:
    UserError: there is nothing, or no such checkpoint.
  """
  model = store.read(path, **options)
  if interpolate:
    run = model.settings
    model = store.with_table(model, run.model.table_grid or run.grid)
  return VideoEncoder(model)
