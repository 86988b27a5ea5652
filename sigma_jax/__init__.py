"""SIGMA: Sinkhorn-guided masked video modelling in JAX."""


def load(path, **options):
  """The encoder of a checkpoint: a workdir, .pth or transformers folder.

  See `sigma_jax.encoder.load`; imported here late, so that `import sigma_jax`
  costs nothing.
  """
  import os

  from sigma_jax import encoder, paths

  return encoder.load(paths.expand(os.fspath(path)), **options)
