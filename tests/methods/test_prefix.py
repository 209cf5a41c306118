import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.method import count, init
from compacter_jax.methods.parallel_adapter import ParallelAdapter
from compacter_jax.methods.prefix import Prefix
from compacter_jax.model import Model
from compacter_jax.t5.config import Config
from compacter_jax.t5.sites import sites
from tests.conftest import TINY, draw

CFG = TINY['t5']
RNG = np.random.default_rng(0)
KINDS = 'encoder_self_attention', 'decoder_self_attention', 'decoder_cross_attention'
array = lambda *shape: RNG.standard_normal(shape).astype(np.float32)


def test_keys_and_values_stand_in_front_head_by_head():
  p = {'keys': array(2, 12), 'values': array(2, 12)}
  old = {'keys': array(5, 3, 7, 4), 'values': array(5, 3, 7, 4)}
  got = Prefix(length=2).attend(old['keys'], old['values'], p, {})
  for new, name in zip(got, old, strict=True):
    assert new.shape == (5, 3, 9, 4)
    np.testing.assert_array_equal(new[:, :, 2:], old[name])
    for row in new:
      for head in range(3):
        np.testing.assert_array_equal(row[head, :2], p[name][:, 4 * head : 4 * head + 4])


def test_the_network_is_the_formula():
  dense = lambda a, b: {'kernel': array(a, b), 'bias': array(b)}
  first = {'embedding': array(2, 5), 'hidden': dense(5, 3)}
  last = {'keys': dense(3, 8), 'values': dense(3, 8)}
  old = array(1, 2, 6, 4)
  keys, values = Prefix(length=2, bottleneck=3).attend(
    old, old, {'decoder_self_attention': last}, {'decoder_self_attention': first, 'other': None}
  )
  hidden = np.tanh(first['embedding'] @ first['hidden']['kernel'] + first['hidden']['bias'])
  for got, name in ((keys, 'keys'), (values, 'values')):
    want = hidden @ last[name]['kernel'] + last[name]['bias']
    np.testing.assert_allclose(got[0, :, :2].swapaxes(0, 1).reshape(2, 8), want, rtol=1e-5)


def test_without_its_network_it_computes_the_same():
  method = Prefix(length=3, bottleneck=6, decoder_layers=(0, 2))
  tuned, frozen = Model(CFG, method).init(jax.random.key(0), draw(CFG)), draw(CFG)
  direct, stored = method.direct(tuned)
  shapes = lambda tree: jax.tree.map(jnp.shape, tree)
  assert shapes(stored) == shapes(Model(CFG, direct).init(jax.random.key(0), frozen))
  ids = jnp.arange(2, 8)[None]
  logits = lambda method, tuned: jax.jit(Model(CFG, method).logits)(tuned, frozen, ids, ids)
  np.testing.assert_allclose(logits(direct, stored), logits(method, tuned), atol=1e-4)
  assert direct.direct(stored) == (direct, stored)


def drawn(method):
  """Its arrays on T5-base, drawn."""
  tuned = init(method.specs(sites(Config()), {}), jax.random.key(0))
  return jax.tree.map(np.asarray, tuned)


def test_keys_and_values_start_as_published():
  tuned = drawn(Prefix(length=10))
  assert len(tuned.site) == 3 and not tuned.shared
  for p in tuned.site.values():
    for name in 'keys', 'values':
      assert p[name].shape == (12, 10, 768)
      assert np.std(p[name]) == pytest.approx(0.02, rel=0.03)


def test_the_network_starts_as_torch_draws_it():
  tuned = drawn(Prefix(length=10, bottleneck=64))
  assert set(tuned.shared) == set(KINDS)
  layers = []
  for first in tuned.shared.values():
    assert first['embedding'].shape == (10, 768)
    assert np.std(first['embedding']) == pytest.approx(1, rel=0.03)
    layers.append((first['hidden'], 768))
  for path, p in tuned.site.items():
    ((kind, last),) = p.items()
    assert kind == path.replace('/layers/', '_')
    assert last['keys']['kernel'].shape == (12, 64, 768)
    layers += [(last['keys'], 64), (last['values'], 64)]
  for layer, fan_in in layers:
    for x in layer.values():
      assert np.abs(x).max() <= fan_in**-0.5
    assert np.std(layer['kernel']) == pytest.approx((3 * fan_in) ** -0.5, rel=0.03)
    assert np.std(layer['bias']) > 0


P, D, M, INNER, L = 7, 768, 5, 768, 36


def test_counts():
  number = lambda **fields: count(Prefix(length=P, **fields).specs(sites(Config()), {}))
  assert number() == L * 2 * P * INNER
  assert number(encoder_layers=(), decoder_layers=(3,)) == 2 * 2 * P * INNER
  network = P * D + (D + 1) * M
  assert number(bottleneck=M) == 3 * network + L * 2 * (M + 1) * INNER
  # Both runs of layers share the network of their kind.
  assert number(bottleneck=M, encoder_layers=(), decoder_layers=(0, 1, 5)) == (
    2 * network + 6 * 2 * (M + 1) * INNER
  )


def test_heads_may_be_wider_than_the_model():
  assert CFG.heads * CFG.d_kv != CFG.d_model
  specs = Model(CFG, Prefix(length=3)).specs().site['encoder/layers/self_attention']
  assert specs['keys'].shape == (CFG.encoder_layers, 3, CFG.heads * CFG.d_kv)


def test_it_keeps_its_place_in_a_chain():
  both = chain(short=Prefix(length=2), long=Prefix(length=3), adapters=ParallelAdapter())
  tuned = Model(CFG, both).init(jax.random.key(0), draw(CFG))
  p = jax.tree.map(lambda x: x[0], tuned.site['encoder/layers/self_attention'])
  old = array(1, CFG.heads, 4, CFG.d_kv)
  keys, _ = both.attend(old, old, p, tuned.shared)
  np.testing.assert_array_equal(keys[:, :, 5:], old)
  first = keys[0, :, :3].transpose(1, 0, 2).reshape(3, -1)
  np.testing.assert_array_equal(first, p['long']['keys'])


@pytest.mark.parametrize('fields', [{'length': 0}, {'bottleneck': 0}])
def test_what_is_out_of_range_is_refused(fields):
  with pytest.raises(ConfigError, match=f'{next(iter(fields))} is out of range'):
    Model(CFG, Prefix(**fields)).specs()


def test_a_place_that_is_no_attention_lists_those_that_are():
  with pytest.raises(ConfigError, match='No site') as caught:
    Model(CFG, Prefix(where='.*/ffn')).specs()
  assert 'decoder/layers/cross_attention' in str(caught.value)
  assert 'layers/ffn' not in caught.value.fix


def test_it_cannot_be_folded():
  with pytest.raises(TypeError, match='no weights of the plain T5'):
    model = Model(CFG, Prefix(length=2))
    model.fold(draw(CFG), model.init(jax.random.key(0), draw(CFG)))
