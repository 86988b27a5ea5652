"""SIGMA: Sinkhorn-guided masked video modelling in JAX."""
