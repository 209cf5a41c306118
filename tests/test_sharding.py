import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from compacter_jax import sharding
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.method import Spec
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model, abstract
from compacter_jax.t5.config import Config, shapes
from compacter_jax.t5.sizes import SIZES

CFG = Config(vocab=32, d_model=16, d_kv=8, d_ff=32, heads=2, encoder_layers=3, decoder_layers=2)


@pytest.mark.parametrize('cfg', SIZES.values(), ids=SIZES)
def test_every_weight_of_every_t5_matches_exactly_one_pattern(cfg):
  for path, shape in shapes(cfg).items():
    hits = [axes for pattern, axes in sharding.T5_AXES.items() if re.fullmatch(pattern, path)]
    assert len(hits) == 1, path
    assert len(hits[0]) == len(shape), path
    assert (hits[0][0] == 'layer') == ('/layers/' in path)


def test_every_pattern_is_needed():
  paths = {path for cfg in SIZES.values() for path in shapes(cfg)}
  for pattern in sharding.T5_AXES:
    assert any(re.fullmatch(pattern, path) for path in paths), pattern
  names = {axis for axes in sharding.T5_AXES.values() for axis in axes if axis}
  assert names == set(sharding.RULES)


@pytest.mark.parametrize(
  ('sizes', 'shape'),
  [
    ({}, (8, 1, 1)),
    ({'tensor': 2}, (4, 1, 2)),
    ({'data': 2, 'fsdp': -1, 'tensor': 2}, (2, 2, 2)),
    ({'data': 1, 'fsdp': 8}, (1, 8, 1)),
  ],
)
def test_a_mesh_takes_all_devices(sizes, shape):
  mesh = sharding.make_mesh(**sizes)
  assert mesh.devices.shape == shape and mesh.axis_names == ('data', 'fsdp', 'tensor')
  assert mesh.axis_types == (AxisType.Auto,) * 3


def test_a_mesh_of_other_devices_than_all():
  some = jax.devices()[2:6]
  mesh = sharding.make_mesh(fsdp=2, among=some)
  assert mesh.devices.shape == (2, 2, 1) and set(mesh.devices.flat) == set(some)
  assert sharding.make_mesh(devices=3, among=some).devices.size == 3
  with pytest.raises(ConfigError, match='0 to 4'):
    sharding.make_mesh(devices=5, among=some)


@pytest.mark.parametrize(
  'sizes', [(3, 1, 1), (4, 1, 1), (-1, 3, 1), (-1, -1, 1), (0, 1, 1), (-1, 16, 1)]
)
def test_a_mesh_that_does_not_fit_is_told_what_does(sizes):
  with pytest.raises(ConfigError, match=r'8 devices(.|\n)*\[1, 2, 4, 8\]'):
    sharding.make_mesh(*sizes)


def test_weights_lie_over_fsdp_and_tensor():
  mesh = sharding.make_mesh(1, 4, 2)
  frozen = {path: np.zeros(shape, np.float32) for path, shape in shapes(CFG).items()}
  lying = sharding.shard(mesh, sharding.t5_axes(frozen), frozen)
  local = {path: w.addressable_shards[0].data.shape for path, w in lying.items()}
  assert local['token_embedding'] == (16, 4)
  assert local['encoder/layers/self_attention/q/kernel'] == (3, 4, 8)
  assert local['decoder/layers/cross_attention/o/kernel'] == (2, 8, 4)
  assert local['encoder/layers/ffn/wi/kernel'] == (3, 4, 16)
  assert local['decoder/layers/ffn/wo/kernel'] == (2, 16, 4)
  assert local['decoder/relative_bias'] == (32, 1)
  assert local['encoder/layers/ffn_norm/scale'] == (3, 16)
  assert all(w.committed and len(w.sharding.device_set) == 8 for w in lying.values())


def test_weights_that_are_trained_lie_as_the_frozen_ones_would():
  """Else full fine-tuning would hold a copy of T5 on every device."""
  mesh = sharding.make_mesh(1, 4, 2)
  model = Model(CFG, chain(all=Unfreeze(), adapters=Compacter(width=8)))
  specs = model.specs()
  frozen = sharding.shardings(mesh, sharding.t5_axes(shapes(CFG)), abstract(CFG))
  arrays = jax.tree.map(lambda s: np.zeros(s.shape), specs, is_leaf=lambda x: isinstance(x, Spec))
  tuned = sharding.shardings(mesh, specs, arrays)
  assert tuned.weights['all'] == frozen
  assert not frozen['token_embedding'].is_fully_replicated
  adapters = jax.tree.leaves((tuned.site, tuned.shared))
  assert len(adapters) == 25 and all(s.is_fully_replicated for s in adapters)


def test_named_dimensions_follow_the_rules():
  mesh = sharding.make_mesh(2, 2, 2)
  spec = Spec((3, 8, 6), None, ('layer', 'embed', None))  # pyright: ignore
  array = sharding.shard(mesh, {'x': spec}, {'x': np.zeros((3, 8, 6))})['x']
  assert array.sharding.spec == PartitionSpec(None, 'fsdp', None)
  same = sharding.shard(mesh, {'x': spec.axes}, {'x': np.zeros((3, 8, 6))})['x']
  assert same.sharding == array.sharding


def test_rows_are_split_over_data_and_fsdp():
  mesh = sharding.make_mesh(2, 2, 2)
  rows = {'source': np.arange(24).reshape(8, 3), 'weight': jnp.arange(8)}
  lying = sharding.shard_batch(mesh, rows)
  assert lying['source'].addressable_shards[0].data.shape == (2, 3)
  assert lying['weight'].addressable_shards[0].data.shape == (2,)
  np.testing.assert_array_equal(lying['source'], rows['source'])
  with pytest.raises(ConfigError, match=r'data x fsdp=4(.|\n)*6 rows(.|\n)*\[1, 2, 3, 6\]'):
    sharding.shard_batch(mesh, {'source': np.zeros((6, 2))})


def test_a_dimension_that_does_not_divide_is_told_what_does():
  mesh = sharding.make_mesh(1, 1, 8)
  frozen = abstract(CFG)
  with pytest.raises(ConfigError, match=r'relative_bias(.|\n)*2 heads(.|\n)*tensor of \[1, 2\]'):
    sharding.shardings(mesh, sharding.t5_axes(frozen), frozen)


def test_a_path_that_is_not_t5s_is_an_error():
  with pytest.raises(ConfigError, match='no axes'):
    sharding.t5_axes(['encoder/layers/ffn/w2/kernel'])


@pytest.mark.parametrize(
  ('rows', 'parts'),
  [
    ([{0, 1, 2, 3}], [(0, 1)]),
    ([{0, 1}, {2, 3}], [(0, 2), (1, 2)]),
    ([{2, 3}, {0, 1}], [(1, 2), (0, 2)]),
    ([{0, 1}, {0, 1}, {2, 3}, {2, 3}], [(0, 2), (0, 2), (1, 2), (1, 2)]),  # tensor over two hosts
    ([{0, 1, 2, 3}] * 2, [(0, 1)] * 2),
    ([{0, 2}, {1, 3}], [(0, 1)] * 2),
    ([{0, 1, 2}, {3}], [(0, 1)] * 2),
  ],
)
def test_processes_give_the_rows_of_their_devices_or_all(rows, parts):
  given = [sharding.part_of(dict(enumerate(rows)), k, 4) for k in range(len(rows))]
  assert given == parts
