"""The adapter file: bit for bit, in a new process, on its own base only."""

import dataclasses
import json
import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import compacter_jax as cj
from compacter_jax import adapter_file, methods, sealed, t5
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError, StorageError, WeightsError
from compacter_jax.method import Method
from compacter_jax.methods.adapter import Adapter
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model

CFG = t5.Config(vocab=32, d_model=16, d_kv=4, d_ff=24, heads=4, encoder_layers=2, decoder_layers=2)
SOURCE = np.array([[3, 4, 5, 1], [6, 7, 1, 0]], np.int32)
METHODS = {
  'compacter': chain(norms=Unfreeze('.*norm/scale'), adapters=Compacter(n=2, width=4)),
  'fixed A': Compacter(n=2, width=4, learn_a=False, seed=3),
  'some layers': Adapter(width=4, encoder_layers=(1,), decoder_layers=()),
  'full': Unfreeze('.*'),
}


@pytest.fixture(scope='module')
def frozen():
  return t5.random_weights(CFG, jax.random.key(0))


def saved(tmp_path, frozen, method, **options):
  model = Model(CFG, method)
  tuned = model.init(jax.random.key(1), frozen)
  tuned = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(2), a.shape), tuned)
  cj.save(tmp_path / 'adapter', model, tuned, cj.fingerprint(frozen), **options)
  return model, tuned


@pytest.mark.parametrize('method', METHODS.values(), ids=METHODS)
def test_round_trip_is_bit_equal(tmp_path, frozen, method):
  model, tuned = saved(tmp_path, frozen, method, tokenizer='t', seed=7, notes={'task': 'x'})
  again, loaded = cj.load(tmp_path / 'adapter', CFG, frozen, 't')
  assert again == model
  assert jax.tree.structure(loaded) == jax.tree.structure(tuned)
  chex.assert_trees_all_equal(loaded, tuned)
  described = adapter_file.describe(tmp_path / 'adapter')
  assert (described['seed'], described['notes']) == (7, {'task': 'x'})


def test_a_new_process_predicts_the_same_bits(tmp_path, frozen):
  model, tuned = saved(tmp_path, frozen, METHODS['compacter'])
  t5.save(tmp_path / 'base', CFG, frozen)
  logits = jax.jit(model.logits)(tuned, frozen, SOURCE, SOURCE)
  code = f"""
import jax, numpy as np, compacter_jax as cj
cfg, frozen = cj.t5.load({str(tmp_path / 'base')!r})
model, tuned = cj.load({str(tmp_path / 'adapter')!r}, cfg, frozen)
source = np.array({SOURCE.tolist()}, np.int32)
np.save({str(tmp_path / 'logits.npy')!r}, jax.jit(model.logits)(tuned, frozen, source, source))
"""
  # The compiler's settings are those of these tests, see conftest.py.
  settings = os.environ | {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  subprocess.run([sys.executable, '-c', code], check=True, env=settings)
  np.testing.assert_array_equal(np.load(tmp_path / 'logits.npy'), logits)


def test_another_base_is_refused_naming_both_fingerprints(tmp_path, frozen):
  saved(tmp_path, frozen, METHODS['compacter'])
  other = dict(frozen) | {'token_embedding': frozen['token_embedding'].at[3, 3].add(1e-3)}
  with pytest.raises(WeightsError) as error:
    cj.load(tmp_path / 'adapter', CFG, other)
  assert cj.fingerprint(frozen) in str(error.value)
  assert cj.fingerprint(other) in str(error.value)


def test_the_fingerprint_tells_dtypes_shapes_and_paths_apart():
  a = {'x': jnp.ones((2, 3))}
  others = [{'y': jnp.ones((2, 3))}, {'x': jnp.ones((3, 2))}, {'x': jnp.ones((2, 3), jnp.bfloat16)}]
  assert len({cj.fingerprint(w) for w in (a, *others)}) == 4
  assert cj.fingerprint(a) == cj.fingerprint({'x': np.ones((2, 3), np.float32)})


def test_another_config_or_tokenizer_is_refused(tmp_path, frozen):
  saved(tmp_path, frozen, METHODS['compacter'], tokenizer='mine')
  with pytest.raises(WeightsError, match='relative_max_distance'):
    other = dataclasses.replace(CFG, relative_max_distance=64)
    cj.load(tmp_path / 'adapter', other, frozen)
  with pytest.raises(WeightsError, match='mine'):
    cj.load(tmp_path / 'adapter', CFG, frozen, 'theirs')


def test_damage_is_noticed(tmp_path, frozen):
  saved(tmp_path, frozen, METHODS['compacter'])
  path = tmp_path / 'adapter' / adapter_file.ARRAYS
  content = bytearray(path.read_bytes())
  content[-5] ^= 1
  path.write_bytes(content)
  with pytest.raises(WeightsError, match='damaged'):
    cj.load(tmp_path / 'adapter', CFG, frozen)
  path.unlink()
  with pytest.raises(WeightsError, match='cannot be read'):
    cj.load(tmp_path / 'adapter', CFG, frozen)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'format': 99}, 'another format'),
    ({'method': {'name': 'compactor'}}, 'did you mean'),
    ({'method': {'name': 'compacter', 'm': 4}}, 'has no setting'),
    ({'method': {'name': 'compacter', 'n': 2, 'width': 6}}, 'not those of the method'),
    ({'method': {'name': 'compacter', 'where': '(.|.)*!'}}, 'involved'),
    ({'method': {'adapters': {'name': 'compacter', 'where': '(.|.)*!'}}}, 'involved'),
  ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, frozen, change, message):
  saved(tmp_path, frozen, Compacter(n=2, width=4))
  path = tmp_path / 'adapter' / adapter_file.DESCRIPTION
  sealed.write(path, json.loads(path.read_text()) | change)
  with pytest.raises(WeightsError, match=message):
    cj.load(tmp_path / 'adapter', CFG, frozen)


