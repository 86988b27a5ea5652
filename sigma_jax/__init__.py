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
