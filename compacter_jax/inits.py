"""Initialisers: (key, shape, dtype) -> array, as Flax modules take them.

The Glorot family is the paper's: gain sqrt(2), fans taken from the last two axes, so that a stack
of matrices is drawn slice by slice (reference implementation of Karimi Mahabadi et al. 2021).
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

Init = Callable[..., Array]


def zeros(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
  """All zeros; `key` is not used."""
  del key
  return jnp.zeros(shape, dtype)


def ones(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
  """All ones; `key` is not used."""
  del key
  return jnp.ones(shape, dtype)


# Cached, so that modules with the same initialiser are equal and compiled once.
@functools.cache
def normal(std: float) -> Init:
  """N(0, std^2)."""
  return lambda key, shape, dtype=jnp.float32: std * jax.random.normal(key, shape, dtype)


@functools.cache
def uniform(bound: float) -> Init:
  """U(-bound, bound)."""
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def glorot_uniform(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
  """U(-b, b) with b = sqrt(2) sqrt(6 / (fan_in + fan_out)).  shape: [..., fan_in, fan_out]."""
  bound = math.sqrt(2) * math.sqrt(6 / (shape[-2] + shape[-1]))
  return jax.random.uniform(key, shape, dtype, -bound, bound)


def glorot_normal(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
  """N(0, s^2) with s = sqrt(2) sqrt(2 / (fan_in + fan_out)).  shape: [..., fan_in, fan_out]."""
  std = math.sqrt(2) * math.sqrt(2 / (shape[-2] + shape[-1]))
  return std * jax.random.normal(key, shape, dtype)
