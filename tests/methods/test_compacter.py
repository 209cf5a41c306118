import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.hypercomplex import kron_sum
from compacter_jax.method import is_spec
from compacter_jax.methods.compacter import Compacter
from compacter_jax.t5.config import Config
from compacter_jax.t5.sites import sites

CFG = Config(vocab=32, d_model=16, d_kv=8, d_ff=32, heads=2, encoder_layers=3, decoder_layers=2)
SITES = sites(CFG)
BASE = sites(Config())
FFN = 'encoder/layers/ffn'


def draw(spec):
  """One array of those declared; to make them all takes seconds."""
  return np.asarray(spec.init(jax.random.key(0), spec.shape))


def lively(method):
  rng = np.random.default_rng(0)
  noise = lambda spec: jnp.array(rng.standard_normal(spec.shape), jnp.float32)
  return jax.tree.map(noise, method.specs(SITES, {}), is_leaf=is_spec)


def test_adapters_stand_where_the_paper_puts_them():
  """After self-attention and the feed-forward, never on cross-attention."""
  assert set(Compacter(width=8).specs(SITES, {}).site) == {
    'encoder/layers/self_attention',
    'encoder/layers/ffn',
    'decoder/layers/self_attention',
    'decoder/layers/ffn',
  }
  assert set(Compacter(width=8, where='.*/ffn').specs(SITES, {}).site) == {
    'encoder/layers/ffn',
    'decoder/layers/ffn',
  }


OPTIONS = [
  dict(zip(('rank', 'share_a', 'share_b', 'factorized_a'), values))
  for values in itertools.product((None, 2), (True, False), (True, False), (True, False))
]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_edit_is_the_formula(options):
  """z + gelu(z H_down + b_down) H_up + b_up, the arrays found by hand for each option."""
  method = Compacter(n=2, width=8, **options)
  tuned = lively(method)
  layer = 1
  p, shared = jax.tree.map(lambda a: a[layer], tuned.site[FFN]), tuned.shared

  def kernel(name):
    a_from = shared if method.share_a else p[name]
    b_from = shared[name] if method.share_b else p[name]
    a = a_from['a_left'] @ a_from['a_right'] if method.factorized_a else a_from['a']
    return kron_sum(a, b_from['b'] if method.rank is None else b_from['s'] @ b_from['t'])

  z = 0.1 * jax.random.normal(jax.random.key(1), (2, 3, 16))
  hidden = z @ kernel('down') + p['down']['bias']
  gelu = hidden / 2 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
  want = z + gelu @ kernel('up') + p['up']['bias']
  np.testing.assert_allclose(method.edit(None, z, p, shared), want, rtol=1e-5, atol=1e-5)


def shapes(tree):
  return jax.tree.map(lambda spec: spec.shape, tree, is_leaf=is_spec)


def test_one_a_serves_the_whole_model():
  specs = Compacter(width=8).specs(SITES, {})
  assert shapes(specs.shared) == {'a': (4, 4, 4)}
  assert shapes(specs.site[FFN]['down']) == {'s': (3, 4, 4, 1), 't': (3, 4, 1, 2), 'bias': (3, 8)}
  own = Compacter(width=8, share_a=False).specs(SITES, {})
  assert own.shared == {} and own.site[FFN]['down']['a'].shape == (3, 4, 4, 4)
  assert len(np.unique(draw(own.site[FFN]['down']['a']).reshape(3, -1), axis=0)) == 3


def test_one_b_serves_all_projections_down_and_one_all_up():
  specs = Compacter(width=8, share_b=True).specs(SITES, {})
  assert shapes(specs.shared) == {
    'a': (4, 4, 4),
    'down': {'s': (4, 4, 1), 't': (4, 1, 2)},
    'up': {'s': (4, 2, 1), 't': (4, 1, 4)},
  }
  assert all(set(specs.site[path]['up']) == {'bias'} for path in specs.site)


# Published initial scales, by which of A and B is shared.
SCALES = [
  ({}, 1e-4, None),
  ({'share_a': False}, 0.01, None),
  ({'b_init': 'normal'}, 1e-4, 1e-4),
  ({'b_init': 'normal', 'share_b': True}, 1e-4, 0.01),
  ({'share_a': False, 'b_init': 'normal'}, 0.01, 1e-4),
  ({'a_range': 0.5, 'b_init': 'normal', 'b_range': 0.25}, 0.5, 0.25),
  ({'share_a': False, 'a_range': 0.5}, 0.5, None),
]


