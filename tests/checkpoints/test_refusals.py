"""What does not fit is refused with names, and nothing is touched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.checkpoints import Checkpoints, manifest
from compacter_jax.errors import ConfigError, StorageError, WeightsError
from tests.checkpoints.states import IDENTITY, names, opened, restored, save, state


@pytest.fixture
def folder(tmp_path):
  return save(tmp_path / 'run', {1: None})


@pytest.mark.parametrize(
  ('change', 'told'),
  [
    ({'data': 'other'}, 'data da7a -> other'),
    ({'rate': 1e-3}, 'rate 0.003 -> 0.001'),
    ({'base': 'b'}, 'base absent -> b'),
  ],
)
def test_the_checkpoints_of_another_run_are_refused(folder, change, told):
  before = names(folder)
  with pytest.raises(ConfigError, match='another run') as caught:
    restored(folder, identity={**IDENTITY, **change})
  assert told in caught.value.got and 'config' not in caught.value.got
  assert names(folder) == before


def test_a_field_that_is_gone_is_a_difference_too(folder):
  with pytest.raises(ConfigError) as caught:
    restored(folder, identity={'config': 'c0ffee'})
  for told in 'data da7a -> absent', 'rate 0.003 -> absent', 'seed 0 -> absent':
    assert told in caught.value.got


def test_damage_is_not_touched_where_the_run_is_another(folder):
  save(folder, {2: None})
  (folder / '2/manifest.json').unlink()
  with pytest.raises(ConfigError):
    restored(folder, identity={})
  assert names(folder) == {'1', '2'}


def changed(**weights):
  out = state()
  for name, value in weights.items():
    if value is None:
      del out.tuned.weights[name]
    else:
      out.tuned.weights[name] = value
  return out


@pytest.mark.parametrize(
  ('like', 'told'),
  [
    (changed(zeros=jnp.zeros((4, 5))), ".tuned.weights['zeros']: expected float32[4, 5], got"),
    (changed(zeros=jnp.zeros(16)), 'got float32[4, 4]'),
    (changed(zeros=jnp.zeros((4, 4), jnp.bfloat16)), 'expected bfloat16[4, 4], got float32[4, 4]'),
    (changed(zeros=jnp.zeros((4, 4), jnp.int32)), 'expected int32[4, 4]'),
    (changed(new=jnp.zeros(3)), ".tuned.weights['new']: not in the checkpoint"),
    (changed(zeros=None), ".tuned.weights['zeros']: in the checkpoint only"),
    (
      changed(zeros=None, zeroes=jnp.zeros((4, 4))),
      "['zeroes']: not in the checkpoint, which has .tuned.weights['zeros']",
    ),
    (state().tuned, ".weights['a']: not in the checkpoint, which has .tuned.weights['a']"),
  ],
)
def test_other_arrays_are_refused_by_name(folder, like, told):
  for _ in range(2):
    with (
      opened(folder).claim() as checkpoints,
      pytest.raises(WeightsError, match='other arrays') as caught,
    ):
      checkpoints.restore(like)
    assert told in caught.value.got
    assert names(folder) == {'1'}


def test_every_array_matters(folder):
  leaves, structure = jax.tree.flatten(jax.eval_shape(state))
  for i, leaf in enumerate(leaves):
    other = jax.ShapeDtypeStruct((*leaf.shape, 1), leaf.dtype)
    with opened(folder).claim() as checkpoints, pytest.raises(WeightsError, match='1 that differ'):
      checkpoints.restore(structure.unflatten([*leaves[:i], other, *leaves[i + 1 :]]))


def test_many_differences_are_counted(tmp_path):
  wide = {f'w{i}': jnp.zeros(2) for i in range(30)}
  with opened(tmp_path).claim() as checkpoints:
    checkpoints.restore(wide)
    checkpoints.save(1, wide)
    checkpoints.wait()
    with pytest.raises(WeightsError) as caught:
      checkpoints.restore({name: jnp.zeros(3) for name in wide})
  assert '30 that differ' in caught.value.got and 'and 20 more' in caught.value.got
  assert len(str(caught.value).splitlines()) <= 17


def test_what_would_not_come_back_is_not_saved(tmp_path):
  with opened(tmp_path).claim() as checkpoints:
    checkpoints.restore(state())
    for leaf in np.zeros(3), 1, jax.random.key(0):
      with pytest.raises(TypeError, match=r"state\['x'\] is no plain JAX array"):
        checkpoints.save(1, {'x': leaf})
    for about in {'loss': float('nan')}, {'a': {1, 2}}, {'a': np.float32(1)}:
      with pytest.raises(ValueError, match='about cannot be kept as JSON'):
        checkpoints.save(1, state(), about)
    for step in -1, 10**15, True, 1.0:
      with pytest.raises(ValueError, match='cannot be saved after'):
        checkpoints.save(step, state())
    assert names(tmp_path) == {'.holder.json'}


def test_steps_rise(folder):
  said = []
  with opened(folder, say=said.append).claim() as checkpoints:
    checkpoints.restore(state())
    checkpoints.save(5, state(5))
    with pytest.raises(ValueError, match='Step 4 cannot be saved after step 5'):
      checkpoints.save(4, state(4))
    assert not said
    before = (folder / '5/manifest.json').read_bytes()
    checkpoints.save(5, state(6))
    checkpoints.wait()
  assert (folder / '5/manifest.json').read_bytes() == before
  assert len(said) == 1 and 'step 5 is there already' in said[0]


def test_a_step_that_was_damaged_meanwhile_is_written_again(folder):
  with opened(folder).claim() as checkpoints:
    checkpoints.restore(state())
    (folder / '1/arrays/_METADATA').write_text('')
    checkpoints.save(1, state(1))
  assert names(folder) == {'1', 'quarantine-1-other-size'}
  assert restored(folder).step == 1


def test_a_run_does_not_mix_with_steps_it_did_not_see(folder):
  for _ in range(2):
    with opened(folder).claim() as checkpoints, pytest.raises(StorageError, match='did not go on'):
      checkpoints.save(9, state(9))
  assert names(folder) == {'1'}


def test_a_folder_must_be_claimed(folder):
  checkpoints = opened(folder)
  for use in checkpoints.wait, lambda: checkpoints.save(2, state()), lambda: checkpoints.restore(1):
    with pytest.raises(RuntimeError, match='claim'):
      use()


def test_a_later_format_is_left_alone(folder, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(manifest, 'FORMAT', 2)
    save(folder.parent / 'later', {3: None})
  (folder.parent / 'later/3').rename(folder / '3')
  with pytest.raises(WeightsError, match='another version of this program') as caught:
    restored(folder)
  assert caught.value.where == str(folder / '3/manifest.json')
  assert names(folder) == {'1', '3'}


def test_other_library_versions_are_told(folder, monkeypatch):
  from compacter_jax.checkpoints import surroundings

  now = {**surroundings.versions(), 'jax': '99'}
  monkeypatch.setattr(surroundings, 'versions', lambda: now)
  said = []
  assert restored(folder, say=said.append).step == 1
  assert len(said) == 1 and f'jax {jax.__version__} -> 99' in said[0]


@pytest.mark.parametrize(('last', 'best'), [(0, 1), (1, -1)])
def test_at_least_one_step_is_kept(tmp_path, last, best):
  with pytest.raises(ConfigError, match='So few'):
    Checkpoints(tmp_path, {}, keep_last=last, keep_best=best)


def test_a_folder_that_cannot_be_is_told(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(StorageError, match='no such folder') as caught:
    restored(tmp_path / 'file/run')
  assert caught.value.exit_code == 6 and str(tmp_path / 'file/run') in caught.value.where
