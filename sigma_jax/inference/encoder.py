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
  """tokens: float32 [b, n, d], one a tube. pooled: float32 [b, d], one a clip.

  Tubes are ordered (time, row, column).
  """

  tokens: jax.Array
  pooled: jax.Array


class Assignment(NamedTuple):
  """labels: int32 [b, n], the nearest prototype of every tube.

  soft: float32 [b, n, k], softmax of the scores over epsilon.
  """

  labels: jax.Array
  soft: jax.Array


class Classification(NamedTuple):
  """logits: float32 [b, classes], before softmax. names: of the classes.

  Where nobody has named the classes, their names are their numbers.
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
    """Tokens of all tubes and one vector a clip; nothing is masked.

    Clips of another resolution or length than trained with get the rows of the
    position table's formula, or interpolated ones: see `load`.

    Args:
      video: uint8 [b, t, h, w, 3], t, h and w multiples of a tube's sides.

    Returns:
      Pre-trained models: tokens after the encoder's last LayerNorm, and the
      mean over tubes of the tokens before it (of V-JEPA's, after it, see
      `settings.Model.pool_normed`), which the frozen probes use.
      Fine-tuned models: the last block's tokens, and the normalised mean that
      the classifier reads.

    Raises:
      ValueError: not such a video.
    """
    return self._encode(self._params, self._checked(video))

  def classify(self, video: jax.Array) -> Classification:
    """What a fine-tuned model says of clips, each by itself.

    A test by several views takes the mean of the softmax of theirs.

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
    """Prototypes of all tubes, by the target network and not the encoder.

    Each tube's target embedding (SIGMA's mlp on its pixels, or the teacher's
    features) and the prototypes are L2-normalised; scores are their cosines.
    A label is the prototype of the largest score, soft is
    softmax(scores / epsilon) with the run's epsilon: both are of the tube
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
  """The encoder of a checkpoint.

  Args:
    path: workdir of a run, published .pth (SIGMA, VideoMAE; pre-trained or
      fine-tuned) or folder of transformers.
    interpolate: clips of another geometry than trained with get the table of
      training, interpolated, in place of the formula's rows for their own
      tubes. Rows are what published models have, and all that a change of
      length needs; but where frames are more or fewer tubes wide, a row stands
      for another place than it did in training, an interpolated one does not.
    **options: of `interop.store.read`: num_frames, size, encoder_heads,
      decoder_heads, config, note. Files do not tell clip geometry: a .pth is
      taken to be 16 x 224.

  Raises:
    UserError: nothing there, or not such a checkpoint.
  """
  model = store.read(path, **options)
  if interpolate:
    run = model.settings
    model = store.with_table(model, run.model.table_grid or run.grid)
  return VideoEncoder(model)
