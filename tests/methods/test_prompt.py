import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import methods
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError
from compacter_jax.methods.prompt import Prompt
from compacter_jax.model import Model
from tests.conftest import TINY, draw

CFG = TINY['t5']


def made(method):
  return np.asarray(Model(CFG, method).init(jax.random.key(0), draw(CFG)).prompt['prompt'])


def test_it_starts_from_rows_of_the_loaded_table():
  table = np.asarray(draw(CFG)['token_embedding'])
  np.testing.assert_array_equal(made(Prompt(length=7, init='vocabulary')), table[:7])


PIECES = {'good or bad?': [9, 4], 'bad': [4], 'good': [9, 3], '': []}


def test_it_starts_from_a_text():
  table = np.asarray(draw(CFG)['token_embedding'])
  method = Prompt(length=5, init='text', text='good or bad?')
  prepared = method.prepare(PIECES.__getitem__, ['bad'])
  np.testing.assert_array_equal(made(prepared), table[[9, 4, 9, 4, 9]])
  assert methods.from_config(json.loads(json.dumps(methods.to_config(prepared)))) == prepared
  assert chain(p=method).prepare(PIECES.__getitem__, []) == chain(p=prepared)
  assert Prompt(length=5).prepare(PIECES.__getitem__, []) == Prompt(length=5)


def test_it_starts_from_labels_and_from_frequent_pieces():
  table = np.asarray(draw(CFG)['token_embedding'])
  method = Prompt(length=9, init='labels').prepare(PIECES.__getitem__, ['bad', 'good'])
  got = made(method)
  np.testing.assert_allclose(got[:2], [table[4], (table[9] + table[3]) / 2], rtol=1e-6)
  assert all(any(np.array_equal(row, known) for known in table) for row in got[2:])
  assert len(np.unique(got[2:], axis=0)) > 3


@pytest.mark.parametrize(
  ('method', 'labels'),
  [
    (Prompt(length=1, init='text', text='good or bad?'), ()),
    (Prompt(init='text'), ()),
    (Prompt(init='labels'), ()),
    (Prompt(length=1, init='labels'), ('good', 'bad')),
    (Prompt(init='labels'), ('good', '')),
  ],
)
def test_what_no_prompt_can_start_from_is_refused(method, labels):
  with pytest.raises(ConfigError, match='cannot start from'):
    method.prepare(PIECES.__getitem__, labels)


def test_a_text_that_was_not_looked_up_counts_but_does_not_start():
  method = Prompt(length=4, init='text', text='good or bad?')
  assert Model(CFG, method).count() == 4 * CFG.d_model
  with pytest.raises(ConfigError, match=r'prepare\('):
    made(method)


def test_random_vectors_keep_their_bound():
  drawn = made(Prompt(length=100))
  assert np.abs(drawn).max() <= 0.5
  assert np.std(drawn) == pytest.approx(0.5 / 3**0.5, rel=0.1)


def test_it_stands_in_front_and_is_seen():
  method = Prompt(length=2)
  x, mask = jnp.ones((3, 4, 5)), jnp.zeros((3, 4), bool)
  longer, seen = method.prompt(x, mask, {'prompt': jnp.zeros((2, 5))})
  assert longer.shape == (3, 6, 5) and not longer[:, :2].any() and longer[:, 2:].all()
  assert seen[:, :2].all() and not seen[:, 2:].any()


@pytest.mark.parametrize(
  ('method', 'where'),
  [
    (Prompt(length=99, init='vocabulary'), 'length'),
    (Prompt(length=2, init='text', rows=((3,), (99,))), 'rows'),
    (Prompt(length=2, init='labels', rows=((3, -1),)), 'rows'),
  ],
)
def test_rows_that_are_not_there_are_refused(method, where):
  with pytest.raises(ConfigError, match='no such rows') as caught:
    Model(CFG, method).specs()
  assert caught.value.where == where


def test_an_empty_prompt_is_refused():
  with pytest.raises(ConfigError, match='length is out of range'):
    Model(CFG, Prompt(length=0)).specs()
