"""Unsupervised segmentation by what a frozen encoder sees at each place."""
