"""SIGMA: Sinkhorn-guided masked video modelling in JAX."""


def load(path, **options):
  """The encoder of a checkpoint: a workdir, .pth or transformers folder.

  See `inference.encoder.load`; imported here late, so that `import sigma_jax`
  costs nothing.
  """
  import os

  from sigma_jax import paths
  from sigma_jax.inference import encoder

  return encoder.load(paths.expand(os.fspath(path)), **options)


def read_clip(path, encoder=None, **options):
  """A clip of a video file, uint8 [t, h, w, 3]: the pixels `features` sees.

  See `inference.clips.read_clip`; imported late as above.
  """
  import os

  from sigma_jax import paths
  from sigma_jax.inference import clips

  return clips.read_clip(paths.expand(os.fspath(path)), encoder, **options)
