"""One process at a time in a folder; every other is told who has it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from compacter_jax.checkpoints import checkpoints as module
from compacter_jax.checkpoints import lock, store
from compacter_jax.errors import InUseError, StorageError
from tests.checkpoints.states import names, opened, restored, save, state

ROOT = Path(__file__).parents[2]

HOLDS = """
import pathlib, sys
from compacter_jax.checkpoints import lock
from compacter_jax.errors import InUseError
print('ready', flush=True)
sys.stdin.readline()
try:
  with lock.held(pathlib.Path(sys.argv[1]), 'theirs', print):
    print('held', flush=True)
    sys.stdin.readline()
except InUseError as error:
  print(f'{error.exit_code} {error.got}', flush=True)
"""


def holding(folder):
  """A process that claims the folder at the first line it is given, and leaves it at the next."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLDS, str(folder)],
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'ready\n'
  return process


def go(process):
  process.stdin.write('\n')
  process.stdin.flush()


@pytest.fixture
def holder(tmp_path):
  """A process that has the folder, with a step in it, until it is killed."""
  save(tmp_path, {1: None})
  process = holding(tmp_path)
  go(process)
  assert process.stdout.readline() == 'held\n'
  yield process
  process.kill()
  process.communicate()


def test_a_second_process_is_told_who_has_it(tmp_path, holder):
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
  started = time.monotonic()
  with pytest.raises(InUseError, match='Another process is at work') as caught:
    restored(tmp_path)
  assert time.monotonic() - started < 3
  assert caught.value.exit_code == 7 and isinstance(caught.value, StorageError)
  pattern = rf'process {holder.pid} on {re.escape(socket.gethostname())} run theirs since 20..-'
  assert re.match(pattern, caught.value.got)
  assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


def test_the_folder_of_a_process_that_was_killed_is_taken_over(tmp_path, holder):
  holder.send_signal(signal.SIGKILL)
  holder.wait()
  said = []
  assert restored(tmp_path, say=said.append).step == 1
  assert len(said) == 1 and f'process {holder.pid}' in said[0] and 'taking over' in said[0]
  restored(tmp_path, say=said.append)
  assert len(said) == 1 and names(tmp_path) == {'1'}


def test_of_two_that_start_at_once_one_wins(tmp_path):
  for number in range(3):
    pair = [holding(tmp_path / f'new/{number}') for _ in range(2)]
    for process in pair:
      go(process)
    told = [process.stdout.readline() for process in pair]
    winner = told.index('held\n')
    assert told[1 - winner].startswith(f'7 process {pair[winner].pid} on '), told
    for process in pair:
      process.communicate('\n')
    assert [process.returncode for process in pair] == [0, 0]
    assert names(tmp_path / f'new/{number}') == set()


def test_the_same_program_cannot_have_it_twice(tmp_path):
  with opened(tmp_path).claim(), pytest.raises(InUseError) as caught, opened(tmp_path).claim():
    pass
  assert f'process {os.getpid()}' in caught.value.got
  assert restored(tmp_path) is None


def test_a_note_from_another_host_takes_force(tmp_path):
  note = {'host': 'elsewhere', 'pid': os.getpid(), 'run': 'r', 'since': 's'}
  (tmp_path / '.holder.json').write_text(json.dumps(note))
  for _ in range(2):
    with pytest.raises(InUseError, match='force=True') as caught:
      restored(tmp_path)
    assert 'elsewhere' in caught.value.got
  said = []
  with opened(tmp_path, say=said.append).claim(force=True):
    assert json.loads((tmp_path / '.holder.json').read_text())['pid'] == os.getpid()
  assert len(said) == 1 and names(tmp_path) == set()


def test_force_takes_nothing_from_a_process_that_runs(tmp_path, holder):
  with pytest.raises(InUseError), opened(tmp_path).claim(force=True):
    pass


def test_a_note_that_cannot_be_read_stops_no_run(tmp_path):
  (tmp_path / '.holder.json').write_text('{')
  said = []
  assert restored(tmp_path, say=said.append) is None
  assert len(said) == 1 and 'unknown' in said[0]


def test_leftovers_are_not_touched_without_the_lock(tmp_path, holder):
  (tmp_path / '.writing-2-0123abcd').mkdir()
  with pytest.raises(InUseError):
    restored(tmp_path)
  assert '.writing-2-0123abcd' in names(tmp_path)


def test_the_lock_outlasts_a_step_that_takes_too_long(tmp_path, monkeypatch):
  """A program that fails waits a while for the step it writes, then goes on without it."""
  go = threading.Event()
  monkeypatch.setattr(module, 'LINGER', 0.2)
  publish = store.Store.publish

  def slowly(*args):
    go.wait()
    publish(*args)

  monkeypatch.setattr(store.Store, 'publish', slowly)
  checkpoints = opened(tmp_path)
  with pytest.raises(KeyError) as caught, checkpoints.claim():
    checkpoints.restore(state())
    checkpoints.save(1, state(1))
    raise KeyError('the program fails')
  assert 'not written within 0.2 s' in caught.value.__notes__[0]
  with pytest.raises(InUseError):
    restored(tmp_path)
  go.set()
  checkpoints._background.wait()
  checkpoints._outlasting.close()
  assert restored(tmp_path).step == 1


def test_a_program_that_fails_still_has_its_last_step(tmp_path):
  checkpoints = opened(tmp_path)
  with pytest.raises(KeyError), checkpoints.claim():
    checkpoints.restore(state())
    checkpoints.save(1, state(1))
    raise KeyError('the program fails')
  assert restored(tmp_path).step == 1
  assert lock._note(tmp_path) is None
