import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.method import Site, init
from compacter_jax.methods.krona import KronA
from compacter_jax.model import Model
from tests.conftest import TINY, draw

RNG = np.random.default_rng(0)


def made(fan_in, fan_out, **fields):
  site = {'s': Site('s', fan_in, fan_out, None)}
  return init(KronA(**fields, where='s').specs(site, {}), jax.random.key(0)).site['s']


@pytest.mark.parametrize(
  ('fields', 'a', 'b'),
  [
    ({}, (24, 64), (32, 48)),
    ({'rows': 2}, (2, 64), (384, 48)),
    ({'columns': 3072}, (24, 3072), (32, 1)),
    ({'rows': 768, 'columns': 1}, (768, 1), (1, 3072)),
  ],
)
def test_what_is_trained(fields, a, b):
  arrays = made(768, 3072, **fields)
  assert {name: array.shape for name, array in arrays.items()} == {'a': a, 'b': b}


@pytest.mark.parametrize(('fan_in', 'fan_out'), [(12, 20), (13, 35), (1, 6)])
def test_the_equation(fan_in, fan_out):
  p = {k: RNG.standard_normal(array.shape) for k, array in made(fan_in, fan_out).items()}
  x, y = RNG.standard_normal((2, 4, fan_in)), RNG.standard_normal((2, 4, fan_out))
  got = KronA(scale=3).edit(*jax.tree.map(jnp.float32, (x, y, p, {})))
  want = y + 3 * x @ np.kron(p['a'], p['b'])
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_initial_distribution():
  arrays = made(128**2, 256**2)
  assert np.abs(arrays['a']).max() <= 128**-0.5
  assert np.std(arrays['a']) == pytest.approx(128**-0.5 / 3**0.5, rel=0.03)
  assert not arrays['b'].any()


def test_beside_the_feed_forward_net_it_reads_the_nets_input_and_cannot_be_folded():
  cfg = TINY['flan-t5']
  frozen, model = draw(cfg), Model(cfg, KronA(where='.*/ffn'))
  tuned = model.init(jax.random.key(0), frozen)
  assert {path.partition('/layers/')[2] for path in tuned.site} == {'ffn'}
  with pytest.raises(TypeError, match='coder/layers/ffn is no product'):
    model.fold(frozen, tuned)


@pytest.mark.parametrize('fields', [{'rows': 5}, {'rows': 0}, {'columns': 3}, {'columns': -2}])
def test_what_does_not_divide_is_refused_with_what_does(fields):
  with pytest.raises(ConfigError, match=r'\[1, 2, ') as caught:
    Model(TINY['t5'], KronA(**fields)).specs()
  assert caught.value.where == next(iter(fields))
