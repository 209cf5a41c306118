"""Rows that tensorflow-datasets has prepared: the standard source of GLUE and SuperGLUE.

`preparing.py` makes them, once; here they are read, in the order of the official files, which the
shuffled records still know by their idx. Both work without TensorFlow.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compacter_jax.data.formats import Line
from compacter_jax.data.sound_rows import BadRows, sound_rows
from compacter_jax.data.tasks import Row, Task
from compacter_jax.errors import DataError

FORMAT = 'array_record'


@dataclasses.dataclass(frozen=True)
class Dataset:
  """One data set of tensorflow-datasets.

  Attributes:
    name, config, version: as tensorflow-datasets calls it; other versions may hold other rows.
    order: the parts of a record's idx that give its place in the official file, the outer first;
      () where idx is a number.
    counted: whether idx is the place itself, so that one that is missing is a row left out.
    keeps_idx: whether idx is a column of the official files too.
  """

  name: str
  config: str
  version: str
  order: tuple[str, ...] = ()
  counted: bool = False
  keeps_idx: bool = True

  def folder(self, root: str | Path) -> Path:
    """Where tensorflow-datasets keeps it under the folder of all its data, '' for its default."""
    return folder_of(root) / self.name / self.config / self.version


def _glue(config: str, counted: bool = True) -> Dataset:
  return Dataset('glue', config, '2.0.0', counted=counted, keeps_idx=False)


def _superglue(config: str, *order: str) -> Dataset:
  return Dataset('super_glue', config, '1.0.2', order)


# WSC is 'wsc' and not T5's 'wsc.fixed': that one changes how candidates are spelled, which
# `wording.py` does itself, and so has not the rows of the official files.
DATASETS: Mapping[str, Dataset] = {
  # MRPC's two labelled splits are numbered together.
  **{name: _glue(name, name != 'mrpc') for name in ('cola', 'sst2', 'mrpc', 'qqp', 'stsb')},
  **{name: _glue(name) for name in ('mnli', 'qnli', 'rte', 'wnli', 'ax')},
  **{name: _superglue(name) for name in ('boolq', 'cb', 'copa', 'wic', 'wsc', 'axb', 'axg')},
  'multirc': _superglue('multirc', 'paragraph', 'question', 'answer'),
  'record': _superglue('record', 'passage', 'query'),
  'superglue_rte': _superglue('rte'),
}


def folder_of(root: str | Path) -> Path:
  """The folder of all data of tensorflow-datasets: `root`, or its own default for ''."""
  return Path(root or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser()


class Prepared:
  """The rows of one task under `root`, the folder of all data of tensorflow-datasets.

  `bad` says how many rows of a split may be unusable, and learns how many were; none by default.
  """

  def __init__(self, root: str | Path, task: Task, bad: BadRows | None = None):
    self.root, self.task, self.bad = root, task, bad
    self.dataset = DATASETS[task.name]
    self.folder = self.dataset.folder(root)

  def splits(self) -> dict[str, int]:
    """The official splits and how many rows each has, unusable ones counted.

    Raises DataError if the data set has not been prepared, is of another format, or is damaged.
    """
    return {name: info.num_examples for name, info in self._builder().info.splits.items()}

  def rows(self, split: str) -> list[dict[str, Any]]:
    """All rows of the official split, in the order of the official file.

    Raises DataError as `splits` does, if there is no such split, and for unfit rows: up to 20 are
    listed. A row that tensorflow-datasets left out while preparing is an unfit one.
    """
    builder = self._builder()
    if split not in builder.info.splits:
      raise DataError(
        f'{self.task.name} has no official {split} split.',
        where=str(self.folder),
        expected=f'one of {", ".join(builder.info.splits)}',
      )
    with self._sound():
      source = builder.as_data_source(split)
      records = source.__getitems__(range(len(source))) if len(source) else []
      if len(records) != builder.info.splits[split].num_examples:
        raise ValueError(f'{len(records)} rows of {split}')
      lines = list(_lines(self.dataset, records))
    path, labelled = self.folder / split, not split.startswith('test')
    return sound_rows(path, self.task, lines, self.bad, labelled)

  def _builder(self) -> Any:
    if not self.folder.is_dir():
      raise self._absent()
    # Here, because it takes as long to import as all of this package.
    import tensorflow_datasets as tfds

    with self._sound():
      builder = tfds.builder_from_directory(self.folder)
      kind = builder.info.file_format
      if not builder.info.splits:
        raise ValueError('no splits')
    if kind is None or kind.value != FORMAT:
      raise DataError(
        'The data set has been prepared in a format that cannot be read row by row.',
        where=str(self.folder),
        expected=FORMAT,
        got=kind.value if kind else 'none',
        fix=f'{command(self.task.name, "DIR")}, and the same --config.data.dir',
      )
    return builder

  def _absent(self) -> DataError:
    above = self.folder.parent
    there = sorted(entry.name for entry in above.iterdir()) if above.is_dir() else []
    return DataError(
      f'{self.task.name} has not been prepared.',
      where=str(self.folder),
      expected=f'what tensorflow-datasets calls {self.dataset.name}/{self.dataset.config}',
      got=', '.join(name for name in there if not name.startswith('.')) or 'nothing',
      fix=f'{command(self.task.name, self.root)}\n'
      '    or, with the official files, --config.data.dir=DIR',
    )

  @contextlib.contextmanager
  def _sound(self) -> Iterator[None]:
    """Turns whatever reading raises into a DataError: damaged files make it almost anything."""
    try:
      yield
    except DataError:
      raise
    except Exception as error:
      raise DataError(
        f'The prepared rows of {self.task.name} are damaged.',
        where=str(self.folder),
        got=f'{type(error).__name__}: {str(error)[:500]}',
        fix=f'remove this folder, then {command(self.task.name, self.root)}',
      ) from error


def command(name: str, root: str | Path) -> str:
  """The command that prepares the task."""
  return f'python -m experiments.prepare --task={name}' + (f' --data_dir={root}' if root else '')


def _lines(dataset: Dataset, records: list[Row]) -> Iterator[Line]:
  """The records in the order of the official file, as rows of it."""
  place = lambda record: [record['idx'][part] for part in dataset.order] or [record['idx']]
  expected = 0
  for position, record in enumerate(sorted(records, key=place)):
    if dataset.counted:
      for missing in range(expected, record['idx']):
        yield Line(missing + 1, '', {}, 'left out by tensorflow-datasets as broken')
      position, expected = record['idx'], record['idx'] + 1
    yield _line(dataset, position + 1, record)


def _line(dataset: Dataset, number: int, record: Row) -> Line:
  try:
    row = _plain(record)
  except UnicodeDecodeError as error:
    return Line(number, repr(record), {}, f'not a text in UTF-8: {error.object!r:.80}')
  if not dataset.keeps_idx:
    del row['idx']
  if not row.get('answers', True):  # an official test file has no such column
    del row['answers']
  return Line(number, str(row), row)


def _plain(value: Any) -> Any:
  """Texts for bytes, lists for arrays, and Python's numbers."""
  if isinstance(value, bytes):
    return value.decode()
  if isinstance(value, Mapping):
    return {key: _plain(inner) for key, inner in value.items()}
  if isinstance(value, np.ndarray | np.generic):
    return _plain(value.tolist())
  if isinstance(value, list):
    return [_plain(inner) for inner in value]
  if isinstance(value, float):  # stored as float32, written in decimal: 3.8, not 3.7999999523
    return float(str(np.float32(value)))
  return value
