"""Every config on every shape of mesh: the same numbers as on one device.

At one rate for all, for the tolerance is of steps of that size; and without T5's own dropout, which
takes most of the time to compile: tests/test_placement.py has it on all these meshes.
"""

import dataclasses
import functools

import jax
import pytest

from compacter_jax import methods, sharding, t5
from compacter_jax.model import Model
from experiments.configs import config_files, read_config
from tests import on_meshes
from tests.on_meshes import MESHES, assert_same, trained

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures('standard_promotion')]

CFG = dataclasses.replace(on_meshes.CFG, dropout=0.0)
# The quickstart's method is Compacter's.
CONFIGS = {path.stem: path for path in config_files() if path.stem != 'quickstart'}
# What the methods of the configs are made of that does not suit a T5 as small as this.
SMALL = {
  'width': 12,
  'rank': 2,
  'length': 3,
  'bottleneck': 5,
  'dimension': 100,
  'encoder_layers': (1,),
  'decoder_layers': (1,),
}
# A bias on keys moves no softmax.
ROUNDING = {'bitfit': r"_attention/k'\]\['bias'\]"}


def small(config):
  """The method of a config, smaller."""
  if 'name' not in config:
    return {part: small(inner) for part, inner in config.items()}
  shrunk = {name: SMALL[name] for name, value in config.items() if name in SMALL and value}
  return config | shrunk | ({'width': SMALL['width']} if 'width' in config else {})


def model(name):
  return Model(CFG, methods.from_config(small(read_config(CONFIGS[name]).method.to_dict())))


@functools.cache
def frozen():
  return t5.random_weights(CFG, jax.random.key(0))


@functools.lru_cache(maxsize=1)
def alone(name):
  return trained(model(name), on_meshes.one_device(), frozen())


@pytest.mark.parametrize('sizes', MESHES)
@pytest.mark.parametrize('name', CONFIGS)
def test_a_mesh_changes_no_number(name, sizes):
  """`-s` shows the worst differences."""
  many = trained(model(name), sharding.make_mesh(*MESHES[sizes]), frozen())
  loss, arrays = assert_same(many, alone(name), ROUNDING.get(name))
  print(f'{name} {sizes}: first loss {loss:.1e}, arrays {arrays:.1e}')
