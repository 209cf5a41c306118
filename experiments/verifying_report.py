"""What was found out about a folder, part by part, for people and for programs."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compacter_jax.errors import CompacterError, StorageError, WeightsError


@dataclass(frozen=True)
class Part:
  """One thing that was looked at.

  Attributes:
    name: its path in the folder, or what it is.
    told: what was found; '' where there is an error.
    error: what is wrong with it.
  """

  name: str
  told: str = ''
  error: CompacterError | None = None


@dataclass
class Report:
  """What a folder is, and how each part of it was found."""

  folder: Path
  kind: str
  parts: list[Part] = field(default_factory=list)

  @property
  def code(self) -> int:
    """The exit code of the first error; 0 if there is none."""
    return next((part.error.exit_code for part in self.parts if part.error), 0)

  def right(self, name: str, told: str) -> None:
    """Notes a part with which nothing is wrong."""
    self.parts.append(Part(name, told))

  def wrong(self, name: str, error: CompacterError) -> None:
    """Notes a part with which something is wrong."""
    self.parts.append(Part(name, error=error))

  def check(self, name: str, look: Callable[[], str], *reads: str) -> bool:
    """Looks at a part and notes what comes of it; whether it is right.

    look: says what was found, or raises. reads: what it opens, from the folder, if not `name`. A
    link that leads out of the folder is not opened.
    """
    try:
      for each in reads or (name,):
        self._stays(self.folder / each)
      self.right(name, look())
    except CompacterError as error:
      self.wrong(name, error)
    except OSError as error:
      where = str(self.folder / name)
      self.wrong(name, StorageError('This cannot be read.', where=where, got=str(error)))
    return self.parts[-1].error is None

  def _stays(self, path: Path) -> None:
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(self.folder):
      raise WeightsError(
        'This is a link that leads out of the folder.',
        where=str(path),
        expected='the file itself',
        got=f'a link to {real}',
        fix='put a copy of the file in its place, or give the folder that it is in',
      )

  def text(self) -> str:
    """For people."""
    lines = [f'{self.folder}: {self.kind}']
    width = max(len(part.name) for part in self.parts)
    for part in self.parts:
      if part.error is None:
        lines.append(f'  ok     {part.name:{width}}  {part.told}')
      else:
        first, *more = str(part.error).splitlines()
        lines.append(f'  wrong  {part.name:{width}}  {first}')
        lines += [f'         {line}' for line in more]
    wrong = sum(part.error is not None for part in self.parts)
    lines.append(f'{wrong} of {len(self.parts)} parts wrong' if wrong else 'nothing is wrong')
    return '\n'.join(lines)

  def plain(self) -> dict[str, Any]:
    """For programs, as JSON has it."""
    return {
      'path': str(self.folder),
      'kind': self.kind,
      'code': self.code,
      'parts': [_plain(part) for part in self.parts],
    }


def _plain(part: Part) -> dict[str, Any]:
  if part.error is None:
    return {'name': part.name, 'ok': True, 'told': part.told}
  fields = 'what', 'where', 'expected', 'got', 'fix', 'exit_code'
  return {'name': part.name, 'ok': False} | {each: getattr(part.error, each) for each in fields}
