"""Lines that a disk does not take end a run with what is wrong with it."""

import contextlib
import os

import pytest

from compacter_jax.errors import StorageError
from experiments.notes import LINES, Notes


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
