"""`python -m sigma_jax.data.check`: what is wrong with some manifests."""
