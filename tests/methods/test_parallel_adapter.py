import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.method import count, init
from compacter_jax.methods.parallel_adapter import ParallelAdapter
from compacter_jax.model import Model
from compacter_jax.t5.config import Config
from compacter_jax.t5.sites import sites
from tests.conftest import TINY, draw

CFG = TINY['t5']
SITES = sites(Config())
RNG = np.random.default_rng(0)
array = lambda *shape: RNG.standard_normal(shape).astype(np.float32)
X, Y = array(2, 5), array(2, 6)
P = {
  'down': {'kernel': array(5, 8), 'bias': array(8)},
  'up': {'kernel': array(8, 6), 'bias': array(6)},
}


@pytest.mark.parametrize('learned', [False, True])
def test_edit_is_the_formula(learned):
  method = ParallelAdapter(width=8, scale=3.0, learn_scale=learned)
  p, scale = (P | {'scale': jnp.float32(-2)}, -2) if learned else (P, 3)
  hidden = np.maximum(X @ P['down']['kernel'] + P['down']['bias'], 0)
  want = Y + scale * (hidden @ P['up']['kernel'] + P['up']['bias'])
  np.testing.assert_allclose(method.edit(X, Y, p, {}), want, rtol=1e-5, atol=1e-5)


def test_computes_in_the_dtype_of_the_activation():
  p = jax.tree.map(jnp.asarray, P | {'scale': np.float32(2)})
  x, y = jnp.asarray(X, jnp.bfloat16), jnp.asarray(Y, jnp.bfloat16)
  assert ParallelAdapter(learn_scale=True).edit(x, y, p, {}).dtype == jnp.bfloat16


def test_it_reads_what_the_feed_forward_reads():
  """With the feed-forward's own weights, halves of it in each place, they make one."""
  frozen = draw(CFG)
  kernels = {name: frozen[f'decoder/layers/ffn/{name}/kernel'] for name in ('wi', 'wo')}
  cut = CFG.d_ff // 2
  method = ParallelAdapter(width=cut, scale=1.0, where='decoder/layers/ffn')
  tuned = jax.tree.map(jnp.zeros_like, Model(CFG, method).init(jax.random.key(0), frozen))
  p = tuned.site['decoder/layers/ffn']
  p['down']['kernel'] = kernels['wi'][:, :, cut:]
  p['up']['kernel'] = kernels['wo'][:, cut:]
  half = {**frozen, 'decoder/layers/ffn/wo/kernel': kernels['wo'].at[:, cut:].set(0)}
  ids = jnp.arange(2, 8)[None]
  want = Model(CFG).logits(Model(CFG).specs(), frozen, ids, ids)
  got = Model(CFG, method).logits(tuned, half, ids, ids)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_it_starts_as_published():
  p = init(ParallelAdapter(width=64).specs(SITES, {}), jax.random.key(0)).site
  assert set(p) == {'encoder/layers/ffn', 'decoder/layers/ffn'}
  for arrays in p.values():
    kernel = np.asarray(arrays['down'].pop('kernel'))
    assert kernel.shape == (12, 768, 64)
    assert np.abs(kernel).max() <= 768**-0.5
    assert np.std(kernel) == pytest.approx((3 * 768) ** -0.5, rel=0.03)
    assert not any(x.any() for x in jax.tree.leaves(arrays))


def test_a_learned_scale_starts_where_it_is_told():
  method = ParallelAdapter(scale=1.5, learn_scale=True, decoder_layers=(1, 2))
  tuned = Model(CFG, method).init(jax.random.key(0), draw(CFG))
  np.testing.assert_array_equal(tuned.site['decoder/layers[1:3]/ffn']['scale'], [1.5, 1.5])


@pytest.mark.parametrize(('fields', 'width'), [({'width': 512}, 512), ({}, 384)])
@pytest.mark.parametrize('learned', [False, True])
def test_counts(fields, width, learned):
  method = ParallelAdapter(**fields, learn_scale=learned)
  assert count(method.specs(SITES, {})) == 24 * (2 * 768 * width + width + 768 + learned)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'activation': 'tanh'}, 'activation(.|\n)*gelu_new'),
    ({'width': 0}, 'at least one unit'),
    ({'scale': 0.0}, 'scale is out of range'),
  ],
)
def test_what_cannot_be_is_refused(fields, message):
  with pytest.raises(ConfigError, match=message):
    ParallelAdapter(**fields).specs(SITES, {})
