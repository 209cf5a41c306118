import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.method import Here
from compacter_jax.methods.dora import DoRA
from compacter_jax.methods.lora import LoRA
from compacter_jax.model import Model
from tests.conftest import TINY, draw

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((4, 6)), RNG.standard_normal((6, 3))
P = {'a': RNG.standard_normal((6, 2)), 'b': RNG.standard_normal((2, 3)), 'm': np.array([2, 0, -1])}


def edited(method, p, x=X, w=W, key=None):
  p, x, w = jax.tree.map(jnp.float32, (p, x, w))
  return method.edit(x, x @ w, p, {}, Here(lambda: w, key))


@pytest.mark.parametrize(('stabilized', 'scale'), [(False, 16 / 2), (True, 16 / 2**0.5)])
def test_the_equation(stabilized, scale):
  direction = W + scale * P['a'] @ P['b']
  want = X @ (P['m'] * direction / np.sqrt((direction**2).sum(0)))
  got = edited(DoRA(rank=2, rank_stabilized=stabilized), P)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_no_gradient_passes_through_the_norm():
  method = DoRA(rank=2, alpha=2)
  norms = np.sqrt(((W + P['a'] @ P['b']) ** 2).sum(0))
  got = jax.grad(lambda p: edited(method, p).sum())(jax.tree.map(jnp.float32, P))
  np.testing.assert_allclose(got['b'], (X @ P['a']).sum(0)[:, None] * P['m'] / norms, rtol=1e-4)
  np.testing.assert_allclose(got['m'], (X @ (W + P['a'] @ P['b'])).sum(0) / norms, rtol=1e-4)


def test_magnitudes_start_at_the_norms_of_the_columns():
  cfg = TINY['t5']
  frozen = draw(cfg)
  made = Model(cfg, DoRA(decoder_layers=(1, 2))).init(jax.random.key(0), frozen).site
  want = np.sqrt((np.asarray(frozen['decoder/layers/self_attention/q/kernel']) ** 2).sum(1))
  np.testing.assert_allclose(made['decoder/layers[1:3]/self_attention/q']['m'], want[1:], rtol=1e-5)
  assert made['encoder/layers/self_attention/q']['m'].shape == (2, 10)


def test_a_column_of_zeros_stays_one():
  method, w = DoRA(rank=2), np.array(W)
  w[:, 1] = 0
  p = {**P, 'b': np.zeros((2, 3)), 'm': np.sqrt((w**2).sum(0))}
  np.testing.assert_allclose(edited(method, p, w=w), X @ w, rtol=1e-4, atol=1e-5)
  gradient = jax.grad(lambda p: edited(method, p, w=w).sum())(jax.tree.map(jnp.float32, p))
  assert all(np.isfinite(g).all() for g in gradient.values())


def test_a_small_change_of_the_magnitude_shows_in_bfloat16():
  x, w = jnp.ones((1, 4), jnp.bfloat16), jnp.eye(4, dtype=jnp.bfloat16)
  p = {'a': jnp.zeros((4, 1)), 'b': jnp.zeros((1, 4)), 'm': jnp.full(4, 1.003)}
  y = jnp.full((1, 4), 1.99, jnp.bfloat16)
  assert (DoRA(rank=1).edit(x, y, p, {}, Here(lambda: w)) > y).all()


def test_dropout_is_that_of_the_low_rank_product():
  method, key = DoRA(rank=2, dropout=0.5), jax.random.key(0)
  plain = {**P, 'b': np.zeros((2, 3)), 'm': np.sqrt((W**2).sum(0))}
  np.testing.assert_allclose(edited(method, plain, key=key), X @ W, rtol=1e-4, atol=1e-5)
  p = jax.tree.map(jnp.float32, P)
  lora = LoRA(rank=2, dropout=0.5).edit(jnp.float32(X), jnp.float32(X @ W), p, {}, Here(key=key))
  direction = W + 8 * P['a'] @ P['b']
  want = np.asarray(lora) * P['m'] / np.sqrt((direction**2).sum(0))
  np.testing.assert_allclose(edited(method, P, key=key), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('fields', [{'rank': 0}, {'dropout': 1.0}])
def test_what_is_out_of_range_is_refused(fields):
  with pytest.raises(ConfigError, match='out of range'):
    Model(TINY['t5'], DoRA(**fields)).specs()


def test_no_other_part_of_a_chain_may_stand_in_front():
  cfg, frozen, ids = TINY['t5'], draw(TINY['t5']), jnp.ones((1, 3), jnp.int32)
  lora, dora = LoRA(rank=2), DoRA(rank=2)

  def logits(method):
    model = Model(cfg, method)
    return model.logits(model.init(jax.random.key(0), frozen), frozen, ids, ids)

  jax.eval_shape(lambda: logits(chain(dora=dora, lora=lora)))
  with pytest.raises(ConfigError, match='in front of all other parts'):
    jax.eval_shape(lambda: logits(chain(lora=lora, dora=dora)))
