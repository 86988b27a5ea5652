"""Clips a second, of files and of prepared records."""
