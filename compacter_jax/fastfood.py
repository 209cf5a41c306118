"""Fastfood (Le et al. 2013, arXiv:1408.3060): a random projection that needs no matrix.

P(v) = W G Pi W B pad(v), scaled so that lengths are kept: W is the Walsh-Hadamard transform, B are
random signs, Pi is a random permutation and G are normal numbers, as in Li et al. 2018
(arXiv:1804.08838) and Aghajanyan et al. 2021 (arXiv:2012.13255). B, Pi and G are functions of a key
and of the index, drawn where they are used and never stored.
Shapes: V length of v, Z size of the result, P and Q the powers of two from Z and min(V, P) up.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_RADIX = 5  # bits of an index that one product transforms; 5 is fastest on a CPU
_ROUNDS = 4


def walsh_hadamard(x: Array) -> Array:
  """The unnormalised Walsh-Hadamard transform in natural order.  x: [P], P a power of two."""
  bits = _log2(len(x))
  stages = max(-(-bits // _RADIX), 1)
  for i in range(stages):  # each transforms the lowest bits and makes them the highest
    radix = 1 << (bits * (i + 1) // stages - bits * i // stages)
    contract = ((1,), (1,)), ((), ())
    # Accelerators would round to few bits: products with +-1 must stay exact.
    product = jax.lax.dot_general(_hadamard(radix), x.reshape(-1, radix), contract, 'highest')
    x = product.reshape(-1)
  return x


def _hadamard(size: int) -> Array:
  two = np.array([[1, 1], [1, -1]], np.float32)
  one = np.ones((1, 1), np.float32)
  return jnp.asarray(functools.reduce(np.kron, [two] * _log2(size), one))


class Fastfood(NamedTuple):
  """One projection from [V] to [Z], and its transpose.

  Attributes:
    length: V. If P < V, only the first P entries of v are seen.
    size: Z.
    key: draws B, Pi and G.
  """

  length: int
  size: int
  key: Array

  def project(self, v: Array) -> Array:
    """P(v).  v: [V] -> [Z], about as long as v."""
    seen = self._table
    v = jnp.pad(v[:seen], (0, max(seen - len(v), 0)))
    # What lies behind Q is zero, so the transform of all P repeats that of Q over and over.
    table = walsh_hadamard(self.signs() * v)
    gaussians, scale = self._scaled()
    shuffled = table.at[self._places()].get(mode='promise_in_bounds')
    return scale * walsh_hadamard(gaussians * shuffled)[: self.size]

  def project_back(self, u: Array) -> Array:
    """The transpose of `project`.  u: [Z] -> [V]."""
    gaussians, scale = self._scaled()
    wide = gaussians * walsh_hadamard(jnp.pad(u, (0, self.padded - self.size)))
    table = jnp.zeros(self._table).at[self._places()].add(wide, mode='promise_in_bounds')
    v = self.signs() * walsh_hadamard(table)
    return scale * jnp.pad(v, (0, max(self.length - len(v), 0)))[: self.length]

  def signs(self) -> Array:
    """The first Q entries of B: the others meet zeros."""
    return jax.random.rademacher(self._key(0), (self._table,), jnp.float32)

  def permute(self, i: Array) -> Array:
    """Pi as a function: where entry i is taken from.  i: any shape, uint32 below P.

    Rounds of an odd multiple and a folding of the high bits onto the low ones, each one-to-one.
    """
    odd, add = jax.random.bits(self._key(1), (2, _ROUNDS), jnp.uint32)
    last, half = _word(self.padded - 1), _word(max((_log2(self.padded) + 1) // 2, 1))
    for j in range(_ROUNDS):
      i = (i * (odd[j] | 1) + add[j]) & last
      i ^= i >> half
    return i

  def gaussians(self) -> Array:
    """G, [P], each by its index: Threefry would take longer than all the rest."""
    first, second = jax.random.bits(self._key(2), (2,), jnp.uint32)
    bits = _scrambled(_scrambled(self._indices() ^ first) + second)
    # The middles of 2^23 intervals of (-1, 1): never an end, where the normal number is infinite.
    uniform = (bits >> 9).astype(jnp.float32) * 2.0**-22 + (2.0**-23 - 1)
    return math.sqrt(2) * jax.lax.erf_inv(uniform)

  def _scaled(self):
    gaussians = self.gaussians()
    return gaussians, jax.lax.rsqrt(self.size * jnp.sum(gaussians * gaussians))

  def _places(self):
    """Where each entry of Pi's output is taken from, in the table of Q that repeats."""
    return (self.permute(self._indices()) & _word(self._table - 1)).astype(jnp.int32)

  def _indices(self):
    return jnp.arange(self.padded, dtype=jnp.uint32)

  def _key(self, part: int):
    return jax.random.fold_in(self.key, part)

  @property
  def padded(self) -> int:
    """P."""
    return _power_of_two(self.size)

  @property
  def _table(self) -> int:
    return min(self.padded, _power_of_two(self.length))


def _scrambled(x: Array) -> Array:
  """A random function of 32 bits: multiplications and shifts found by Wellons 2018 (lowbias32)."""
  x = (x ^ (x >> 16)) * _word(0x7FEB352D)
  x = (x ^ (x >> 15)) * _word(0x846CA68B)
  return x ^ (x >> 16)


def _word(x: int) -> Array:
  return jnp.asarray(x, jnp.uint32)


def _log2(power: int) -> int:
  return power.bit_length() - 1


def _power_of_two(x: int) -> int:
  """The smallest power of two that is no less than x."""
  return 1 << (x - 1).bit_length()
