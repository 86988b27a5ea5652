"""Toy sets, drawn on the spot: `python -m sigma_jax.data.toy` and others."""
