"""Untyped settings to dataclasses: every mistake has a name."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import methods, settings
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.lora import LoRA
from compacter_jax.model import Model
from compacter_jax.t5 import size_named
from experiments import schema
from experiments.configs import HERE, read_config


@dataclasses.dataclass(frozen=True)
class Example:
  whole: int
  real: float = 1.0
  flag: bool = False
  text: str = ''
  layers: tuple[int, ...] | None = None
  rank: int | None = 1


def test_values_of_the_right_type_pass():
  made = settings.build(Example, {'whole': 2, 'real': 3, 'layers': [1, 2], 'rank': None})
  assert made == Example(2, 3.0, layers=(1, 2), rank=None)
  assert isinstance(made.real, float)


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'whole': 1, 'reel': 2.0}, "did you mean 'real'"),
    ({'real': 2.0}, 'missing'),
    ({'whole': 1.5}, 'int'),
    ({'whole': '1'}, 'int'),
    ({'whole': True}, 'bool'),
    ({'whole': None}, 'None'),
    ({'whole': 1, 'real': math.nan}, 'finite'),
    ({'whole': 1, 'real': math.inf}, 'finite'),
    ({'whole': 1, 'real': False}, 'bool'),
    ({'whole': 1, 'flag': 1}, 'bool'),
    ({'whole': 1, 'text': 3}, 'str'),
    ({'whole': 1, 'layers': [1, 'x']}, 'layers'),
    ({'whole': 1, 'layers': [1, True]}, 'layers'),
    ({'whole': 1, 'rank': 2.0}, 'int or None'),
  ],
)
def test_others_are_named(values, message):
  with pytest.raises(ConfigError, match=message):
    settings.build(Example, values, 'config')


@pytest.mark.parametrize(
  ('values', 'where'),
  [
    ({'optim.rate': -1.0}, 'config.optim.rate'),
    ({'optim.schedule': 'liner'}, 'config.optim.schedule'),
    ({'data.max_train': -1}, 'config.data.max_train'),
    ({'data.balanced': True}, 'config.data.balanced'),
    ({'method': {'name': 'prompt', 'length': 'x'}}, 'config.method.length'),
    ({'method': {'p': {'name': 'lora', 'rank': 1.5}}}, 'config.method.p.rank'),
    ({'batch_size': 0}, 'config.batch_size'),
    ({'steps': 0, 'epochs': 0.0}, 'config'),
  ],
)
def test_what_a_dataclass_refuses_has_its_whole_name(values, where):
  config = read_config(HERE / 'compacter.py')
  config.update_from_flattened_dict({k: v for k, v in values.items() if k != 'method'})
  with pytest.raises(ConfigError) as caught:
    schema.job(config.to_dict() | {k: v for k, v in values.items() if k == 'method'})
  assert caught.value.where == where


@pytest.mark.parametrize('name', methods.names())
def test_methods_made_in_python_are_checked_as_those_of_a_config(name):
  made = methods.load(name)
  cls = type(made)
  for field in dataclasses.fields(made):
    wrong = [object()] if isinstance(getattr(made, field.name), str) else ['8', math.nan]
    for value in wrong:
      with pytest.raises(ConfigError, match=f'{cls.__name__}.{field.name}'):
        cls(**{field.name: value})
  if 'encoder_layers' in methods.to_config(made):
    assert cls(encoder_layers=[0, 1]) == cls(encoder_layers=(0, 1))
    assert hash(cls(encoder_layers=[0, 1]))


def test_plain_numbers_are_made_of_scalars():
  made = LoRA(rank=np.int64(4), alpha=jnp.float32(8))  # pyright: ignore
  assert (type(made.rank), type(made.alpha)) == (int, float)
  assert made == LoRA(rank=4, alpha=8)


def test_a_model_has_a_method():
  with pytest.raises(ConfigError, match="'lora'"):
    Model(size_named('t5-small'), 'lora')  # pyright: ignore


def test_methods_go_to_settings_and_back():
  method = chain(a=Compacter(n=2, encoder_layers=(1, 2)), b=methods.load('unfreeze', where='x'))
  assert methods.from_config(methods.to_config(method)) == method
  assert methods.from_config({'name': 'compacter', 'n': 8}) == Compacter(n=8)


@pytest.mark.parametrize(
  ('config', 'message'),
  [
    ({'name': 'compactor'}, "did you mean 'compacter'"),
    ({'name': 'compacter', 'widht': 3}, "did you mean 'width'"),
    ({'adapters': {'n': 4}}, 'which method'),
    ({'adapters': 4}, 'which method'),
  ],
)
def test_methods_that_are_none_are_named(config, message):
  with pytest.raises(ConfigError, match=message):
    methods.from_config(config)
