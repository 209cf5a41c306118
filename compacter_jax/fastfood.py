"""Fastfood (Le et al. 2013, arXiv:1408.3060): a random projection that needs no matrix.

P(v) = W G Pi W B pad(v), scaled so that lengths are kept: W is the Walsh-Hadamard transform, B are
random signs, Pi is a random permutation and G are normal numbers, as in Li et al. 2018
(arXiv:1804.08838) and Aghajanyan et al. 2021 (arXiv:2012.13255). B, Pi and G are functions of a key
and of the index, drawn where they are used and never stored.
Shapes: V length of v, Z size of the result, P and Q the powers of two from Z and min(V, P) up.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import ndtri

_RADIX = 5  # bits of an index that one product transforms; 5 is fastest on a CPU
_ROUNDS = 4  # of the permutation, of two words each
_KEYS = 2 * _ROUNDS + 2  # and two words for the normal numbers


def walsh_hadamard(x: Array, wanted: int | None = None) -> Array:
  """The unnormalised Walsh-Hadamard transform in natural order.  x: [P], P a power of two.

  wanted: how many entries of it, from the first on; None is all.
  """
  wanted, bits = wanted or len(x), _log2(len(x))
  stages = max(-(-bits // _RADIX), 1)
  for i in range(stages):  # each transforms the lowest bits and makes them the highest
    radix = 1 << (bits * (i + 1) // stages - bits * i // stages)
    matrix, x = _hadamard(radix), x.reshape(-1, radix)
    if i == stages - 1:
      matrix = matrix[: -(-wanted // len(x))]  # what lies behind is cut off below
    # Accelerators would round to few bits: products with +-1 must stay exact.
    x = jax.lax.dot_general(matrix, x, (((1,), (1,)), ((), ())), 'highest').reshape(-1)
  return x[:wanted]


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
    return scale * walsh_hadamard(gaussians * shuffled, self.size)

  def project_back(self, u: Array) -> Array:
    """The transpose of `project`.  u: [Z] -> [V]."""
    gaussians, scale = self._scaled()
    wide = gaussians * walsh_hadamard(jnp.pad(u, (0, self.padded - self.size)))
    table = jnp.zeros(self._table).at[self._places()].add(wide, mode='promise_in_bounds')
    v = self.signs() * walsh_hadamard(table)
    return scale * jnp.pad(v, (0, max(self.length - len(v), 0)))[: self.length]

  def signs(self) -> Array:
    """The first Q entries of B: the others meet zeros."""
    return 1 - 2 * (self._words()[-self._table :] & 1).astype(jnp.float32)

  def permute(self, i: Array) -> Array:
    """Pi as a function: where entry i is taken from.  i: any shape, uint32 below P.

    Rounds of an odd multiple and a folding of the high bits onto the low ones, each one-to-one.
    """
    words = self._words()
    last, half = _word(self.padded - 1), _word(max((_log2(self.padded) + 1) // 2, 1))
    for odd, add in zip(words[:_ROUNDS], words[_ROUNDS : 2 * _ROUNDS], strict=True):
      i = (i * (odd | 1) + add) & last
      i ^= i >> half
    return i

  def gaussians(self) -> Array:
    """G, [P], each by its index: 65,536 equally likely values, the middles of as many quantiles.

    Threefry and the inverse of the distribution for each would take longer than all the rest.
    """
    first, second = self._words()[2 * _ROUNDS : _KEYS]
    drawn = _scrambled(_scrambled(self._indices() ^ first) + second) >> 16
    quantiles = jnp.asarray(_quantiles())
    return quantiles.at[drawn.astype(jnp.int32)].get(mode='promise_in_bounds')

  def _scaled(self):
    gaussians = jax.lax.optimization_barrier(self.gaussians())  # else made twice
    return gaussians, jax.lax.rsqrt(self.size * jnp.vdot(gaussians, gaussians))

  def _places(self):
    """Where each entry of Pi's output is taken from, in the table of Q that repeats."""
    return (self.permute(self._indices()) & _word(self._table - 1)).astype(jnp.int32)

  def _indices(self):
    return jnp.arange(self.padded, dtype=jnp.uint32)

  def _words(self):
    """All that the key draws, at once (a call of Threefry is slow to compile): keys, then signs."""
    return jax.random.bits(self.key, (_KEYS + self._table,), jnp.uint32)

  @property
  def padded(self) -> int:
    """P."""
    return _power_of_two(self.size)

  @property
  def _table(self) -> int:
    return min(self.padded, _power_of_two(self.length))


@functools.cache
def _quantiles() -> np.ndarray:
  """The middles of 65,536 quantiles of the normal distribution."""
  return ndtri((np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.float32)


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
