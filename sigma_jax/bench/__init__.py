"""Benchmarks: `python -m sigma_jax.bench loss|step|compile|scaling`."""
