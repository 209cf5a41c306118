"""Where rows come from: tensorflow-datasets, or files as GLUE and SuperGLUE are given out.

Rows are dicts with the column names of Hugging Face and TFDS, labels are integers (STS-B: a float).
Every file is read strictly: either all of its rows are right, or an error names those that are not.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

from compacter_jax.data import formats
from compacter_jax.data.layouts import FILE_NAMES, LAYOUTS
from compacter_jax.data.own_task import OwnFiles, OwnTask
from compacter_jax.data.prepared import Prepared
from compacter_jax.data.quickstart import Quickstart
from compacter_jax.data.registry import trained_on
from compacter_jax.data.sound_rows import SHOWN_ROWS, BadRows, sound_rows
from compacter_jax.data.tasks import Task
from compacter_jax.errors import ConfigError, DataError
from compacter_jax.settings import choose

KINDS = 'auto', 'files', 'tfds'
Official = Literal[
  'train',
  'validation',
  'validation_matched',
  'validation_mismatched',
  'test',
  'test_matched',
  'test_mismatched',
]


class Source(Protocol):
  """Rows of one task by official split."""

  def rows(self, split: Official) -> list[dict[str, Any]]:
    """All rows, in their own order; where the answers of 'test' are not public, with label -1.

    Raises DataError if there are none or any is unusable.
    """
    ...


def source_of(
  task: Task, folder: str | Path, bad: BadRows | None = None, kind: str = 'auto'
) -> Source:
  """Where the task's rows come from: what it brings itself, else what `kind` says.

  kind: 'files' are the official files in `folder`; 'tfds' is what tensorflow-datasets has prepared
  in `folder`, '' for its default; 'auto' is files where there is a `folder`, else tfds. `bad` says
  how many unusable rows a file may have, and learns how many it had; none by default.
  """
  choose('data.source', kind, KINDS)
  if isinstance(task, OwnTask):
    for name, given in ('dir', str(folder)), ('source', kind.replace('auto', '')):
      if given:
        raise ConfigError(
          'A task of your own says itself where its files are.', where=f'data.{name}', got=given
        )
    return OwnFiles(task, bad)
  if task.train_on:
    own, base = dataclasses.replace(task, train_on=''), trained_on(task)
    return Diagnostic(source_of(own, folder, bad, kind), source_of(base, folder, bad, kind))
  if task.name in GENERATED:
    return GENERATED[task.name]()
  if kind == 'tfds' or kind == 'auto' and not str(folder):
    return Prepared(folder, task, bad)
  if not str(folder):
    raise DataError(
      'It is not said where the files are.',
      where='data.dir',
      expected=f'a folder with the files of {task.name}',
      fix='--config.data.dir=DIR',
    )
  return LocalFiles(folder, task, bad)


GENERATED: dict[str, Callable[[], Source]] = {'quickstart': Quickstart}


class Diagnostic:
  """A set that only tests: its own rows, beside those of the task that is trained for it."""

  def __init__(self, own: Source, base: Source):
    self._own, self._base = own, base

  def rows(self, split: Official) -> list[dict[str, Any]]:
    """As the sources have them."""
    return (self._own if split == 'test' else self._base).rows(split)


class LocalFiles:
  """The files of one task under `folder`: the task's own folder or one that holds it.

  For SST-2, `folder` may be `x/glue/SST-2`, `x/glue` or `x`.
  """

  def __init__(self, folder: str | Path, task: Task, bad: BadRows | None = None):
    self.folder, self.task, self.layout = Path(folder).expanduser(), task, LAYOUTS[task.name]
    self.bad = bad

  def rows(self, split: Official) -> list[dict[str, Any]]:
    """All rows of the official split, in the order of the file; of 'test' mostly without answers.

    Raises DataError if the file is missing, is not UTF-8, has no rows, or has rows that are unfit;
    up to 20 of those are listed by line and column.
    """
    path = self.path(split)
    lines = self.layout.read(formats.text_of(path))
    return sound_rows(path, self.task, lines, self.bad, labelled=not split.startswith('test'))

  def path(self, split: Official) -> Path:
    """The file of the official split.  Raises DataError unless exactly one is there."""
    folder, files = self.layout.folder, self.layout.files
    names = [f'{name}{self.layout.suffix}' for name in files.get(split, ())]
    if not names:
      raise DataError(
        f'{self.task.name} has no official {split} split.', expected=f'one of {", ".join(files)}'
      )
    for place in ('.', folder, f'glue/{folder}', f'superglue/{folder}'):
      found = [
        self.folder / place / name for name in names if (self.folder / place / name).is_file()
      ]
      if len(found) > 1 and files is FILE_NAMES:
        raise DataError(
          f'There is more than one {split} file.',
          where=str(self.folder / place),
          expected=f'one of {", ".join(names)}',
          got=', '.join(path.name for path in found),
        )
      if found:
        return found[0]
    raise DataError(
      f'There is no {split} file of {self.task.name}.',
      where=str(self.folder),
      expected=f'{" or ".join(names)}, here or in {folder}/, glue/{folder}/ or superglue/{folder}/',
      got=_listing(self.folder),
      fix='set data.dir to the folder that holds the files or to its parent',
    )


def _listing(folder: Path) -> str:
  if not folder.is_dir():
    return 'a file' if folder.exists() else 'no such folder'
  names = sorted(entry.name + '/' * entry.is_dir() for entry in folder.iterdir())
  return ', '.join(names[:SHOWN_ROWS]) + ', ...' * (len(names) > SHOWN_ROWS) or 'an empty folder'
