"""Tables of one's own: CSV, TSV, JSON lines and Parquet, told apart by the ending of the name.

Rows come out as `formats.Line`s with the wanted columns, cells as the file has them: texts in CSV
and TSV, whatever JSON and Parquet hold in those. Texts are read as in `formats.py`; CSV is quoted
as RFC 4180 says, so that a quoted cell may hold commas, quotation marks and newlines.
"""

import csv
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from compacter_jax import settings
from compacter_jax.data import formats
from compacter_jax.data.formats import Line
from compacter_jax.errors import ConfigError, DataError

SHOWN_FILES = 20
# Parquet packs a value that is repeated into nothing: a few KB may hold more than any memory.
LARGEST, RATIO = 256 * 2**20, 100  # bytes that are always taken; beyond, by those of the file
BATCH = 256  # rows that are unpacked at a time
CELL = 64  # bytes that a cell takes in Python beside its text


def read_table(path: Path, columns: Sequence[str]) -> Iterator[Line]:
  """The rows of the file, each with those of the `columns` that it has.

  `Line.number` is the line on which a row begins, in Parquet the number of the row from 1.

  Raises:
    ConfigError: a name with another ending, or Parquet without pyarrow.
    DataError: a file that cannot be read or is damaged, or has not all of the `columns`.
  """
  if (read := READERS.get(path.suffix.lower())) is None:
    raise ConfigError(
      'The format of the file is not known.',
      where=str(path),
      expected=f'a name that ends in {", ".join(READERS)}',
      got=path.suffix or 'no ending',
    )
  if not path.is_file():
    there = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    raise DataError(
      'There is no such file.',
      where=str(path),
      got='a folder' if path.is_dir() else ', '.join(there[:SHOWN_FILES]) or 'nothing beside it',
      fix=settings.unknown('', path.name, there).fix,
    )
  return read(path, columns)


def _jsonl(path: Path, columns: Sequence[str]) -> Iterator[Line]:
  wanted = lambda record: [{name: record[name] for name in columns if name in record}]
  return formats.jsonl(formats.text_of(path), wanted)


def _tsv(path: Path, columns: Sequence[str]) -> Iterator[Line]:
  lines = formats.lines_of(formats.text_of(path))
  return _table(path, columns, '\t', ((i, line.split('\t')) for i, line in enumerate(lines, 1)))


def _csv(path: Path, columns: Sequence[str]) -> Iterator[Line]:
  text = formats.text_of(path)
  reader, records, number = csv.reader(io.StringIO(text, newline='\n'), strict=True), [], 1
  limit = csv.field_size_limit(sys.maxsize)  # of the process, and 128 KiB: texts may be longer
  try:
    for cells in reader:
      records.append((number, cells or ['']))  # the reader takes a blank line for no cell at all
      number = reader.line_num + 1
  except csv.Error as error:
    # Where quoting is broken nobody knows where the next row begins, so none can be left out.
    problem = str(error).partition(' - ')[0]
    raise DataError(
      'The file is not a CSV table.',
      where=f'{path}:{number}',
      expected='cells quoted as RFC 4180 says: in "..." if they hold , or " or a newline, " as ""',
      got=f'line {reader.line_num}: {problem}',
    ) from error
  finally:
    csv.field_size_limit(limit)
  return _table(path, columns, ',', iter(records))


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Line]:
  if not importlib.util.find_spec('pyarrow'):
    raise ConfigError(
      'Parquet files need the library pyarrow.',
      where=str(path),
      got='it is not installed',
      fix="pip install 'compacter_jax[parquet]'",
    )
  from pyarrow.parquet import ParquetFile

  try:
    with ParquetFile(path, page_checksum_verification=True) as file:
      names = file.schema_arrow.names
      _check_header(path, names, columns)
      cells: list[list[Any]] = [[] for _ in columns]
      size, most = 0, max(LARGEST, RATIO * path.stat().st_size)
      for batch in file.iter_batches(BATCH, columns=list(columns)):
        size += batch.nbytes + CELL * batch.num_rows * len(columns)
        if size > most:
          raise _bomb(path, most)
        for column, name in zip(cells, columns):
          column.extend(batch.column(name).to_pylist())
  except DataError:
    raise
  except Exception as error:  # a damaged file makes pyarrow raise almost anything
    raise DataError(
      'The file is not a Parquet table, or it is damaged.',
      where=str(path),
      got=formats.excerpt(f'{type(error).__name__}: {error}'),
    ) from error
  rows = (dict(zip(columns, row)) for row in zip(*cells))
  return (Line(number, str(row), row) for number, row in enumerate(rows, 1))


def _bomb(path: Path, most: int) -> DataError:
  return DataError(
    'The table is far larger than its file, as only a harmful one would be.',
    where=str(path),
    expected=f'at most {most:,} bytes, from {path.stat().st_size:,}',
    got='more',
    fix='if it is yours, write it as JSON lines',
  )


READERS: dict[str, Callable[[Path, Sequence[str]], Iterator[Line]]] = {
  '.jsonl': _jsonl,
  '.tsv': _tsv,
  '.csv': _csv,
  '.parquet': _parquet,
}


def _table(
  path: Path, columns: Sequence[str], separator: str, records: Iterator[tuple[int, list[str]]]
) -> Iterator[Line]:
  """Rows of a table whose first record names its columns."""
  _, names = next(records, (1, []))
  if not names:
    raise DataError('The file is empty.', where=str(path), expected='a header and rows', got='0')
  _check_header(path, names, columns)

  def rows():
    for number, cells in records:
      text = separator.join(cells)
      if problem := formats.wrong_width(names, cells):
        yield Line(number, text, {}, problem)
      else:
        by_name: dict[str, Any] = dict(zip(names, cells))
        yield Line(number, text, {name: by_name[name] for name in columns})

  return rows()


def _check_header(path: Path, names: Sequence[str], columns: Sequence[str]) -> None:
  shown = ', '.join(formats.excerpt(name) for name in names)
  if twice := [name for name in names if names.count(name) > 1]:
    raise DataError(
      f'The column {formats.excerpt(twice[0])!r} occurs twice.', where=f'{path}:1', got=shown
    )
  for column in columns:
    if column not in names:
      raise DataError(
        f'The column {column!r} is missing.',
        where=f'{path}:1',
        expected=f'{", ".join(columns)} in the header',
        got=shown,
        fix=settings.unknown('', column, names).fix,
      )
