"""Errors of what runs in the background reach the program, and cost no more than the step."""

import errno

import jax
import jax.numpy as jnp
import pytest

from compacter_jax.checkpoints import arrays, room, verifying
from compacter_jax.errors import StorageError, WeightsError
from tests.checkpoints.states import names, opened, restored, save, state


@pytest.fixture
def full(monkeypatch):
  """Begins and ends a time in which the disk is full."""
  write = arrays.write

  def failing(folder, leaves):
    folder.mkdir()
    raise OSError(errno.ENOSPC, 'No space left on device')

  def switch(is_full):
    monkeypatch.setattr(arrays, 'write', failing if is_full else write)

  return switch


def test_the_error_of_a_save_is_told_when_it_is_waited_for(tmp_path, full):
  save(tmp_path, {1: None})
  with opened(tmp_path).claim() as checkpoints:
    checkpoints.restore(state())
    full(True)
    checkpoints.save(2, state(2))
    with pytest.raises(StorageError, match='cannot be written') as caught:
      checkpoints.wait()
    checkpoints.wait()  # it is told once
    assert names(tmp_path) == {'1', '.holder.json'}
    full(False)
    checkpoints.save(2, state(2))
  assert caught.value.exit_code == 6
  assert caught.value.where == str(tmp_path / '2')
  assert 'No space left on device' in caught.value.got and 'bytes are free' in caught.value.got
  assert caught.value.expected.startswith('room for 636 bytes')
  assert restored(tmp_path).step == 2


def test_it_is_told_by_the_next_save(tmp_path, full):
  with opened(tmp_path).claim() as checkpoints:
    checkpoints.restore(state())
    full(True)
    checkpoints.save(1, state(1))
    with pytest.raises(StorageError):
      checkpoints.save(2, state(2))
    full(False)
    checkpoints.save(3, state(3))
  assert restored(tmp_path).step == 3


def test_it_is_told_at_the_end(tmp_path, full):
  with pytest.raises(StorageError), opened(tmp_path).claim() as checkpoints:
    checkpoints.restore(state())
    full(True)
    checkpoints.save(1, state(1))


def test_it_does_not_hide_another_error(tmp_path, full):
  with pytest.raises(KeyError) as caught, opened(tmp_path).claim() as checkpoints:
    checkpoints.restore(state())
    full(True)
    checkpoints.save(1, state(1))
    raise KeyError('of the program')
  assert 'cannot be written' in caught.value.__notes__[0]


def test_older_steps_that_cannot_go_are_told_of(tmp_path, monkeypatch):
  from compacter_jax.checkpoints import layout

  def failing(folder, step):
    raise OSError(errno.EIO, 'Input/output error')

  with opened(tmp_path, keep_last=1).claim() as checkpoints:
    checkpoints.restore(state())
    checkpoints.save(1, state(1))
    checkpoints.wait()
    with monkeypatch.context() as patch:
      patch.setattr(layout, 'delete', failing)
      checkpoints.save(2, state(2))
      with pytest.raises(StorageError, match='is written, but older ones cannot go'):
        checkpoints.wait()
    assert names(tmp_path) == {'1', '2', '.holder.json'}
    checkpoints.save(2, state(2))  # again, as one does after an error
  assert names(tmp_path) == {'2'}


def test_denied_access_is_no_damage(tmp_path, monkeypatch):
  """Where the system lacks rights, handles or memory, no step is put in quarantine."""
  save(tmp_path, {1: None, 2: None})

  def failing(path):
    raise OSError(errno.EMFILE, 'Too many open files')

  monkeypatch.setattr(verifying.files, 'checksum', failing)
  with pytest.raises(StorageError, match='cannot be reached'):
    restored(tmp_path)
  assert names(tmp_path) == {'1', '2'}


def test_a_sector_that_cannot_be_read_is_damage(tmp_path, monkeypatch):
  save(tmp_path, {1: None, 2: None})
  checksum = verifying.files.checksum

  def failing(path):
    if '/2/' in str(path):
      raise OSError(errno.EIO, 'Input/output error')
    return checksum(path)

  monkeypatch.setattr(verifying.files, 'checksum', failing)
  found = restored(tmp_path)
  assert (found.step, found.quarantined[0].reason) == (1, 'unreadable-file')


def test_what_orbax_cannot_read_is_told_and_left(tmp_path, monkeypatch):
  save(tmp_path, {1: None})

  def failing(*args):
    raise RuntimeError('unknown driver')

  monkeypatch.setattr(arrays, 'read', failing)
  with pytest.raises(WeightsError, match='though it is as it was written') as caught:
    restored(tmp_path)
  assert 'unknown driver' in caught.value.got and 'orbax' in caught.value.expected
  assert names(tmp_path) == {'1'}


def test_a_peer_that_is_lost_as_a_step_is_read_says_nothing_of_the_step(tmp_path, monkeypatch):
  """What waits for it fails on a device; whoever watches the others tells which one is lost."""
  folder = save(tmp_path / 'run', {1: None})

  def lost(*args):
    raise jax.errors.JaxRuntimeError('UNKNOWN: Gloo AllGather failed: Connection closed by peer')

  monkeypatch.setattr(arrays, 'read', lost)
  with pytest.raises(jax.errors.JaxRuntimeError, match='Gloo'):
    restored(folder)


def test_a_state_is_copied_before_save_returns(tmp_path, monkeypatch):
  """On a CPU an array and its NumPy view share memory, which whoever has the array may write."""
  held = {'w': jnp.arange(4.0)}
  (copy,) = arrays.copied([held['w']])
  view = held['w'].__array__()
  assert copy.ctypes.data != view.ctypes.data and copy.flags.owndata


@pytest.mark.parametrize('there, needed', [(0, 5), (1, 4), (3, 2)])
def test_room_for_the_steps_that_are_kept_and_two_more(there, needed, tmp_path, monkeypatch):
  save(tmp_path, {step: step for step in range(1, there + 1)}, keep_last=3)
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state()))
  monkeypatch.setattr(room, 'free', lambda folder: needed * size)
  opened(tmp_path).check_room(state())
  monkeypatch.setattr(room, 'free', lambda folder: needed * size - 1)
  with pytest.raises(StorageError, match='too little room') as caught:
    opened(tmp_path).check_room(state())
  assert f'{needed} steps of {size:,}' in caught.value.expected


def test_a_disk_that_does_not_tell_its_room_is_tried(tmp_path, monkeypatch):
  monkeypatch.setattr(room, 'free', lambda folder: None)
  opened(tmp_path).check_room(state())
