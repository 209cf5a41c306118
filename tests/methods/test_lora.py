import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.method import Here
from compacter_jax.methods.lora import LoRA
from compacter_jax.model import Model
from tests.conftest import TINY, draw

RNG = np.random.default_rng(0)
X, P = RNG.standard_normal((4, 6)), {'a': RNG.standard_normal((6, 2)), 'b': np.ones((2, 3))}


@pytest.mark.parametrize(('stabilized', 'scale'), [(False, 16 / 2), (True, 16 / 2**0.5)])
def test_the_equation(stabilized, scale):
  p = jax.tree.map(jnp.float32, P)
  got = LoRA(rank=2, rank_stabilized=stabilized).edit(jnp.float32(X), jnp.ones((4, 3)), p, {})
  np.testing.assert_allclose(got, 1 + scale * (X @ P['a'] @ P['b']), rtol=1e-4)


def test_dropout_acts_while_training_only_and_keeps_the_mean():
  method, p = LoRA(rank=2, alpha=2, dropout=0.5), jax.tree.map(jnp.float32, P)
  x, y = jnp.tile(jnp.float32(X), (2000, 1)), jnp.zeros((8000, 3))
  still = method.edit(x, y, p, {})
  np.testing.assert_allclose(still, x @ p['a'] @ p['b'], rtol=1e-4, atol=1e-4)
  dropped = method.edit(x, y, p, {}, Here(key=jax.random.key(0)))
  assert not np.allclose(dropped, still)
  np.testing.assert_allclose(dropped.mean(0), still.mean(0), atol=0.15)


def test_dropout_acts_on_a_head_of_its_own():
  cfg = dataclasses.replace(next(cfg for cfg in TINY.values() if not cfg.tied_head), dropout=0.0)
  model, weights = Model(cfg, LoRA(rank=2, dropout=0.5, where='lm_head')), draw(cfg)
  tuned = jax.tree.map(jnp.ones_like, model.init(jax.random.key(0), weights))
  logits = jax.jit(lambda key: model.logits(tuned, weights, *[jnp.ones((1, 3), int)] * 2, key))
  one, other = (logits(jax.random.key(i)) for i in range(2))
  assert not np.allclose(one, other)


def test_initial_distribution():
  tuned = Model(TINY['t5'], LoRA(rank=64)).init(jax.random.key(0), draw(TINY['t5']))
  for arrays in tuned.site.values():
    a, bound = np.asarray(arrays['a']), arrays['a'].shape[1] ** -0.5
    assert np.abs(a).max() <= bound
    assert np.std(a) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert not arrays['b'].any()


@pytest.mark.parametrize('where', ['.*/ffn', '.*_norm'])
def test_a_site_without_a_kernel_lists_those_with_one(where):
  with pytest.raises(ConfigError, match='no product') as caught:
    Model(TINY['t5'], LoRA(where=where)).specs()
  assert 'encoder/layers/ffn/wi' in str(caught.value)


@pytest.mark.parametrize('fields', [{'rank': 0}, {'dropout': 1.0}])
def test_what_is_out_of_range_is_refused(fields):
  with pytest.raises(ConfigError, match='out of range'):
    Model(TINY['t5'], LoRA(**fields)).specs()
