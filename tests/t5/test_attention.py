"""Attention across a long memory, whose keys and values need not be made."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import inits
from compacter_jax.chaining import chain
from compacter_jax.graft import Hook
from compacter_jax.method import Method, Tuned, match
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model, shift_right
from compacter_jax.t5 import decode
from compacter_jax.t5.attention import Attention
from compacter_jax.t5.network import T5
from tests.conftest import TINY, draw
from tests.t5.small import make_batch

LONG = (40, 31), (2, 1)  # lengths of two rows' sources and targets


class Halve(Method):
  """Halves the keys of every cross-attention."""

  def specs(self, sites, frozen):
    site = sites['decoder/layers/cross_attention/k']
    return Tuned(
      site={site.path: {'half': site.spec((1,), lambda key, shape: jnp.full(shape, 0.5))}}
    )

  def edit(self, x, y, p, shared, here=None):
    return y * p['half']


class Front(Method):
  """Two positions in front of what decoders look at: keys and values of zero."""

  def specs(self, sites, frozen):
    front = lambda site: {'front': site.spec((1,), inits.zeros)}
    return Tuned(site={p: front(s) for p, s in match(sites, r'decoder/.*_attention').items()})

  def attend(self, keys, values, p, shared):
    zeros = 0 * keys[:, :, :2] + p['front']
    return jnp.concatenate([zeros, keys], 2), jnp.concatenate([zeros, values], 2)


class Again(Method):
  """Adds x W once more, by the kernel that the site hands out, and the key if there is one."""

  def specs(self, sites, frozen):
    factor = lambda site: {'factor': site.spec((1,), inits.ones)}
    return Tuned(site={p: factor(s) for p, s in match(sites, r'.*/ffn/wo|lm_head').items()})

  def edit(self, x, y, p, shared, here=None):
    noise = 0.0 if here.key is None else jax.random.normal(here.key, y.shape)
    return y + p['factor'] * (x @ here.weight()) + noise


def gradient(model, batch, frozen):
  tuned = model.init(jax.random.key(0), frozen)
  loss = lambda *args: model.loss(*args)  # a function of its own, so that it is traced anew
  return jax.jit(jax.value_and_grad(loss))(tuned, model.trim(frozen), batch)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_both_routes_are_equal_in_value_and_gradient(tiny, dtype, monkeypatch):
  model = Model(tiny, Unfreeze('.*(cross_attention/[kqvo]/kernel|encoder/norm/scale)'), dtype)
  batch, frozen = make_batch(tiny, LONG), draw(tiny)
  taken = []
  monkeypatch.setattr(Attention, '_absorbs', lambda self, *lengths: taken.append(lengths) or True)
  got = gradient(model, batch, frozen)
  assert (2, 40) in taken
  monkeypatch.setattr(Attention, '_absorbs', lambda self, *lengths: False)
  # Gradients of scores are rounded to bfloat16 before their products, at other places of the two.
  tolerance = 1e-5 if dtype == 'float32' else 0.08
  for a, b in zip(*map(jax.tree.leaves, (got, gradient(model, batch, frozen))), strict=True):
    np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max())


def test_keys_that_a_method_edits_are_made(monkeypatch):
  cfg = TINY['t5']
  batch, frozen = make_batch(cfg, LONG), draw(cfg)
  model = Model(cfg, chain(norms=Unfreeze('decoder/norm/scale'), keys=Halve()))
  got = gradient(model, batch, frozen)
  monkeypatch.setattr(Attention, '_absorbs', lambda self, *lengths: False)
  jax.tree.map(np.testing.assert_array_equal, got, gradient(model, batch, frozen))
  plain = gradient(Model(cfg, Unfreeze('decoder/norm/scale')), batch, frozen)
  assert got[0] != plain[0]


def test_few_queries_on_a_long_memory_cost_less(monkeypatch):
  cfg = TINY['t5']
  batch, frozen = make_batch(cfg, ((64,), (2,))), draw(cfg)

  def products():
    run = lambda *args: Model(cfg).loss(*args)
    return jax.jit(run).lower(Tuned(), frozen, batch).cost_analysis()['flops']

  few = products()
  monkeypatch.setattr(Attention, '_absorbs', lambda self, *lengths: False)
  assert few < products()


@pytest.mark.parametrize(('queries', 'keys', 'cheap'), [(8, 128, True), (64, 128, False)])
def test_the_route_follows_the_lengths(queries, keys, cheap):
  from compacter_jax.t5.sizes import SIZES

  attention = Attention(SIZES['t5-base'], jnp.dtype('float32'), False)
  assert attention._absorbs(queries, keys) is cheap


def test_what_stands_in_front_is_seen_by_all_and_cached_decoding_agrees():
  cfg = TINY['t5']
  batch, frozen, model = make_batch(cfg), draw(cfg), Model(cfg, Front())
  tuned = model.init(jax.random.key(0), frozen)
  inputs = batch['source'], shift_right(batch['target'], cfg)
  got = model.logits(tuned, frozen, *inputs)
  params, grafted, _ = model._join(tuned, frozen)
  cached = decode.stepwise_logits(T5(cfg), params, grafted, *inputs)
  np.testing.assert_allclose(cached, got, atol=1e-4)
  plain = Model(cfg).logits(Tuned(), frozen, *inputs)
  assert np.all(np.abs(got - plain).max(-1) > 1e-3)


def test_keys_of_zero_in_front_take_their_share():
  cfg = TINY['t5']
  attention = Attention(cfg, jnp.dtype('float32'), False)
  x = jax.random.normal(jax.random.key(0), (1, 3, cfg.d_model))
  sites = {'': {'front': jnp.zeros(1)}}
  run = lambda hook: (
    lambda module, x: module(x, *module.keys_values(x, hook), [jnp.zeros((3, 3))], hook)
  )
  plain = Hook(Method(), {}, {})
  params = attention.init(jax.random.key(1), x, method=run(plain))
  got = attention.apply(params, x, method=run(Hook(Front(), sites, {})))
  kernel = {name: params['params'][name]['kernel'] for name in 'qkvo'}
  heads = lambda name: (x[0] @ kernel[name]).reshape(3, cfg.heads, cfg.d_kv).transpose(1, 0, 2)
  scores = jnp.pad(heads('q') @ heads('k').transpose(0, 2, 1), ((0, 0), (0, 0), (2, 0)))
  values = jnp.pad(heads('v'), ((0, 0), (2, 0), (0, 0)))
  want = (jax.nn.softmax(scores) @ values).transpose(1, 0, 2).reshape(3, -1) @ kernel['o']
  np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['t5', 'flan-t5'])  # a tied head and one of its own
def test_a_site_hands_out_its_kernel(name):
  cfg = TINY[name]
  batch, frozen, model = make_batch(cfg), draw(cfg), Model(cfg, Again())
  tuned = model.init(jax.random.key(0), frozen)
  inputs = batch['source'], shift_right(batch['target'], cfg)
  twice = {path: 2 * w if path.endswith('ffn/wo/kernel') else w for path, w in frozen.items()}
  want = 2 * Model(cfg).logits(Tuned(), twice, *inputs)
  np.testing.assert_allclose(model.logits(tuned, frozen, *inputs), want, rtol=1e-4, atol=1e-4)


def test_a_site_hands_out_a_key_of_its_own_while_training():
  cfg = dataclasses.replace(TINY['t5'], dropout=0.0)
  batch, frozen, model = make_batch(cfg), draw(cfg), Model(cfg, Again())
  tuned = model.init(jax.random.key(0), frozen)
  loss = jax.jit(model.loss)
  losses = [float(loss(tuned, frozen, batch, jax.random.key(i))) for i in (0, 0, 1)]
  assert losses[0] == losses[1] != losses[2]
  assert float(loss(tuned, frozen, batch)) not in losses