@pytest.mark.parametrize(('options', 'a_std', 'b_std'), SCALES, ids=str)
def test_it_starts_at_the_published_scale(options, a_std, b_std):
  method = Compacter(n=12, **options)
  specs = method.specs(BASE, {})
  down = specs.site[FFN]['down']
  a = draw((specs.shared if method.share_a else down)['a'])
  # An A that is shared has 1,728 numbers only.
  assert a.std() == pytest.approx(a_std, rel=0.03 if a.size > 9999 else 0.06)
  s = draw((specs.shared['down'] if method.share_b else down)['s'])
  if b_std is None:
    bound = math.sqrt(2) * math.sqrt(6 / (64 + 1))
    assert 0.99 * bound < np.abs(s).max() <= bound * (1 + 1e-5)
  else:
    assert s.std() == pytest.approx(b_std, rel=0.06)
  assert not np.any(draw(down['bias']))


@pytest.mark.parametrize(('share_a', 'bound'), [(True, 1.0), (False, 0.01)])
def test_a_uniform_a_starts_within_the_published_bound(share_a, bound):
  specs = Compacter(n=12, a_init='uniform', share_a=share_a).specs(BASE, {})
  a = draw((specs.shared if share_a else specs.site[FFN]['up'])['a'])
  assert 0.99 * bound < np.abs(a).max() <= bound
  assert a.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_at_t5_base_size_it_starts_all_but_invisible():
  method = Compacter(where=FFN, encoder_layers=(0,))
  tuned = jax.tree.map(draw, method.specs(BASE, {}), is_leaf=is_spec)
  z = jax.random.normal(jax.random.key(1), (4, 768))
  p = jax.tree.map(lambda a: a[0], tuned.site['encoder/layers[0:1]/ffn'])
  change = method.edit(None, z, p, tuned.shared) - z
  assert np.linalg.norm(change) < 1e-6 * np.linalg.norm(z)
  assert not np.any(method.edit(None, 0.0 * z, p, tuned.shared))  # no bias yet


@pytest.mark.parametrize(('share_a', 'std'), [(True, 1e-4), (False, 0.01)])
def test_an_a_that_does_not_learn_comes_from_the_seed_alone(share_a, std):
  def fixed(seed):
    method = Compacter(12, where=FFN, share_a=share_a, learn_a=False, seed=seed)
    specs, constants = method.specs(BASE, {}), method.constants(BASE)
    assert specs.shared == {}
    assert all(set(p) == {'s', 't', 'bias'} for p in specs.site[FFN].values())
    return constants.shared['a'] if share_a else constants.site[FFN]['up']['a']

  one = fixed(1)
  assert one.shape == ((12, 12, 12) if share_a else (12, 12, 12, 12))
  assert one.std() == pytest.approx(std, rel=0.06)
  np.testing.assert_array_equal(one, fixed(1))
  assert not np.array_equal(one, fixed(2))


@pytest.mark.parametrize('n', [0, 3, 5, 16])
def test_an_n_that_does_not_divide_is_told_which_do(n):
  with pytest.raises(ConfigError, match=r'take n from \[1, 2, 4, 8\]'):
    Compacter(n=n, width=8).specs(SITES, {})


@pytest.mark.parametrize('option', ['a_init', 'b_init', 'route', 'activation'])
@pytest.mark.parametrize('shared', [True, False])
def test_an_unknown_option_is_told_the_choices(option, shared):
  with pytest.raises(ConfigError, match=f'Unknown {option}'):
    Compacter(width=8, share_a=shared, share_b=shared, **{option: 'glorrot'}).specs(SITES, {})


def test_sites_of_different_sizes_cannot_share_b():
  where = 'encoder/layers/ffn(/wi)?'
  assert len(Compacter(width=8, where=where).specs(SITES, {}).site) == 2
  with pytest.raises(ConfigError, match=r'share B(.|\n)*\[16, 32\]'):
    Compacter(width=8, where=where, share_b=True).specs(SITES, {})


def test_a_site_must_own_something():
  """The tuned tree is the hook table: without arrays a site would silently not be edited."""
  with pytest.raises(ConfigError, match='No site would have an array of its own'):
    Compacter(width=8, share_b=True, bias=False).specs(SITES, {})
