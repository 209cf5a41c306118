import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
  np.testing.assert_array_equal(
    made(Prompt(length=5, init='ids', ids=(9, 4))), table[[9, 4, 9, 4, 9]]
  )


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
    (Prompt(length=2, init='ids'), 'ids'),
    (Prompt(length=2, init='ids', ids=(3, 31)), 'ids'),
  ],
)
def test_rows_that_are_not_there_are_refused(method, where):
  with pytest.raises(ConfigError, match='no such rows') as caught:
    Model(CFG, method).specs()
  assert caught.value.where == where


def test_an_empty_prompt_is_refused():
  with pytest.raises(ConfigError, match='length is out of range'):
    Model(CFG, Prompt(length=0)).specs()
