"""Attention across a long memory, whose keys and values need not be made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.chaining import chain
from compacter_jax.method import Method, Tuned
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model
from compacter_jax.t5.attention import Attention
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
  tolerance = 1e-5 if dtype == 'float32' else 0.05
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
