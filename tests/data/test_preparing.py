"""Preparing, once: whole or not at all, by one process of several, without TensorFlow."""

import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from compacter_jax import data
from compacter_jax.data import preparing
from compacter_jax.errors import ConfigError, DataError, StorageError
from experiments import prepare as command
from tests.data import official

ROOT = Path(__file__).parent.parent.parent
TASK = data.task_named('cola')

# A process that prepares CoLA from an archive, slowly, and says when it begins to write.
WORKER = """
import sys, time
from pathlib import Path
from compacter_jax import data
from tests.data import official

folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
builder = official.builder_of('cola')
builder.url_infos.update(official.known('cola', folder / 'archives', builder))
generate = builder._generate_examples

def slowly(*args, **kwargs):
  print('writes', flush=True)
  time.sleep(seconds)
  yield from generate(*args, **kwargs)

builder._generate_examples = slowly
prepared = data.prepare(data.task_named('cola'), folder / 'root', folder / 'archives')
print(len(prepared.rows('train')), 'rows', flush=True)
"""


@pytest.fixture
def archives(tmp_path, monkeypatch):
  """The folder of CoLA's archive, which TFDS takes for the published one."""
  builder = official.builder_of('cola')
  for url, info in official.pack('cola', tmp_path, tmp_path / 'archives', builder).items():
    monkeypatch.setitem(builder.url_infos, url, info)
  return tmp_path / 'archives'


def worker(folder, seconds):
  return subprocess.Popen(
    [sys.executable, '-c', WORKER, str(folder), str(seconds)],
    cwd=ROOT,
    env=os.environ | {'TQDM_DISABLE': '1', 'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def until(process, word):
  for line in process.stdout:
    if word in line:
      return
  raise AssertionError(f'the process ended without {word!r}')


def test_one_process_prepares_and_the_other_waits(archives, tmp_path):
  first = worker(tmp_path, 2)
  until(first, 'writes')
  second = worker(tmp_path, 2)
  told = second.communicate(timeout=120)[0]
  assert first.communicate(timeout=120)[0].count('writes') == 2  # the other two splits
  assert 'is being prepared by another process: waiting' in told
  assert 'writes' not in told and f'{official.N} rows' in told


def test_a_killed_process_leaves_nothing_that_is_read_and_another_goes_on(archives, tmp_path):
  first = worker(tmp_path, 60)
  until(first, 'writes')
  folder = data.Prepared(tmp_path / 'root', TASK).folder
  second = worker(tmp_path, 0)
  until(second, 'waiting')
  assert not folder.exists()
  with pytest.raises(DataError, match='has not been prepared'):
    data.Prepared(tmp_path / 'root', TASK).rows('train')
  os.kill(first.pid, signal.SIGKILL)
  first.communicate(timeout=120)
  told = second.communicate(timeout=120)[0]
  assert f'{official.N} rows' in told
  (left,) = folder.parent.glob('incomplete.*')
  assert f'safe to remove: {left}' in told


def test_what_is_there_is_kept(archives, tmp_path):
  prepared = data.prepare(TASK, tmp_path / 'root', archives)
  stamp = (prepared.folder / 'dataset_info.json').stat().st_mtime_ns
  (archives / 'CoLA.zip').unlink()
  (lock := prepared.folder.parent / '.2.0.0.lock').unlink()
  again = data.prepare(TASK, tmp_path / 'root')
  assert (again.folder / 'dataset_info.json').stat().st_mtime_ns == stamp
  assert not lock.exists()  # nothing is written, so that the folder may be read-only
  assert again.splits() == {split: official.N for split in ('train', 'validation', 'test')}


def test_the_command_prints_where_and_how_many(archives, tmp_path, capsys):
  command.main(['--task=cola', f'--data_dir={tmp_path / "root"}', f'--archives={archives}'])
  told = capsys.readouterr().out
  assert f'cola: {tmp_path / "root/glue/cola/2.0.0"}' in told
  assert [line.split() for line in told.splitlines()[-3:]] == [
    [split, str(official.N), 'rows'] for split in ('train', 'validation', 'test')
  ]


def test_the_command_prepares_what_trains_a_diagnostic_set(tmp_path, monkeypatch):
  asked = []
  prepared = data.Prepared(tmp_path, TASK)
  monkeypatch.setattr(data.Prepared, 'splits', lambda self: {})
  monkeypatch.setattr(data, 'prepare', lambda task, *_: asked.append(task.name) or prepared)
  command.main(['--task=axg'])
  assert asked == ['axg', 'superglue_rte']


class Silent(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *_):
    """Says nothing."""


@pytest.fixture
def published(archives, monkeypatch):
  """A server that gives the archive out, at the address that TFDS asks."""
  serve = functools.partial(Silent, directory=str(archives))
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), serve) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    builder = official.builder_of('cola')
    config = next(each for each in builder.BUILDER_CONFIGS if each.name == 'cola')
    url = f'http://127.0.0.1:{server.server_port}/CoLA.zip'
    monkeypatch.setitem(builder.url_infos, url, builder.url_infos[config.data_url])
    monkeypatch.setattr(config, 'data_url', url)
    yield archives / 'CoLA.zip'
    server.shutdown()
    thread.join()


