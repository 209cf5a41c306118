"""The ways of running T5: what is computed again, and in which types."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.model import Model, abstract
from compacter_jax.t5.mode import Mode
from tests.conftest import TINY, draw
from tests.t5.small import CFG, FEW, NORMS_AND_COMPACTER, lively, make_batch, primitives


def test_remat_changes_no_number(frozen, batch):
  """Not even those of dropout, whose masks are drawn again."""
  results = {}
  key = jax.random.key(7, impl='rbg')  # compiles sooner
  for remat in 'none', 'dots', 'full':
    model = Model(CFG, FEW, remat=remat)
    grad = jax.jit(jax.value_and_grad(model.loss))
    results[remat] = grad(lively(model, frozen), frozen, batch, key)
  for remat in 'dots', 'full':
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * (1 + np.abs(b).max())),
      results[remat],
      results['none'],
    )


def test_unrolled_layers_change_no_number(frozen, batch):
  results, turns = [], []
  key = jax.random.key(7, impl='rbg')
  for unroll in 1, 2, 100:
    model = Model(CFG, FEW, unroll=unroll)
    grad = jax.jit(jax.value_and_grad(model.loss))
    results.append(grad(lively(model, frozen), frozen, batch, key))
    gradient = jax.make_jaxpr(jax.grad(model.loss))(lively(model, frozen), frozen, batch)
    turns.append(
      [e.params['unroll'] for e in primitives(gradient.jaxpr) if e.primitive.name == 'scan']
    )
  for result in results[1:]:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * (1 + np.abs(b).max())),
      result,
      results[0],
    )
  assert [max(each) for each in turns] == [1, 2, CFG.encoder_layers]


def test_remat_computes_again(frozen, batch):
  """Or the law above holds because the setting does nothing."""
  count = {}
  for remat in 'none', 'dots', 'full':
    model = Model(CFG, NORMS_AND_COMPACTER, remat=remat)
    gradient = jax.make_jaxpr(jax.grad(model.loss))(lively(model, frozen), frozen, batch)
    names = [eqn.primitive.name for eqn in primitives(gradient.jaxpr)]
    count[remat] = names.count('dot_general'), names.count('rsqrt')
  assert count['none'][0] < count['full'][0]
  assert count['none'][0] < count['dots'][0] < count['full'][0]  # products of scores come again
  assert count['none'][1] < count['dots'][1] == count['full'][1]


def test_bfloat16_is_near_and_what_is_tuned_stays_float32():
  cfg = TINY['umt5']
  batch, frozen = make_batch(cfg), draw(cfg)
  small = {path: w.astype(jnp.bfloat16) for path, w in frozen.items()}
  wide, model = (Model(cfg, NORMS_AND_COMPACTER, dtype) for dtype in ('float32', 'bfloat16'))
  tuned = lively(wide, frozen)
  want = jax.jit(wide.loss)(tuned, wide.trim(frozen), batch)
  got = jax.jit(model.loss)(tuned, model.trim(small), batch)
  gradient = jax.eval_shape(jax.grad(model.loss), tuned, model.trim(small), batch)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, rtol=2e-2)
  assert got != want
  assert {g.dtype for g in jax.tree.leaves(gradient)} == {jnp.dtype('float32')}


def test_bfloat16_is_where_it_is_meant_to_be(batch):
  """Every product of activations takes bfloat16; scores, statistics and the loss are float32."""
  model = Model(CFG, NORMS_AND_COMPACTER, 'bfloat16')
  frozen = {p: jax.ShapeDtypeStruct(w.shape, jnp.bfloat16) for p, w in abstract(CFG).items()}
  tuned = jax.eval_shape(model.init, jax.random.key(0), frozen)
  program = jax.make_jaxpr(model.loss)(tuned, model.trim(frozen), batch, jax.random.key(0))
  kinds = collections.defaultdict(set)
  for eqn in primitives(program.jaxpr):
    shapes_in = [v.aval.shape for v in eqn.invars if hasattr(v.aval, 'shape')]
    if eqn.primitive.name == 'dot_general' and any(len(shape) >= 3 for shape in shapes_in):
      kinds['product'] |= {v.aval.dtype for v in eqn.invars}
    if eqn.primitive.name in ('exp', 'rsqrt', 'log'):
      kinds[eqn.primitive.name] |= {v.aval.dtype for v in eqn.invars}
  half, single = jnp.dtype('bfloat16'), jnp.dtype('float32')
  assert kinds['rsqrt'] == kinds['exp'] == kinds['log'] == {single}
  assert half in kinds['product']


def test_float16_is_refused_with_the_reason():
  for make in Mode, lambda dtype: Model(CFG, dtype=dtype):
    with pytest.raises(ConfigError, match='65,504'):
      make('float16')


@pytest.mark.parametrize(
  ('setting', 'value'), [('dtype', 'float64'), ('dtype', 'bf16'), ('remat', 'some')]
)
def test_unknown_modes_are_refused(setting, value):
  with pytest.raises(ConfigError, match=f'Unknown {setting}') as caught:
    Model(CFG, **{setting: value})
  assert value in str(caught.value)


def test_a_turn_without_layers_is_refused():
  with pytest.raises(ConfigError, match='at least one') as caught:
    Model(CFG, unroll=0)
  assert 'unroll' in str(caught.value)
