"""A training state to disk and back, to the bit, and every file that is another one refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import optim, tensor_file, train
from compacter_jax.errors import StorageError, WeightsError
from compacter_jax.method import Tuned
from compacter_jax.state_file import load_state, save_state

BITS = np.array(
  # NaNs with a payload, one of them signalling; -0.0; the smallest denormal; infinity.
  [0x7FC12345, 0xFFC00001, 0x7F800001, 0x80000000, 0x00000001, 0x807FFFFF, 0x7F800000],
  np.uint32,
)


pytestmark = pytest.mark.usefixtures('standard_promotion')


def state():
  halves = np.array([0x7FC1, 0x8000, 0x0001, 0xFF80], np.uint16).view(jnp.bfloat16)
  tuned = Tuned(weights={'a/b': jnp.asarray(BITS.view(np.float32)), 'c': jnp.ones((2, 3))})
  counters = {'n': jnp.int32(2**31 - 1), 'none': jnp.zeros((0, 4), jnp.int32)}
  return train.State(tuned, (counters, [jnp.asarray(halves)], ()), jnp.int32(7), jnp.uint32(5))


def bits(tree):
  return [(leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


def test_every_bit_comes_back(tmp_path):
  save_state(tmp_path / 's', state(), 'me')
  for like in state(), jax.eval_shape(state):
    back = load_state(tmp_path / 's', like, 'me')
    assert jax.tree.structure(back) == jax.tree.structure(state())
    assert bits(back) == bits(state())
  assert np.array_equal(np.asarray(back.tuned.weights['a/b']).view(np.uint32), BITS)


@pytest.mark.parametrize('optimizer', optim.OPTIMIZERS)
def test_the_state_of_every_optimizer_comes_back(tmp_path, optimizer):
  built = optim.build(optim.Optim(optimizer), 10)
  key = jax.random.key(0)
  tuned = Tuned(weights={'w': jax.random.normal(key, (130, 140)), 'v': jnp.ones(3)})
  before = train.start(tuned, built)
  _, opt = built.update(tuned, before.opt, tuned)
  before = before.replace(opt=opt, step=jnp.int32(1))
  save_state(tmp_path / 's', before, 'me')
  assert bits(load_state(tmp_path / 's', jax.eval_shape(lambda: before), 'me')) == bits(before)


def test_equal_states_give_equal_bytes_and_the_last_one_stays(tmp_path):
  for name in 'a', 'b', 'a':
    save_state(tmp_path / name, state(), 'me')
  assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
  assert {path.name for path in tmp_path.iterdir()} == {'a', 'b'}


def test_the_state_of_another_run_is_refused(tmp_path):
  save_state(tmp_path / 's', state(), 'me')
  with pytest.raises(WeightsError, match='another run') as caught:
    load_state(tmp_path / 's', state(), 'you')
  assert (caught.value.expected, caught.value.got) == ('you', 'me')
  tensor_file.write(tmp_path / 'foreign', {'w': np.ones(3, np.float32)})
  with pytest.raises(WeightsError, match='another run'):
    load_state(tmp_path / 'foreign', state(), 'me')


def other(change):
  """The state with one array changed."""
  out = state()
  out.tuned.weights.update(change)
  return out


@pytest.mark.parametrize(
  ('like', 'message'),
  [
    (other({'c': jnp.ones((3, 2))}), r"\['c'\] float32\[3, 2\]"),
    (other({'c': jnp.ones((2, 3), jnp.bfloat16)}), r"\['c'\] bfloat16\[2, 3\]"),
    (other({'d': jnp.ones(1)}), r"\['d'\] float32\[1\]\n.*absent"),
    (state().tuned, 'other arrays'),
  ],
)
def test_another_structure_is_refused(tmp_path, like, message):
  save_state(tmp_path / 's', state(), 'me')
  with pytest.raises(WeightsError, match=message):
    load_state(tmp_path / 's', like, 'me')


def test_a_file_that_was_cut_is_refused(tmp_path):
  save_state(tmp_path / 's', state(), 'me')
  whole = (tmp_path / 's').read_bytes()
  for length in range(len(whole)):
    (tmp_path / 's').write_bytes(whole[:length])
    with pytest.raises(WeightsError):
      load_state(tmp_path / 's', state(), 'me')
  with pytest.raises(WeightsError, match='absent'):
    load_state(tmp_path / 'absent', state(), 'me')


def test_a_bit_that_flipped_is_seen(tmp_path):
  save_state(tmp_path / 's', state(), 'me')
  whole = (tmp_path / 's').read_bytes()
  header = 8 + int.from_bytes(whole[:8], 'little')
  for at in range(header, len(whole)):
    spoiled = bytearray(whole)
    spoiled[at] ^= 1 << at % 8
    (tmp_path / 's').write_bytes(spoiled)
    with pytest.raises(WeightsError, match='damaged'):
      load_state(tmp_path / 's', state(), 'me')


def test_a_folder_that_is_none_is_our_error(tmp_path):
  with pytest.raises(StorageError, match='absent'):
    save_state(tmp_path / 'absent' / 's', state(), 'me')
