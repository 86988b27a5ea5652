"""A grid of pre-trainings times seeds, each judged, in one table."""
