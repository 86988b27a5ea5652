"""Checkpoints of PyTorch and Hugging Face, both ways, strict."""
