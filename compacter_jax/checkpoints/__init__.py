"""Checkpoints of a run: whole or absent, every byte checked, the last one never lost."""

from compacter_jax.checkpoints.checkpoints import Checkpoints, Restored
from compacter_jax.checkpoints.verifying import Finding, verify

__all__ = ['Checkpoints', 'Finding', 'Restored', 'verify']
