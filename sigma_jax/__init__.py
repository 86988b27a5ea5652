"""SIGMA: Sinkhorn-guided masked video modelling in JAX."""


def load(path, **options):
  """Loads the encoder of a checkpoint: a workdir, .pth or transformers folder.

  Arguments and result are those of `inference.encoder.load`. It is imported
  only here, so that `import sigma_jax` costs nothing.
  """
  import os

  from sigma_jax import paths
  from sigma_jax.inference import encoder

  return encoder.load(paths.expand(os.fspath(path)), **options)


def read_clip(path, encoder=None, **options):
  """Reads a clip of a video file, uint8 [t, h, w, 3], as `features` sees it.

  Arguments and result are those of `inference.clips.read_clip`, which is
  imported only here.
  """
  import os

  from sigma_jax import paths
  from sigma_jax.inference import clips

  return clips.read_clip(paths.expand(os.fspath(path)), encoder, **options)
