"""Optimal transport and the losses built on it."""
