"""metrics.jsonl: one JSON object a line, noted as a run goes on, exact over interruptions."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compacter_jax import tensor_file
from compacter_jax.errors import StorageError

LINES = 'metrics.jsonl'


class Notes:
  """Appends lines to those that a checkpoint knows of; later ones come again and are dropped.

  Attributes:
    count: how many lines there are.
    writes: whether this process does.
  """

  def __init__(
    self,
    folder: Path,
    count: int = 0,
    sha256: str = '',
    say: Callable[[str], None] = lambda text: None,
    writes: bool = True,
  ):
    """count, sha256: of the lines that a checkpoint knows of.

    say: is told if they are others; the run goes on with those that are there.
    writes: whether this process does; others of the run only count.
    """
    self.count, self.writes, self._hash, self._file = count, writes, hashlib.sha256(), None
    if not writes:
      return
    self._path = path = folder / LINES
    before, wrong = kept(folder, count, sha256)
    if wrong:
      say(f'note: {path}: {wrong}')
    with tensor_file.atomic(path) as file:
      file.write(before)
    self.count, self._hash = before.count(b'\n'), hashlib.sha256(before)
    with tensor_file.writing(path):
      self._file = path.open('a')

  @property
  def sha256(self) -> str:
    """Of all lines."""
    return self._hash.hexdigest()

  def add(self, **values: Any) -> None:
    """One line.  Raises StorageError where the disk does not take it."""
    line = json.dumps(values) + '\n'
    if self._file:
      with tensor_file.writing(self._path):
        self._file.write(line)
        self._file.flush()
    self._hash.update(line.encode())
    self.count += 1

  def settle(self) -> None:
    """All lines are on the disk.  Raises StorageError if they are not."""
    if self._file:
      with tensor_file.writing(self._path):
        os.fsync(self._file.fileno())

  def __enter__(self) -> 'Notes':
    return self

  def __exit__(self, *error: object) -> None:
    if self._file:
      with closing(self._path, error[0]):
        self._file.close()


@contextlib.contextmanager
def closing(path: Path, error: object) -> Iterator[None]:
  """As `tensor_file.writing`, but does not hide an error that ends the run already."""
  try:
    with tensor_file.writing(path):
      yield
  except StorageError:
    if not error:
      raise


def read_notes(folder: Path) -> list[dict[str, Any]]:
  """What a run has noted so far; a last line that a crash cut off is left out.

  Raises StorageError for a line that no run has written.
  """
  path = folder / LINES
  lines = path.read_text().split('\n')[:-1] if path.exists() else []
  try:
    return [json.loads(line) for line in lines]
  except ValueError as error:
    raise StorageError('These notes are damaged.', where=str(path), got=str(error)) from error


def kept(folder: Path, count: int, sha256: str = '') -> tuple[bytes, str]:
  """The first so many lines of metrics.jsonl, and what is wrong with them, '' for nothing."""
  path = folder / LINES
  if not count:
    return b'', ''
  if not path.exists():
    return b'', f'the {count} lines that were noted are gone'
  with tensor_file.reading(path) as file:
    lines = file.read().splitlines(keepends=True)[:count]
  text = b''.join(lines)
  if len(lines) < count or not text.endswith(b'\n'):
    whole = text[: text.rfind(b'\n') + 1]
    there = whole.count(b'\n')
    return whole, f'{count} lines were noted, {there} are there'
  same = not sha256 or hashlib.sha256(text).hexdigest() == sha256
  return text, '' if same else f'the first {count} lines are not those that were noted'