def test_files_are_downloaded_where_there_are_none(published, tmp_path):
  prepared = data.prepare(TASK, tmp_path / 'root')
  assert len(prepared.rows('train')) == official.N
  assert 'tensorflow' not in sys.modules


def left(root):
  """What a failed preparation leaves beside its lock and the downloads."""
  names = {path.name for path in root.iterdir()} - {'downloads', 'glue'}
  return names | {path.name for path in (root / 'glue/cola').glob('[!.]*')}


def test_another_file_than_the_published_is_refused(published, tmp_path):
  with published.open('ab') as file:
    file.write(b'more')
  for given in '', published.parent:
    with pytest.raises(DataError, match='not the one that was published') as error:
      data.prepare(TASK, tmp_path / 'root', given)
    assert 'Expected' in error.value.got
  assert not left(tmp_path / 'root')


def test_a_failed_download_says_how_to_go_on(published, tmp_path):
  published.unlink()
  with pytest.raises(DataError, match='cannot be downloaded') as error:
    data.prepare(TASK, tmp_path / 'root')
  assert '404' in error.value.got and '--archives=DIR' in error.value.fix


def test_a_damaged_archive_leaves_nothing(tmp_path, monkeypatch):
  builder = official.builder_of('cola')
  cut = lambda files: {path: text for path, text in files.items() if 'test' not in path}
  for url, info in official.pack('cola', tmp_path, tmp_path / 'a', builder, cut).items():
    monkeypatch.setitem(builder.url_infos, url, info)
  with pytest.raises(DataError, match='glue/cola cannot be prepared') as error:
    data.prepare(TASK, tmp_path / 'root', tmp_path / 'a')
  assert 'test.tsv' in error.value.got
  assert not left(tmp_path / 'root')


def test_what_tfds_does_not_have_is_refused(tmp_path):
  with pytest.raises(ConfigError, match='no quickstart'):
    data.prepare(data.task_named('quickstart'), tmp_path)
  with pytest.raises(ConfigError, match='no such folder'):
    data.prepare(TASK, tmp_path, tmp_path / 'absent')


def test_a_folder_that_cannot_be_made_is_a_storage_error(archives, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(StorageError, match='cannot be written'):
    data.prepare(TASK, tmp_path / 'file' / 'root', archives)


def test_where_hosts_share_no_locks_the_later_takes_what_the_earlier_made(
  archives, tmp_path, monkeypatch
):
  made = data.prepare(TASK, tmp_path / 'made', archives).folder

  def too_late(*_):
    shutil.copytree(made, tmp_path / 'root/glue/cola/2.0.0')
    raise OSError('Directory not empty')

  monkeypatch.setattr(preparing, '_build', too_late)
  assert len(data.prepare(TASK, tmp_path / 'root', archives).rows('train')) == official.N
