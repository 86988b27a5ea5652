"""Video files in, batches of clips out: the only package with TensorFlow."""
