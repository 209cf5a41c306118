"""Measurements of speed and memory; each prints ratios taken in one run."""