@pytest.mark.parametrize(('field', 'size'), [('d_model', 2**31 - 1), ('encoder_layers', 10**9)])
def test_sizes_that_a_description_claims_are_refused_at_once(tmp_path, frozen, field, size):
  saved(tmp_path, frozen, Compacter(n=2, width=4))
  path = tmp_path / 'adapter' / adapter_file.DESCRIPTION
  described = json.loads(path.read_text())
  described['t5'][field] = size
  sealed.write(path, described)
  with pytest.raises(WeightsError, match=str(size)):
    adapter_file.check(tmp_path / 'adapter')


@pytest.mark.parametrize('content', ['', '{"format": 1', '[]', '{"format": 1}'])
def test_a_broken_description_is_refused(tmp_path, frozen, content):
  saved(tmp_path, frozen, Compacter(n=2, width=4))
  (tmp_path / 'adapter' / adapter_file.DESCRIPTION).write_text(content)
  with pytest.raises(WeightsError, match='damaged|incomplete'):
    cj.load(tmp_path / 'adapter', CFG, frozen)


def test_no_adapter_here_tells_what_is(tmp_path, frozen):
  (tmp_path / 'notes.txt').touch()
  with pytest.raises(WeightsError, match=r'notes\.txt'):
    cj.load(tmp_path, CFG, frozen)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path, frozen):
  (tmp_path / 'adapter').touch()
  with pytest.raises(StorageError, match='adapter'):
    saved(tmp_path, frozen, Compacter(n=2, width=4))


def test_compacter_on_t5_base_is_under_0_7_megabytes():
  cfg = t5.SIZES['t5-base']
  method = chain(norms=Unfreeze('.*norm/scale'), adapters=methods.load('compacter'))
  assert Model(cfg, method).count() * 4 < 0.7e6


def test_what_could_not_be_loaded_is_not_written_over_what_can(tmp_path, frozen):
  """Each is told before anything is written: the adapter that was there stays."""
  model, tuned = saved(tmp_path, frozen, Compacter(n=2, width=4))
  base, other = cj.fingerprint(frozen), Model(CFG, Adapter(width=4))
  changed = dataclasses.replace(model, method=Compacter(n=2, width=8))
  bad = {
    'notes': (model, tuned, base, {'notes': {'when': object()}}),
    'base': (model, tuned, frozen, {}),
    'tokenizer': (model, tuned, base, {'tokenizer': object()}),
    'method': (Model(CFG, Mine()), Mine().specs({}, frozen), base, {}),
  }
  for where, (its, arrays, fingerprint, options) in bad.items():
    with pytest.raises(ConfigError) as error:
      cj.save(tmp_path / 'adapter', its, arrays, fingerprint, **options)
    assert where in f'{error.value.where} {error.value.what}', error.value
  for its in other, changed:
    with pytest.raises(WeightsError, match='not those of the method'):
      cj.save(tmp_path / 'adapter', its, tuned, base)
  _, loaded = cj.load(tmp_path / 'adapter', CFG, frozen)
  chex.assert_trees_all_equal(loaded, tuned)


class Mine(Method):
  """A method that is in no file of the package."""


def test_scalars_of_arrays_are_kept_as_numbers(tmp_path, frozen):
  model, _ = saved(tmp_path, frozen, Adapter(width=np.int64(4)), notes={'loss': jnp.float32(0.5)})
  described = adapter_file.describe(tmp_path / 'adapter')
  assert described['notes'] == {'loss': 0.5}
  assert cj.load(tmp_path / 'adapter', CFG, frozen)[0] == model
