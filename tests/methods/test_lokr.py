import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.hypercomplex import kron, split
from compacter_jax.method import Site, init
from compacter_jax.methods.lokr import LoKr
from compacter_jax.model import Model
from tests.conftest import TINY

RNG = np.random.default_rng(0)
KINDS = {  # what is trained of a kernel [768, 3072]
  (8, None, False): {'a': (24, 48), 's': (32, 8), 't': (8, 64)},
  (8, None, True): {'a_left': (24, 8), 'a_right': (8, 48), 's': (32, 8), 't': (8, 64)},
  (32, None, True): {'a': (24, 48), 'b': (32, 64)},
  (31, None, True): {'a': (24, 48), 's': (32, 31), 't': (31, 64)},
  (4, 16, True): {'a_left': (16, 4), 'a_right': (4, 16), 's': (48, 4), 't': (4, 192)},
  (4, 100, False): {'a': (24, 48), 's': (32, 4), 't': (4, 64)},
  (4, 1, True): {'a': (1, 1), 's': (768, 4), 't': (4, 3072)},
}


def made(site, **fields):
  specs = LoKr(**fields, where='s').specs({'s': site}, {'s/kernel': 0})
  return init(specs, jax.random.key(0)).site['s']


@pytest.mark.parametrize(('fields', 'shapes'), KINDS.items())
def test_what_is_trained(fields, shapes):
  rank, factor, both = fields
  arrays = made(Site('s', 768, 3072, None), rank=rank, factor=factor, decompose_both=both)
  assert {name: array.shape for name, array in arrays.items()} == shapes


@pytest.mark.parametrize(('rank', 'both'), [(1, True), (1, False), (9, True)])
@pytest.mark.parametrize(('fan_in', 'fan_out'), [(12, 20), (13, 35), (1, 6)])
def test_the_equation(rank, both, fan_in, fan_out):
  method = LoKr(rank=rank, alpha=3, decompose_both=both)
  shapes = made(Site('s', fan_in, fan_out, None), rank=rank, decompose_both=both)
  p = {name: RNG.standard_normal(array.shape) for name, array in shapes.items()}
  a = p['a'] if 'a' in p else p['a_left'] @ p['a_right']
  b = p['b'] if 'b' in p else p['s'] @ p['t']
  x, y = RNG.standard_normal((2, 4, fan_in)), RNG.standard_normal((2, 4, fan_out))
  got = method.edit(*jax.tree.map(jnp.float32, (x, y, p, {})))
  np.testing.assert_allclose(got, y + 3 / rank * x @ np.kron(a, b), rtol=1e-4, atol=1e-4)


def test_the_product_of_stacks_of_matrices():
  a, b = RNG.standard_normal((3, 2, 4)), RNG.standard_normal((3, 5, 1))
  np.testing.assert_allclose(kron(a, b), [np.kron(*pair) for pair in zip(a, b)], rtol=1e-5)


def test_initial_distribution():
  arrays = made(Site('s', 320 * 400, 330 * 500, None), rank=100, decompose_both=True)
  assert set(arrays) == {'a_left', 'a_right', 's', 't'}
  for name in 'a_left', 'a_right', 't':
    array, bound = np.asarray(arrays[name]), len(arrays[name]) ** -0.5
    assert np.abs(array).max() <= bound
    assert np.std(array) == pytest.approx(bound / 3**0.5, rel=0.03)
  assert not arrays['s'].any()
  whole = made(Site('s', 4096, 4096, None), rank=99)
  assert np.std(whole['a']) == pytest.approx(1 / 8 / 3**0.5, rel=0.03)
  assert np.abs(whole['a']).max() <= 1 / 8 and not whole['b'].any()


def test_the_split_of_a_side():
  """Held to all divisors; those of LyCORIS are in the parity tests."""
  for size in range(1, 200):
    divisors = [m for m in range(1, size + 1) if size % m == 0]
    small, large = split(size)
    assert small * large == size and small <= large
    assert not any(small < m <= size // m for m in divisors)
    assert all(split(size, m) == (m, size // m) for m in divisors)
    assert split(size, size + 1) == split(size)
  assert split(768, 7) == (6, 128)


@pytest.mark.parametrize('fields', [{'rank': 0}, {'factor': 0}])
def test_what_is_out_of_range_is_refused(fields):
  with pytest.raises(ConfigError, match='out of range'):
    Model(TINY['t5'], LoKr(**fields)).specs()
