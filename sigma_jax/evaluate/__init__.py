"""Judging frozen encoders: features, linear probe, kNN."""
