import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.method import init
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model
from compacter_jax.t5.config import Config, shapes
from compacter_jax.weights import merged

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


def test_some_layers_only():
  weights = frozen()
  method = Unfreeze('.*norm/scale', encoder_layers=(1, 2), decoder_layers=())
  tuned = Model(CFG, method).init(jax.random.key(0), weights)
  norms = {f'encoder/layers[1:3]/{name}/scale' for name in ('self_attention_norm', 'ffn_norm')}
  assert set(tuned.weights) == norms | {'encoder/norm/scale', 'decoder/norm/scale'}
  for path in norms:
    whole = path.replace('[1:3]', '')
    np.testing.assert_array_equal(tuned.weights[path], weights[whole][1:])
    moved = merged({**weights, path: tuned.weights[path] + 1})[whole]
    np.testing.assert_array_equal(moved[:1], weights[whole][:1])
    np.testing.assert_array_equal(moved[1:], weights[whole][1:] + 1)


def test_nothing_is_differentiated_below_the_first_layer_that_is_trained():
  ids = jnp.ones((1, 4), jnp.int32)

  def scans(**layers):
    model = Model(CFG, Unfreeze('encoder/layers/.*norm/scale', **layers))
    tuned = model.init(jax.random.key(0), frozen())
    batch = {'source': ids, 'target': ids}
    gradient = jax.make_jaxpr(jax.grad(model.loss))(tuned, model.trim(frozen()), batch)
    return sum(eqn.primitive.name == 'scan' for eqn in gradient.jaxpr.eqns)

  # Of each stack one way and back; the lower segment is run one way only.
  assert scans() == 4
  assert scans(encoder_layers=(2,)) == 5
