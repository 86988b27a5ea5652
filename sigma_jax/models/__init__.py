"""Flax NNX modules: video ViT, projection networks and their assembly."""
