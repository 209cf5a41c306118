"""T5 and its family: configs, network, decoding, files."""

from compacter_jax.t5.config import Config, count, shapes
from compacter_jax.t5.files import check, load, read_config
from compacter_jax.t5.hub import resolve
from compacter_jax.t5.network import random_weights
from compacter_jax.t5.saving import save
from compacter_jax.t5.sizes import SIZES, size_named

__all__ = [
  'SIZES',
  'Config',
  'check',
  'count',
  'load',
  'random_weights',
  'read_config',
  'resolve',
  'save',
  'shapes',
  'size_named',
]
