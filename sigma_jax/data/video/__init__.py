"""Video and image files: what is in them, and frames out of them."""
