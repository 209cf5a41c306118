"""What tensorflow-datasets prepares is what the official files hold, in their order."""

import os
import shutil
import sys

import pytest

from compacter_jax import data
from compacter_jax.data.prepared import DATASETS, Prepared, folder_of
from compacter_jax.data.sound_rows import BadRows
from compacter_jax.data.sources import GENERATED, LocalFiles, source_of
from compacter_jax.data.tasks import hidden
from compacter_jax.errors import ConfigError, DataError
from tests.data import official


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """name -> (folder of official files, root of prepared rows); each task prepared once."""
  place, done = tmp_path_factory.mktemp('official'), {}
  patch = pytest.MonkeyPatch()

  def get(name):
    if name not in done:
      files, root = place / name, place / 'root'
      builder = official.builder_of(name)
      for url, info in official.pack(name, files, files / 'archives', builder).items():
        patch.setitem(builder.url_infos, url, info)
      data.prepare(data.task_named(name), root, files / 'archives')
      done[name] = files, root
    return done[name]

  yield get
  patch.undo()


def published(row):
  """The row without what a record of the files has on top and TFDS leaves out."""
  return {key: value for key, value in row.items() if key not in ('version', 'logic', 'pair_id')}


@pytest.mark.parametrize('name', DATASETS)
def test_the_rows_are_those_of_the_official_files_in_their_order(name, made):
  files, root = made(name)
  task = data.task_named(name)
  prepared, local = Prepared(root, task), LocalFiles(files, task)
  sizes = prepared.splits()
  assert len(sizes) == (1 if task.train_on else 5 if name == 'mnli' else 3)
  for split, size in sizes.items():
    rows = prepared.rows(split)
    assert rows == [published(row) for row in local.rows(split)]
    assert len(rows) == size >= (official.N if name != 'mrpc' else official.N * 2 // 3)
    bare = split.startswith('test') and name not in ('axb', 'axg')
    assert all(hidden(row) == bare for row in rows)


def test_every_task_that_reads_files_is_there():
  assert set(DATASETS) == set(data.TASKS) - set(GENERATED)


def test_nothing_needs_tensorflow(made):
  made('copa')
  assert 'tensorflow' not in sys.modules


def test_records_lie_shuffled_so_that_their_order_must_be_restored(made):
  import tensorflow_datasets as tfds

  _, root = made('sst2')
  builder = tfds.builder_from_directory(DATASETS['sst2'].folder(root))
  stored = [record['idx'] for record in builder.as_data_source('train')]
  assert stored != sorted(stored) == list(range(official.N))


def test_both_sources_give_the_same_splits(made):
  files, root = made('cola')
  task = data.task_named('cola')
  sample = data.Sample(max_train=5)
  splits = [
    data.splits_of(source_of(task, folder, kind=kind), task, seed=7, sample=sample)
    for folder, kind in ((files, 'auto'), (files, 'files'), (root, 'tfds'))
  ]
  told = [{name: part.told() for name, part in each.parts().items()} for each in splits]
  assert told[0] == told[1] == told[2]


def test_a_diagnostic_set_reads_the_rows_that_train_it(made):
  made('superglue_rte')
  _, root = made('axb')
  task = data.task_named('axb')
  source = source_of(task, root, kind='tfds')
  assert 'premise' in source.rows('train')[0] and 'sentence1' in source.rows('test')[0]


def test_without_a_folder_rows_come_from_the_default_of_tfds(made, monkeypatch):
  _, root = made('cola')
  monkeypatch.setenv('TFDS_DATA_DIR', str(root))
  assert len(source_of(data.task_named('cola'), '').rows('train')) == official.N
  monkeypatch.delenv('TFDS_DATA_DIR')
  from tensorflow_datasets.core import constants

  assert str(folder_of('')) == str(constants.DATA_DIR)


def test_rows_that_tfds_left_out_count_as_unusable(tmp_path, monkeypatch):
  task, builder = data.task_named('qqp'), official.builder_of('qqp')
  infos = official.pack('qqp', tmp_path, tmp_path / 'archives', builder, official.broken(4, 5))
  for url, info in infos.items():
    monkeypatch.setitem(builder.url_infos, url, info)
  prepared = data.prepare(task, tmp_path / 'root', tmp_path / 'archives')
  with pytest.raises(DataError, match='2 rows of qqp') as error:
    prepared.rows('train')
  assert 'train:5: left out by tensorflow-datasets' in error.value.got
  bad = BadRows(2)
  rows = Prepared(tmp_path / 'root', task, bad).rows('train')
  assert rows == LocalFiles(tmp_path, task, BadRows(2)).rows('train')
  assert bad.left_out == {str(prepared.folder / 'train'): 2}


def test_what_is_not_prepared_tells_the_command(tmp_path):
  task = data.task_named('superglue_rte')
  (tmp_path / 'super_glue/rte/1.0.1').mkdir(parents=True)
  with pytest.raises(DataError) as error:
    source_of(task, tmp_path, kind='tfds').rows('train')
  assert error.value.where == str(tmp_path / 'super_glue/rte/1.0.2')
  assert error.value.got == '1.0.1'
  assert f'experiments.prepare --task=superglue_rte --data_dir={tmp_path}' in error.value.fix


def test_a_split_that_is_not_there_names_those_that_are(made):
  _, root = made('ax')
  with pytest.raises(DataError, match='no official train split') as error:
    Prepared(root, data.task_named('ax')).rows('train')
  assert error.value.expected == 'one of test'


def test_a_source_must_fit_the_task(tmp_path):
  with pytest.raises(ConfigError, match="did you mean 'tfds'"):
    source_of(data.task_named('sst2'), '', kind='tdfs')
  with pytest.raises(DataError, match='where the files are'):
    source_of(data.task_named('sst2'), '', kind='files')


@pytest.fixture
def copied(made, tmp_path):
  """The folder of a prepared SST-2, to be damaged, and what reads it."""
  _, root = made('sst2')
  shutil.copytree(root, tmp_path / 'root')
  prepared = Prepared(tmp_path / 'root', data.task_named('sst2'))
  return prepared.folder, lambda: prepared.rows('train')


def shard(folder):
  return next(folder.glob('glue-train.array_record*'))


def flip(path):
  content = bytearray(path.read_bytes())
  used = [at for at, byte in enumerate(content) if byte]  # zeros may be no more than padding
  content[used[len(used) // 2]] ^= 1
  path.write_bytes(content)


DAMAGE = {
  'no record file': lambda folder: shard(folder).unlink(),
  'an empty record file': lambda folder: shard(folder).write_bytes(b''),
  'a shorter record file': lambda folder: os.truncate(shard(folder), 200),
  'other bytes': lambda folder: shard(folder).write_bytes(bytes(shard(folder).stat().st_size)),
  'no description': lambda folder: (folder / 'dataset_info.json').unlink(),
  'half a description': lambda folder: os.truncate(folder / 'dataset_info.json', 300),
  'no features': lambda folder: (folder / 'features.json').unlink(),
  'a flipped bit': lambda folder: flip(shard(folder)),
}


@pytest.mark.parametrize('damage', DAMAGE.values(), ids=DAMAGE)
def test_damage_is_an_error_that_says_what_to_remove(copied, damage):
  folder, read = copied
  damage(folder)
  with pytest.raises(DataError) as error:
    read()
  assert error.value.where == str(folder)
  assert error.value.fix.startswith('remove this folder, then python -m experiments.prepare')


def test_another_format_is_told_apart(copied):
  folder, read = copied
  info = folder / 'dataset_info.json'
  info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
  with pytest.raises(DataError, match='row by row') as error:
    read()
  assert error.value.got == 'tfrecord'
