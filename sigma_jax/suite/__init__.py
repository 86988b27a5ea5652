"""Every protocol on one checkpoint, in one table: on top of all the others."""
