import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.method import is_spec
from compacter_jax.methods.adapter import Adapter
from compacter_jax.t5.config import Config
from compacter_jax.t5.sites import sites

SITES = sites(Config())
FFN = 'encoder/layers/ffn'
UPPER = tuple(range(5, 12))


def test_it_starts_as_published():
  specs = Adapter().specs(SITES, {}).site[FFN]
  draw = lambda spec: np.asarray(spec.init(jax.random.key(0), spec.shape))
  p = jax.tree.map(draw, specs, is_leaf=is_spec)
  assert jax.tree.map(jnp.shape, p) == {
    'down': {'kernel': (12, 768, 24), 'bias': (12, 24)},
    'up': {'kernel': (12, 24, 768), 'bias': (12, 768)},
  }
  for name in 'down', 'up':
    assert np.std(p[name]['kernel']) == pytest.approx(0.01, rel=0.03)
    assert not np.any(p[name]['bias'])


@pytest.mark.parametrize('activation', ['gelu_new', 'gelu', 'relu', 'silu'])
def test_edit_is_the_formula(activation):
  method = Adapter(width=8, activation=activation)
  rng = np.random.default_rng(0)
  array = lambda *shape: jnp.array(rng.standard_normal(shape), jnp.float32)
  z, down, up, b, c = array(2, 5), array(5, 8), array(8, 5), array(8), array(5)
  p = {'down': {'kernel': down, 'bias': b}, 'up': {'kernel': up, 'bias': c}}
  f = {
    'gelu_new': lambda x: x / 2 * (1 + jnp.tanh((2 / jnp.pi) ** 0.5 * (x + 0.044715 * x**3))),
    'gelu': lambda x: x * jax.scipy.stats.norm.cdf(x),
    'relu': lambda x: jnp.where(x > 0, x, 0.0),
    'silu': lambda x: x / (1 + jnp.exp(-x)),
  }[activation]
  want = z + f(z @ down + b) @ up + c
  np.testing.assert_allclose(method.edit(None, z, p, {}), want, rtol=1e-5, atol=1e-5)


def test_places():
  assert len(Adapter().specs(SITES, {}).site) == 4
  assert set(Adapter(where='.*/self_attention').specs(SITES, {}).site) == {
    'encoder/layers/self_attention',
    'decoder/layers/self_attention',
  }
  drop = Adapter(encoder_layers=UPPER, decoder_layers=UPPER).specs(SITES, {}).site
  assert set(drop) == {
    f'{stack}/layers[5:12]/{place}'
    for stack in ('encoder', 'decoder')
    for place in ('self_attention', 'ffn')
  }
  assert all(spec.shape[0] == 7 for p in drop.values() for spec in p['down'].values())


def test_computes_in_the_dtype_of_the_activation():
  method = Adapter(width=8)
  specs = method.specs(SITES, {}).site[FFN]
  p = jax.tree.map(lambda spec: jnp.ones(spec.shape[1:]), specs, is_leaf=is_spec)
  assert method.edit(None, jnp.ones((2, 768), jnp.bfloat16), p, {}).dtype == jnp.bfloat16


def test_an_unknown_activation_is_told_the_choices():
  with pytest.raises(ConfigError, match='Unknown activation(.|\n)*gelu_new'):
    Adapter(activation='gelu_old').specs(SITES, {})


@pytest.mark.parametrize(
  ('fields', 'width'), [({}, 24), ({'reduction': 16}, 48), ({'reduction': 16, 'width': 8}, 8)]
)
def test_the_width_is_given_or_follows_from_the_reduction(fields, width):
  assert Adapter(**fields).specs(SITES, {}).site[FFN]['down']['bias'].shape == (12, width)


@pytest.mark.parametrize('fields', [{'reduction': 0}, {'reduction': 769}, {'width': 0}])
def test_a_bottleneck_without_a_unit_is_an_error(fields):
  with pytest.raises(ConfigError, match='at least one unit'):
    Adapter(**fields).specs(SITES, {})
