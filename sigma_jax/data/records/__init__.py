"""Prepared records: frames as JPEG, in shards that read fast."""
