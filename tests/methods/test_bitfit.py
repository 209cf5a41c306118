import jax.numpy as jnp
import numpy as np

from compacter_jax.methods.bitfit import BitFit
from compacter_jax.model import Model
from tests.conftest import TINY


def test_biases_stand_on_every_product_and_norm_of_the_layers_and_on_the_head():
  paths = set(Model(TINY['flan-t5'], BitFit()).specs().site)
  within = {'ffn/wi_0', 'ffn/wi_1', 'ffn/wo', 'ffn_norm', 'self_attention_norm'}
  within |= {f'self_attention/{part}' for part in 'qkvo'}
  cross = {'cross_attention_norm'} | {f'cross_attention/{part}' for part in 'qkvo'}
  assert paths == {
    *(f'encoder/layers/{name}' for name in within),
    *(f'decoder/layers/{name}' for name in within | cross),
    'lm_head',
  }  # the final norms have none


def test_it_adds():
  p = {'bias': jnp.array([1.0, -2.0])}
  y = jnp.ones((3, 2), jnp.bfloat16)
  got = BitFit().edit(None, y, p, {})
  assert got.dtype == y.dtype
  np.testing.assert_array_equal(got.astype(jnp.float32), [[2, -1]] * 3)
