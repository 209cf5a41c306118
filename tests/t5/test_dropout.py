"""Dropout's random bits against JAX's own Threefry, and their distribution."""

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.t5.dropout import random_bits, threefry


def test_threefry_is_that_of_jax():
  key = jax.random.key(7)
  counts = jnp.arange(64, dtype=jnp.uint32)
  want = jax.extend.random.threefry_2x32(jax.random.key_data(key), counts)
  k0, k1 = jax.random.key_data(key)
  np.testing.assert_array_equal(jnp.concatenate(threefry(k0, k1, counts[:32], counts[32:])), want)


@pytest.mark.parametrize('shape', [(), (1,), (5,), (2, 3), (3, 4, 8), (2, 1, 1)])
def test_bits_have_the_shape(shape):
  bits = random_bits(jax.random.key(0), shape)
  assert (bits.shape, bits.dtype) == (shape, jnp.uint16)


def test_bits_are_uniform_and_independent():
  bits = np.asarray(random_bits(jax.random.key(3), (256, 1024)), np.float64)
  n = bits.size
  counts = np.histogram(bits, 256, (0, 2**16))[0]
  # Chi squared with 255 degrees of freedom: 99.9 % lie below 330.
  assert ((counts - n / 256) ** 2 / (n / 256)).sum() < 330
  centred = (bits - bits.mean()) / bits.std()
  for shift in (1, 256, 512, 768):  # neighbours, and the quarters that one block serves
    assert abs((centred[:, shift:] * centred[:, :-shift]).mean()) < 5 / np.sqrt(n)
  assert abs((centred[1:] * centred[:-1]).mean()) < 5 / np.sqrt(n)


def test_other_keys_give_other_bits():
  a, b, c = (random_bits(jax.random.key(seed), (64,)) for seed in (0, 1, 0))
  assert not np.array_equal(a, b)
  np.testing.assert_array_equal(a, c)
