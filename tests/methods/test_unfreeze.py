import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.method import init
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model
from compacter_jax.t5.config import Config, shapes

CFG = Config(vocab=32, d_model=16, d_kv=8, d_ff=32, heads=2, encoder_layers=3, decoder_layers=2)


def frozen(dtype=jnp.float32):
  rng = np.random.default_rng(0)
  return {path: jnp.array(rng.standard_normal(s), dtype) for path, s in shapes(CFG).items()}


def test_it_starts_where_the_weights_stand():
  weights = frozen()
  tuned = Model(CFG, Unfreeze()).init(jax.random.key(0), weights)
  assert set(tuned.weights) == set(weights)
  for path, w in weights.items():
    np.testing.assert_array_equal(tuned.weights[path], w)


def test_it_trains_in_float32_what_is_frozen_in_bfloat16():
  weights = frozen(jnp.bfloat16)
  tuned = Model(CFG, Unfreeze('.*norm/scale')).init(jax.random.key(0), weights)
  assert {w.dtype for w in tuned.weights.values()} == {jnp.dtype('float32')}
  np.testing.assert_array_equal(
    tuned.weights['encoder/norm/scale'], weights['encoder/norm/scale'].astype(jnp.float32)
  )


def test_what_is_trained_is_a_copy():
  """It is donated to the training step, which must not take the frozen weight with it."""
  weights = frozen()
  tuned = Model(CFG, Unfreeze('.*norm/scale')).init(jax.random.key(0), weights)
  jax.jit(lambda t: jax.tree.map(lambda w: w + 1, t), donate_argnums=0)(tuned)
  assert all(not w.is_deleted() for w in weights.values())
  np.testing.assert_array_equal(weights['encoder/norm/scale'], frozen()['encoder/norm/scale'])


def test_weights_left_alone_are_handed_on_as_they_are():
  weights = frozen()
  method = Unfreeze('.*ffn_norm/scale')
  tuned = init(method.specs({}, weights), jax.random.key(0))
  after = method.weights(weights, tuned.weights)
  changed = {path for path in weights if after[path] is not weights[path]}
  assert changed == {'encoder/layers/ffn_norm/scale', 'decoder/layers/ffn_norm/scale'}


@pytest.mark.parametrize(
  ('where', 'number'),
  [('.*', 26), ('.*norm/scale', 7), ('decoder/.*', 15), ('token_embedding', 1)],
)
def test_patterns(where, number):
  weights = frozen()
  method = Unfreeze(where)
  assert len(method.superseded(weights)) == number
  assert set(method.specs({}, weights).weights) == set(method.superseded(weights))


def test_a_pattern_that_matches_nothing_lists_the_weights():
  with pytest.raises(ConfigError, match=r'No weight of T5(.|\n)*token_embedding'):
    Unfreeze('norm').specs({}, frozen())
