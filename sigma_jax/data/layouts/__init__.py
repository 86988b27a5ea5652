"""Manifests of public data sets from their official annotation files."""
