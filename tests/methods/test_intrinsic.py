import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import t5
from compacter_jax.errors import ConfigError
from compacter_jax.fastfood import Fastfood
from compacter_jax.method import Tuned
from compacter_jax.methods.intrinsic import Intrinsic
from compacter_jax.model import Model
from compacter_jax.t5.config import shapes
from tests.conftest import TINY, draw

CFG = TINY['t5']
TENSORS = sum(shape[0] if '/layers/' in path else 1 for path, shape in shapes(CFG).items())
METHOD = Intrinsic(dimension=TENSORS + 21, seed=5)  # v: [20]
RNG = np.random.default_rng(0)


def arrays(method=METHOD):
  specs = Model(CFG, method).specs().weights
  return {name: jnp.float32(RNG.standard_normal(spec.shape)) for name, spec in specs.items()}


@functools.partial(jax.jit, static_argnums=0)
def projected(size, j, v):
  """P_j(v), of the 20 numbers that v has here."""
  return Fastfood(20, size, jax.random.fold_in(jax.random.key(METHOD.seed), j)).project(v)


@jax.jit
def projected_back(j, u):
  return Fastfood(20, u.size, jax.random.fold_in(jax.random.key(METHOD.seed), j)).project_back(u)


def test_published_split():
  specs = Model(t5.SIZES['t5-base'], Intrinsic()).specs().weights
  assert {name: spec.shape for name, spec in specs.items()} == {'v': (19_742,), 'scales': (258,)}
  did = Model(t5.SIZES['t5-base'], Intrinsic(said=False)).specs().weights
  assert {name: spec.shape for name, spec in did.items()} == {'v': (20_000,)}


def test_each_tensor_of_each_layer_has_its_projection_and_its_scale():
  frozen, p = draw(CFG), arrays()
  moved, j = METHOD.weights(frozen, p), 0
  assert sorted(moved) == sorted(frozen)
  for path in sorted(frozen):
    layers = frozen[path] if '/layers/' in path else frozen[path][None]
    new = moved[path].reshape(layers.shape)
    for layer, weight in enumerate(layers):
      change = projected(weight.size, j, p['v'])
      want = weight + p['scales'][j] * change.reshape(weight.shape)
      np.testing.assert_allclose(new[layer], want, rtol=1e-4, atol=1e-5, err_msg=path)
      j += 1
  assert j == TENSORS  # the last scale, that of v itself, is never used


def gradient(method, p, weigh):
  def total(p):
    moved = method.weights(draw(CFG), p)
    return sum(jnp.vdot(moved[path], w) for path, w in weigh.items())

  return jax.jit(jax.grad(total))(p)


def test_gradients_are_true_unless_those_of_the_paper_are_asked_for():
  p, frozen = arrays(), draw(CFG)
  weigh = {path: jnp.float32(RNG.standard_normal(w.shape)) for path, w in frozen.items()}
  true = gradient(METHOD, p, weigh)
  want = {'v': np.zeros(20), 'scales': np.zeros(TENSORS + 1)}
  published, j = np.zeros(20), 0
  for path in sorted(frozen):
    layers = weigh[path] if '/layers/' in path else weigh[path][None]
    for layer in layers:
      back = np.asarray(projected_back(j, layer.ravel()))
      want['v'] += p['scales'][j] * back
      published += p['scales'][j] * back / 2 ** math.ceil(math.log2(layer.size))
      want['scales'][j] = back @ p['v']
      j += 1
  np.testing.assert_allclose(true['v'], want['v'], rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(true['scales'], want['scales'], rtol=1e-3, atol=1e-3)
  quirk = gradient(dataclasses.replace(METHOD, reference_grad=True), p, weigh)
  np.testing.assert_allclose(quirk['v'], published, rtol=1e-3, atol=1e-5)
  np.testing.assert_allclose(quirk['scales'], true['scales'], rtol=1e-6)


def test_a_frozen_head_reads_the_table_as_it_was():
  frozen, p = draw(CFG), arrays()
  source, target = jnp.array([[3, 4, 1]]), jnp.array([[0, 5]])
  method = dataclasses.replace(METHOD, frozen_head=True)

  @functools.partial(jax.jit, static_argnums=0)
  def logits(method, frozen, tuned):
    return Model(CFG, method).logits(tuned, frozen, source, target)

  got = logits(method, frozen, Tuned(weights=p))
  moved = METHOD.weights(frozen, p)
  # An untied head that holds the table as it was, scaled as a tied one is.
  untied = dataclasses.replace(CFG, tied_head=False)
  head = frozen['token_embedding'].T * CFG.d_model**-0.5
  want = Model(untied).logits(Tuned(), {**moved, 'lm_head/kernel': head}, source, target)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
  assert not np.allclose(got, logits(METHOD, frozen, Tuned(weights=p)), atol=1e-2)
  with pytest.raises(TypeError, match='one table'):
    method.fold(frozen, Tuned(weights=p))


def test_a_seed_draws_its_own_projections():
  frozen, p = draw(CFG), arrays()
  other = dataclasses.replace(METHOD, seed=6).weights(frozen, p)
  assert not np.allclose(other['token_embedding'], METHOD.weights(frozen, p)['token_embedding'])


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'dimension': TENSORS + 1}, f'{TENSORS} tensors'),
    ({'dimension': 0, 'said': False}, 'Nothing is left'),
    ({'frozen_head': True}, 'not tied'),
  ],
)
def test_what_cannot_be_is_refused(fields, message):
  cfg = dataclasses.replace(CFG, tied_head='frozen_head' not in fields)
  with pytest.raises(ConfigError, match=message):
    Model(cfg, Intrinsic(**{'dimension': 1_000, **fields})).specs()
