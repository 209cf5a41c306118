"""Lines that a disk does not take end a run with what is wrong with it; others are read again."""

import contextlib
import os

import pytest

from compacter_jax.errors import StorageError
from experiments.notes import LINES, Notes, read_notes


def full(folder):
  """Notes on a disk without room."""
  notes = Notes(folder)
  notes._file.close()
  notes._file = os.fdopen(os.open('/dev/full', os.O_WRONLY), 'w')
  return notes


def test_a_full_disk_is_told(tmp_path):
  with pytest.raises(StorageError, match='No space left') as error, full(tmp_path) as notes:
    notes.add(step=1)
  assert error.value.where == str(tmp_path / LINES)


def test_lines_that_cannot_be_made_safe_are_told(tmp_path):
  with pytest.raises(StorageError) as error, Notes(tmp_path) as notes:
    notes.add(step=1)
    notes._file.close()
    notes._file = os.fdopen(os.open('/dev/null', os.O_WRONLY), 'w')  # which knows no fsync
    notes.settle()
  assert error.value.where == str(tmp_path / LINES)


def test_closing_hides_no_error(tmp_path):
  with pytest.raises(KeyError), full(tmp_path) as notes:
    with contextlib.suppress(StorageError):
      notes.add(step=1)
    raise KeyError


def test_what_only_closing_tells_is_told(tmp_path):
  with pytest.raises(StorageError, match='No space left'), full(tmp_path) as notes:
    notes._file.write('a line that nothing flushed')


def test_lines_that_a_crash_cut_off_are_left_out(tmp_path):
  assert read_notes(tmp_path) == []
  (tmp_path / 'metrics.jsonl').write_text('{"step": 1}\n{"step": 2}\n{"st')
  assert read_notes(tmp_path) == [{'step': 1}, {'step': 2}]
  (tmp_path / 'metrics.jsonl').write_text('{"st\n{"step": 2}\n')
  with pytest.raises(StorageError, match='metrics.jsonl'):
    read_notes(tmp_path)
