"""Runs that are killed, asked to end and damaged until they end, and what became of them."""
