"""Patterns of a file are matched in no time, or refused."""

import dataclasses
import re
import time

import pytest

from compacter_jax import methods, patterns
from compacter_jax.errors import ConfigError
from compacter_jax.model import Model
from compacter_jax.t5.config import Config
from compacter_jax.t5.sites import sites
from experiments.configs import config_files, read_config

CFG = Config(vocab=8, encoder_layers=1, decoder_layers=1, d_model=8, d_kv=4, d_ff=8, heads=2)
PATHS = [*sites(CFG)]


@pytest.mark.parametrize(
  'pattern',
  [
    '(.|.)*!',
    '(a+)+b',
    '(.*)*!',
    '(.*){9}!',
    '.*.*.*.*.*!',
    r'(.)\1',
    '(?<=a)a',
    '(?!(a+)+b)a',
    '(?!.*a.*b).*c.*d.*',
    'a' * 1_001,
    '.*a|' + '.*' * 5,
    '|'.join(['.*.*.*!'] * 6),
  ],
)
def test_what_may_take_long_is_refused(pattern):
  with pytest.raises(ConfigError, match='involved'):
    patterns.check(pattern)


def test_what_is_allowed_takes_no_time():
  for pattern in '.*.*.*.*!', '.*a.*b.*c.*!', '(.*|.*)(.*|.*)!', '|'.join(['.*.*.*.*!'] * 4):
    patterns.check(pattern)
    begin = time.process_time()
    for path in PATHS:
      assert not re.fullmatch(pattern, path)
    assert time.process_time() - begin < 20  # of years that the others take


def test_sites_may_be_left_out_by_name():
  pattern = patterns.compiled('(?!.*cross).*attention/(?:q|v)')
  found = {path for path in PATHS if pattern.fullmatch(path)}
  assert found and not any('cross' in path for path in found)
  assert found == {p for p in PATHS if re.fullmatch('.*attention/[qv]', p) and 'cross' not in p}


@pytest.mark.parametrize('name', ['lora', 'unfreeze'])
@pytest.mark.parametrize('where', ['*q', '(a', '(.*)*', 5])
def test_a_method_has_no_pattern_that_could_not_be_loaded(name, where):
  with pytest.raises(ConfigError, match='where'):
    Model(CFG, dataclasses.replace(methods.load(name), where=where)).specs()


def test_patterns_of_all_methods_and_configs_are_allowed():
  def inner(settings):
    for name, value in settings.items():
      if hasattr(value, 'items'):
        yield from inner(value)
      elif name == 'where':
        yield value

  found = {where for path in config_files() for where in inner(read_config(path).to_dict())}
  found |= {getattr(methods.load(name), 'where', '.*') for name in methods.names()}
  assert len(found) > 5
  for pattern in found:
    patterns.check(pattern)
