"""Motion of clips, and masks that follow it."""
