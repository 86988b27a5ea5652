"""Random changes to clips on the device: pure functions of a key."""
