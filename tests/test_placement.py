"""A training run on a mesh: the same numbers as on one device, and arrays that really are split."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from compacter_jax import methods, optim, sharding, t5, train
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.lora import LoRA
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model, abstract
from compacter_jax.partition import over_rows
from compacter_jax.placement import Placement
from tests.on_meshes import CFG, MESHES, assert_same, batches, one_device, trained

METHODS = {
  'full': Unfreeze('.*'),
  'compacter': chain(norms=Unfreeze('.*norm/scale'), adapters=Compacter(n=4, width=8)),
  'lora': LoRA(rank=4),
  'prompt': methods.load('prompt', length=3),
}
pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.fixture(scope='module')
def frozen():
  return t5.random_weights(CFG, jax.random.key(0))


@pytest.fixture(scope='module')
def alone(frozen):
  """Each method on one device; made when it is first asked for."""
  made = {}

  def get(name):
    if name not in made:
      made[name] = trained(Model(CFG, METHODS[name]), one_device(), frozen)
    return made[name]

  return get


# All methods on all of them are in tests/test_methods_on_meshes.py, their gradients on two in
# tests/test_laws.py.
CASES = [*itertools.product(('full', 'compacter'), MESHES), ('lora', '2x2x2'), ('prompt', '2x2x2')]


@pytest.mark.parametrize(('name', 'sizes'), CASES)
def test_a_mesh_changes_no_number(name, sizes, frozen, alone):
  mesh = sharding.make_mesh(*MESHES[sizes])
  assert_same(trained(Model(CFG, METHODS[name]), mesh, frozen), alone(name))


def test_the_state_lies_where_it_was_laid_and_stays_there(frozen):
  mesh = sharding.make_mesh(2, 2, 2)
  state, _ = trained(Model(CFG, METHODS['full']), mesh, frozen, steps=3)
  weights = state.tuned.weights
  adam = optax.tree_utils.tree_get(state.opt, 'mu').weights
  for held in weights, adam:
    assert held['token_embedding'].sharding.spec == PartitionSpec('tensor', 'fsdp')
    wi = held['encoder/layers/ffn/wi_0/kernel']
    assert wi.sharding.spec == PartitionSpec(None, 'fsdp', 'tensor')
    assert wi.addressable_shards[0].data.size == wi.size // 4
  assert state.step.sharding.is_fully_replicated


@pytest.mark.parametrize('optimizer', ['adamw', 'adafactor'])
def test_every_array_of_a_state_has_a_place(optimizer, frozen):
  mesh = sharding.make_mesh(1, 4, 2)
  model = Model(CFG, METHODS['full'])
  built = optim.build(optim.Optim(optimizer, 1e-3, warmup=2), 10)
  placement = Placement(mesh, model, frozen)
  with jax.set_mesh(mesh):
    state = placement.state(model.init(jax.random.key(1), frozen), built, 7)
  plain = train.start(model.init(jax.random.key(1), frozen), built, 7)
  assert jax.tree.structure(state) == jax.tree.structure(plain)
  for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(plain), strict=True):
    np.testing.assert_array_equal(a, b)
    assert len(a.sharding.device_set) == 8


@pytest.mark.parametrize('sizes', [(4, 2, 1), (2, 2, 2), (1, 1, 8)])
def test_activations_are_split_by_rows(sizes, frozen):
  """By the compiled program's own account: what a constraint that does nothing would not give."""
  mesh, seen = sharding.make_mesh(*sizes), []
  model = Model(CFG, METHODS['compacter'])
  placement = Placement(mesh, model, frozen)

  def run(x):
    y = over_rows(x * 2)
    jax.debug.inspect_array_sharding(y, callback=lambda lies: seen.append(lies))
    return y

  whole = jax.device_put(
    jnp.ones((16, 4, 32)), jax.sharding.NamedSharding(mesh, PartitionSpec(None, None, 'fsdp'))
  )
  with jax.set_mesh(mesh):
    jax.jit(run)(whole).block_until_ready()
  (lies,) = seen
  assert lies.shard_shape((16, 4, 32)) == (16 // placement.ways, 4, 32)
  assert over_rows(whole) is whole  # no mesh is set


def test_blocks_split_their_rows(frozen):
  """Each layer of both stacks asks for it."""
  mesh = sharding.make_mesh(2, 2, 2)
  model = Model(CFG, METHODS['compacter'])
  tuned = model.init(jax.random.key(0), frozen)
  batch = next(batches())
  with jax.set_mesh(mesh):
    text = str(jax.make_jaxpr(model.loss)(tuned, frozen, batch))
  assert text.count('sharding_constraint[') == 6
  assert 'sharding_constraint[' not in str(jax.make_jaxpr(model.loss)(tuned, frozen, batch))


@pytest.mark.parametrize(
  ('accumulate', 'dtype', 'remat'),
  [(2, 'float32', 'full'), (2, 'bfloat16', 'dots')],
)
def test_parts_dtypes_and_rematerialisation_go_together_with_a_mesh(
  accumulate, dtype, remat, frozen
):
  model = Model(CFG, METHODS['compacter'], dtype, remat)
  ends = [
    trained(model, mesh, frozen, accumulate, steps=3)[1]
    for mesh in (one_device(), sharding.make_mesh(2, 2, 2))
  ]
  np.testing.assert_allclose(*ends, rtol=1e-5 if dtype == 'float32' else 3e-3)


def test_parts_take_rows_from_every_device():
  """A part that is a block of rows would lie on few devices."""
  mesh = sharding.make_mesh(4, 2, 1)
  batch = sharding.shard_batch(mesh, {'source': np.arange(16, dtype=np.int32)[:, None]})
  parts = np.asarray(train.cut_up(batch, 2)['source'])[..., 0]
  owner = {
    row: d
    for d, part in enumerate(batch['source'].addressable_shards)
    for row in part.data[:, 0].tolist()
  }
  assert sorted(parts.ravel()) == list(range(16))
  for part in parts:
    assert sorted(owner[row] for row in part) == list(range(8))


def test_a_batch_that_does_not_split_is_told_what_does():
  with pytest.raises(ConfigError, match='evenly over the mesh') as caught:
    train.check_batch(20, 2, ways=4)
  assert '16 or 24' in str(caught.value)
  train.check_batch(24, 2, ways=4)


def test_a_mesh_of_fewer_devices():
  assert sharding.make_mesh(1, 2, 1, devices=2).devices.size == 2
  assert sharding.make_mesh(devices=4).shape['data'] == 4
  with pytest.raises(ConfigError, match='devices'):
    sharding.make_mesh(devices=9)


def test_kernels_of_some_layers_lie_as_those_of_all():
  """They and their moments would else be on every device whole."""
  mesh = sharding.make_mesh(2, 2, 2)
  lies = []
  for layers in None, (1,):
    method = Unfreeze('encoder/.*/ffn/wi_0/kernel', encoder_layers=layers, decoder_layers=())
    state = Placement(mesh, Model(CFG, method), abstract(CFG)).lies(optax.sgd(1))
    lies.append(list(state.tuned.weights.values()))
  assert lies[0] == lies[1] and lies[0][0].spec == PartitionSpec(None, 'fsdp', 'tensor')
