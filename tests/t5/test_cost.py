"""What the gradient costs: none is taken of a frozen weight, and no stack of weights is copied."""

import itertools
import math

import jax
import jax.numpy as jnp
import pytest

from compacter_jax.chaining import chain
from compacter_jax.methods.adapter import Adapter
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model, abstract
from compacter_jax.t5.config import Config, shapes
from tests.t5.small import CFG, NORMS_AND_ADAPTERS, NORMS_AND_COMPACTER, make_batch, primitives


def ways():
  """How a step may be run: what is edited where, what is computed again, in which types."""
  for remat in 'none', 'dots', 'full':
    yield NORMS_AND_COMPACTER, remat, 'float32', jnp.float32
  for dtype, held in itertools.product(('float32', 'bfloat16'), (jnp.float32, jnp.bfloat16)):
    yield NORMS_AND_ADAPTERS, 'none', dtype, held


def gradient_of(method, remat='none', dtype='float32', held=jnp.float32):
  """The program of the loss's gradient, and all weights of which it is given."""
  model = Model(CFG, method, dtype, remat)
  frozen = {path: jax.ShapeDtypeStruct(w.shape, held) for path, w in abstract(CFG).items()}
  tuned = jax.eval_shape(model.init, jax.random.key(0), frozen)
  program = jax.make_jaxpr(jax.grad(model.loss))(tuned, model.trim(frozen), make_batch(CFG))
  return program.jaxpr, {path: w.shape for path, w in model.trim(frozen).items()}


def kernels(weights):
  """The shape of each layer's kernels, as they are and transposed."""
  shapes = {shape[-2:] for path, shape in weights.items() if '/layers/' in path}
  return shapes | {shape[::-1] for shape in shapes}


def weight_gradients(jaxpr, weights):
  """Products whose result has the shape of a weight of T5's layers, or of its embedding."""
  wanted = kernels({path: shape for path, shape in weights.items() if path.endswith('kernel')})
  wanted |= {weights['token_embedding'], weights['token_embedding'][::-1]}
  products = [eqn for eqn in primitives(jaxpr) if eqn.primitive.name == 'dot_general']
  assert len(products) > 50
  return [eqn for eqn in products if eqn.outvars[0].aval.shape in wanted]


@pytest.mark.parametrize(('method', 'remat', 'dtype', 'held'), list(ways()))
def test_no_gradient_of_a_frozen_weight_is_computed(method, remat, dtype, held):
  assert not weight_gradients(*gradient_of(method, remat, dtype, held))


def test_that_check_sees_the_gradients_of_weights():
  jaxpr, _ = gradient_of(Unfreeze('.*ffn.*'))
  every = shapes(CFG)
  found = {eqn.outvars[0].aval.shape for eqn in weight_gradients(jaxpr, every)}
  assert found and all(set(shape) == {CFG.d_model, CFG.d_ff} for shape in found)


def stacks(jaxpr, weights):
  """Whatever is made with the shape of more than one layer's kernel."""
  wanted = kernels({path: shape for path, shape in weights.items() if path.endswith('kernel')})
  made = [v.aval.shape for eqn in primitives(jaxpr) for v in eqn.outvars]
  return [shape for shape in made if len(shape) == 3 and shape[0] > 1 and shape[1:] in wanted]


@pytest.mark.parametrize(('method', 'remat', 'dtype', 'held'), list(ways()))
def test_no_frozen_stack_is_made_again(method, remat, dtype, held):
  assert not stacks(*gradient_of(method, remat, dtype, held))


def test_that_check_sees_a_stack():
  jaxpr, _ = gradient_of(Unfreeze('.*ffn.*'))
  assert stacks(jaxpr, shapes(CFG))


BIG = Config(vocab=64, d_model=256, d_ff=512, d_kv=32, heads=8, encoder_layers=8, decoder_layers=8)


# The same of what XLA compiles: next to activations, which are small here, it may hold a few
# layers' weights at a time, of sixteen. Only in float32: for bfloat16 XLA's CPU keeps a float32
# copy of whatever is multiplied.
@pytest.mark.parametrize('encoder_layers', [None, (4, 5, 6, 7)])
def test_no_frozen_stack_is_compiled_into_a_copy(encoder_layers):
  adapter = Adapter(width=8, where='.*/ffn', encoder_layers=encoder_layers)
  model = Model(BIG, chain(norms=Unfreeze('.*norm/scale'), adapters=adapter))
  frozen = abstract(BIG)
  tuned = jax.eval_shape(model.init, jax.random.key(0), frozen)
  ids = jax.ShapeDtypeStruct((1, 8), jnp.int32)
  lowered = jax.jit(jax.grad(model.loss)).lower(
    tuned, model.trim(frozen), {'source': ids, 'target': ids}
  )
  got = lowered.compile().memory_analysis().temp_size_in_bytes
  layers = 4 * sum(math.prod(s) for path, s in shapes(BIG).items() if '/layers/' in path)
  assert got < layers / 6, f'{got:,} of {layers:,} bytes'
