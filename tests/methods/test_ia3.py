import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.methods.ia3 import Ia3
from compacter_jax.model import Model
from tests.conftest import TINY, draw


def test_it_multiplies_keys_values_and_hidden_activations():
  specs = Model(TINY['flan-t5'], Ia3()).specs()
  assert {path.partition('/layers/')[2] for path in specs.site} == {
    *(f'{name}_attention/{part}' for name in ('self', 'cross') for part in 'kv'),
    'ffn/activation',
  }
  p = {'gain': jnp.array([2.0, 0.0, -1.0])}
  np.testing.assert_array_equal(Ia3().edit(None, jnp.ones((4, 3)), p, {}), [[2, 0, -1]] * 4)


def test_the_gain_stands_after_the_activation():
  """Doubling a gated net's hidden units doubles its output, whatever the activation."""
  cfg = TINY['flan-t5']
  frozen = draw(cfg)
  method = Ia3(where='.*/ffn/activation')
  tuned = Model(cfg, method).init(jax.random.key(0), frozen)
  doubled = jax.tree.map(lambda gain: 2 * gain, tuned)
  other = {path: 2 * w if path.endswith('ffn/wo/kernel') else w for path, w in frozen.items()}
  ids = jnp.arange(2, 8)[None]
  got = Model(cfg, method).logits(doubled, frozen, ids, ids)
  np.testing.assert_allclose(
    got, Model(cfg, method).logits(tuned, other, ids, ids), rtol=1e-4, atol=1e-4
  )


def test_what_no_kernel_makes_cannot_be_folded():
  cfg = TINY['t5']
  model = Model(cfg, Ia3(where='.*/ffn'))
  with pytest.raises(TypeError, match='coder/layers/ffn'):
    model.fold(draw(cfg), model.init(jax.random.key(0), draw(cfg)))
