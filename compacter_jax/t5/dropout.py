"""Dropout whose random numbers cost little.

JAX spends one Threefry block, 64 random bits, on every number however narrow. A mask needs 16 bits
per element: here each block serves four. Masks are a pure function of key and shape, whatever the
sharding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

_ROTATIONS = 13, 15, 26, 6, 17, 29, 16, 24
_PARITY = 0x1BD11BDA


class Dropout(nn.Module):
  """Sets elements to zero at `rate`, exact to 1 / 65,536, and scales the others by 1 / keep."""

  rate: float
  training: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """x: any shape."""
    threshold = round(self.rate * 2**16)
    if not self.training or threshold == 0:
      return x
    keep = random_bits(self.make_rng('dropout'), x.shape) >= threshold
    return jnp.where(keep, x / (1 - threshold / 2**16), 0).astype(x.dtype)


# Compiled apart, so that it is traced once per shape and not at every place.
@functools.partial(jax.jit, static_argnums=1)
def random_bits(key: Array, shape: tuple[int, ...]) -> Array:
  """16 random bits per element: uint16 of that shape.  key: a typed key."""
  words = jax.random.key_data(key).astype(jnp.uint32).ravel()
  # Folded to two words: other generators than Threefry have longer keys.
  k0, k1 = (jax.lax.reduce_xor(words[i::2], axes=(0,)) for i in range(2))
  last = shape[-1] if shape else 1
  counter, stride = jnp.uint32(0), 1
  blocks = (*shape[:-1], -(-last // 4))
  for axis in reversed(range(len(blocks))):
    index = jax.lax.broadcasted_iota(jnp.uint32, blocks, axis)
    counter, stride = counter + index * np.uint32(stride), stride * blocks[axis]
  # Joined before they are cut in two: XLA's CPU runs all rounds again for each part it writes.
  words = jnp.concatenate(threefry(k0, k1, counter, jnp.zeros_like(counter)), -1)
  bits = jax.lax.bitcast_convert_type(words, jnp.uint16)
  return bits.reshape(*blocks[:-1], -1)[..., :last].reshape(shape)


def threefry(k0: Array, k1: Array, x0: Array, x1: Array) -> tuple[Array, Array]:
  """Threefry-2x32 with 20 rounds (Salmon et al. 2011), written out so that it fuses; all uint32."""
  keys = k0, k1, k0 ^ k1 ^ np.uint32(_PARITY)
  x0, x1 = x0 + keys[0], x1 + keys[1]
  for i in range(20):
    left = _ROTATIONS[i % 8]
    x0 = x0 + x1
    x1 = ((x1 << np.uint32(left)) | (x1 >> np.uint32(32 - left))) ^ x0
    if i % 4 == 3:
      turn = i // 4 + 1
      x0, x1 = x0 + keys[turn % 3], x1 + keys[(turn + 1) % 3] + np.uint32(turn)
  return x0, x1
