"""Every figure of one accelerator by one command, in parts with deadlines."""
