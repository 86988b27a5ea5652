"""Methods of pre-training: a file each, all trained by the same loop."""
