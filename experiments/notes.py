"""metrics.jsonl: one JSON object a line, noted as a run goes on, exact over interruptions."""

import json
import os
from pathlib import Path
from typing import Any

from compacter_jax import tensor_file

LINES = 'metrics.jsonl'


class Notes:
  """Appends lines to those that a checkpoint knows of; later ones come again and are dropped.

  Attributes:
    count: how many lines there are.
  """

  def __init__(self, folder: Path, count: int = 0, writes: bool = True):
    """writes: whether this process does; others of the run only count."""
    self.count, self._file = count, None
    if not writes:
      return
    path = folder / LINES
    before = path.read_bytes().split(b'\n')[:count] if count else []
    with tensor_file.atomic(path) as file:
      file.write(b''.join(line + b'\n' for line in before))
    self.count = len(before)
    self._file = path.open('a')

  def add(self, **values: Any) -> None:
    """One line."""
    if self._file:
      self._file.write(json.dumps(values) + '\n')
      self._file.flush()
    self.count += 1

  def settle(self) -> None:
    """All lines are on the disk."""
    if self._file:
      os.fsync(self._file.fileno())

  def __enter__(self) -> 'Notes':
    return self

  def __exit__(self, *_: object) -> None:
    if self._file:
      self._file.close()
