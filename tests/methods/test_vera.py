import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.method import Site, init
from compacter_jax.methods.vera import VeRA
from compacter_jax.model import Model
from tests.conftest import TINY

RNG = np.random.default_rng(0)
SITES = {'a': Site('a', 96, 640, None), 'b': Site('b', 320, 64, None)}


def test_the_equation():
  left, right = RNG.standard_normal((9, 2)), RNG.standard_normal((2, 8))
  x, d, b = RNG.standard_normal((4, 6)), RNG.standard_normal(2), RNG.standard_normal(3)
  arrays = x, np.ones((4, 3)), {'d': d, 'b': b}, {'left': left, 'right': right}
  got = VeRA(rank=2).edit(*jax.tree.map(jnp.float32, arrays))
  want = 1 + x @ (left[:6] @ np.diag(d) @ right[:, :3] @ np.diag(b))
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_the_pair_is_as_large_as_the_largest_site_and_kaiming_uniform():
  pair = VeRA(rank=128, where='.*').constants(SITES).shared
  assert {name: array.shape for name, array in pair.items()} == {
    'left': (320, 128),
    'right': (128, 640),
  }
  for array in map(np.asarray, pair.values()):
    bound = (6 / len(array)) ** 0.5
    assert np.abs(array).max() <= bound
    assert np.std(array) == pytest.approx(bound / 3**0.5, rel=0.03)


def test_the_seed_alone_decides_the_pair_whose_two_halves_differ():
  square = {'s': Site('s', 8, 8, None)}
  pair = lambda seed: VeRA(rank=8, where='s', seed=seed).constants(square).shared
  np.testing.assert_array_equal(pair(3)['left'], pair(3)['left'])
  assert not np.any(pair(3)['left'] == pair(4)['left'])
  assert not np.any(pair(3)['left'] == pair(3)['right'])


def test_each_site_starts_from_d_init_and_zero():
  tuned = init(Model(TINY['t5'], VeRA(rank=4, d_init=0.3)).specs(), jax.random.key(0))
  assert not tuned.shared
  for arrays in tuned.site.values():
    assert np.all(arrays['d'] == np.float32(0.3)) and not arrays['b'].any()
    assert arrays['d'].dtype == jnp.float32 and not arrays['d'].weak_type


@pytest.mark.parametrize('fields', [{'rank': 0}, {'d_init': 0.0}])
def test_what_is_out_of_range_is_refused(fields):
  with pytest.raises(ConfigError, match='out of range'):
    Model(TINY['t5'], VeRA(**fields)).specs()
