"""What a step asks of a TPU pod, compiled on a machine without a TPU."""
