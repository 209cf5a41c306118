"""A T5 is written into its folder as a whole, or the folder says that it holds none."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest

from compacter_jax import tensor_file
from compacter_jax.errors import StorageError, WeightsError
from compacter_jax.t5 import files
from compacter_jax.t5.saving import save
from tests.t5.test_files import UMT5, V1_0, arrays, assert_same

OTHER = {path: array + 1 for path, array in arrays(V1_0).items()}
CALLS = 'fsync', 'mkdir', 'open', 'replace', 'rmdir', 'unlink'


class Killed(BaseException):
  """Where a process would end."""


def kill(monkeypatch, last):
  """Lets no call of the file system through from the one of this number on."""
  calls = itertools.count(1)

  def dying(real):
    def call(*args, **kwargs):
      if next(calls) >= last:
        raise Killed
      return real(*args, **kwargs)

    return call

  for name in CALLS:
    # A kill takes nothing from the disk's cache, so nobody need wait for the disk.
    real = (lambda number: None) if name == 'fsync' else getattr(os, name)
    monkeypatch.setattr(os, name, dying(real))


def held(folder, models):
  """Which of these models the folder holds, all of it; None if it says that a save was cut off."""
  try:
    cfg, got = files.load(folder)
  except WeightsError as error:
    assert 'cut off' in error.what and str(folder) in error.where
    return None
  (name,) = (name for name, model in models.items() if model[0] == cfg and _equal(model[1], got))
  return name


def _equal(a, b):
  return all(np.array_equal(a[path], np.asarray(b[path])) for path in a)


@pytest.mark.parametrize('limits', [(2000, 2000), (10**9, 10**9), (2000, 10**9), (10**9, 2000)])
@pytest.mark.parametrize('cfg', [V1_0, UMT5], ids=['v1.0', 'umt5'])
def test_a_save_that_is_killed_never_mixes_two_models(tmp_path, cfg, limits):
  new = OTHER if cfg == V1_0 else arrays(cfg)
  models = {'old': (V1_0, arrays(V1_0)), 'new': (cfg, new)}
  save(tmp_path / 'old', *models['old'], limits[0])
  found, done = [], False
  for last in itertools.count(1):
    folder = shutil.copytree(tmp_path / 'old', tmp_path / str(last))
    with pytest.MonkeyPatch.context() as patch:
      kill(patch, last)
      try:
        save(folder, *models['new'], limits[1])
        done = True
      except Killed:
        pass
    found.append(held(folder, models))
    if done:
      break
    if last % 3 == 0:  # the next one works and leaves nothing behind
      save(folder, *models['new'], limits[1])
      assert held(folder, models) == 'new'
      assert not [name for name in os.listdir(folder) if name.startswith('.')]
  assert [name for name, _ in itertools.groupby(found)] == ['old', None, 'new']
  assert len(found) > 12


def test_a_disk_that_is_full_leaves_the_model_of_before(tmp_path, monkeypatch):
  save(tmp_path, V1_0, arrays(V1_0), 2000)
  before = sorted(os.listdir(tmp_path))
  real, calls = os.fsync, itertools.count(1)

  def full(number):
    if next(calls) == 3:
      raise OSError(28, 'No space left on device')
    real(number)

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(StorageError, match='No space left'):
    save(tmp_path, V1_0, OTHER, 2000)
  assert sorted(os.listdir(tmp_path)) == before
  assert_same(files.load(tmp_path)[1], arrays(V1_0))


def test_the_draft_is_no_link(tmp_path):
  (tmp_path / 'elsewhere').mkdir()
  (tmp_path / 'elsewhere' / 'kept').write_text('')
  (tmp_path / 'model').mkdir()
  (tmp_path / 'model' / files.DRAFT).symlink_to(tmp_path / 'elsewhere')
  with pytest.raises(StorageError, match='symbolic link'):
    save(tmp_path / 'model', V1_0, arrays(V1_0))
  assert os.listdir(tmp_path / 'elsewhere') == ['kept']


def test_the_index_says_where_each_tensor_is(tmp_path):
  save(tmp_path, V1_0, arrays(V1_0), 2000)
  index = json.loads((tmp_path / files.INDEX).read_text())
  assert index['metadata']['total_size'] == sum(a.nbytes for a in arrays(V1_0).values())
  for name, shard in index['weight_map'].items():
    assert name in tensor_file.header(tmp_path / shard)
  for shard in set(index['weight_map'].values()):
    entries = tensor_file.header(tmp_path / shard).values()
    assert len(entries) == 1 or sum(entry.stop - entry.start for entry in entries) <= 2000


def test_a_save_leaves_nothing_of_the_one_before(tmp_path):
  (tmp_path / 'notes.txt').write_text('kept')
  other = {path: array + 1 for path, array in arrays(V1_0).items()}
  for limit in 2000, 10**9, 2000, 3000:
    save(tmp_path, V1_0, arrays(V1_0), 10**9 - limit)
    save(tmp_path, V1_0, other, limit)
    assert_same(files.load(tmp_path)[1], other)
  shards = set(json.loads((tmp_path / files.INDEX).read_text())['weight_map'].values())
  assert set(os.listdir(tmp_path)) == {'notes.txt', 'config.json', files.INDEX} | shards


def test_a_folder_that_cannot_be_made(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(StorageError):
    save(tmp_path / 'file' / 'x', V1_0, arrays(V1_0))
