"""Readers of the two file formats, TSV and JSON lines: text in, one `Line` per row out.

A file's lines end at '\\n' only, for its texts may hold any other line separator of Unicode; one
'\\r' before it is dropped. In TSV a quotation mark is a character like any other. Nothing is
skipped: a line that cannot be read comes out as a `Line` that says why.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from compacter_jax.errors import DataError

EXCERPT = 80
# Python's own parsers would also take '1_0', 'nan', other scripts' digits and outer spaces.
# What people really have under the name of a text, by its first bytes, and how it becomes one.
_OTHERS = (
  (b'\x1f\x8b', 'it is compressed with gzip', 'unpack it: gunzip'),
  (b'PK\x03\x04', 'it is a zip archive', 'unpack it'),
  (b'PAR1', 'it is Parquet', 'give it a name that ends in .parquet'),
  (b'\xff\xfe', 'it is UTF-16', 'convert it: iconv -f UTF-16 -t UTF-8'),
  (b'\xfe\xff', 'it is UTF-16', 'convert it: iconv -f UTF-16 -t UTF-8'),
)
_NUMBER = re.compile(r'-?[0-9]+(\.[0-9]+)?')


class Line(NamedTuple):
  """A row, or what is wrong with it; `number` counts the lines of the file from 1."""

  number: int
  text: str
  row: dict[str, Any]
  problem: str = ''


class Malformed(ValueError):
  """What is wrong with a line; its reader turns it into `Line.problem`."""


def text_of(path: Path) -> str:
  """The file's text without a byte order mark.  Raises DataError if it is not UTF-8 or has NULs."""
  try:
    content = path.read_bytes()
  except OSError as error:
    raise DataError('The file cannot be read.', where=str(path), got=str(error)) from error
  return decoded(content, str(path))


def decoded(content: bytes, where: str) -> str:
  """As `text_of`, of what was read already; `where` names it in errors."""
  for first, problem, fix in _OTHERS:
    if content.startswith(first):
      what = 'The file is not a text in UTF-8.'
      raise DataError(what, where=f'{where}:1', got=problem, fix=fix)
  for problem, at in (('a NUL', content.find(b'\0')), ('bytes of another encoding', _bad(content))):
    if at >= 0:
      line = content.count(b'\n', 0, at) + 1
      raise DataError(
        'The file is not a text in UTF-8.',
        where=f'{where}:{line}',
        got=f'{problem} at byte {at} of the file: {content[at : at + 8]!r}',
      )
  return content.decode('utf-8-sig')


def tsv(
  text: str,
  columns: Mapping[str, str],
  label: str,
  read_label: Callable[[str], float],
  names: Sequence[str] = (),
) -> Iterator[Line]:
  """Rows of a table whose first line names its columns, unless `names` do.

  A row takes each of its `columns` from the named one, and 'label' from `label` by `read_label`; it
  has none where the table has no such column. Further columns are left aside.
  """
  lines, first = lines_of(text), 1
  if not names and lines:
    names, first = lines.pop(0).split('\t'), 2
    wanted = [*columns.values(), *[label] * (label in names)]
    if wrong := [name for name in wanted if names.count(name) != 1]:
      shown = f'{", ".join(wrong)}: expected once in the header'
      yield Line(1, '\t'.join(names), {}, shown)
      return
  for at, line in enumerate(lines, first):
    cells = line.split('\t')
    if problem := wrong_width(names, cells):
      yield Line(at, line, {}, problem)
      continue
    by_name = dict(zip(names, cells))
    row: dict[str, Any] = {column: by_name[name] for column, name in columns.items()}
    if label in by_name:
      try:
        row['label'] = read_label(by_name[label])
      except Malformed as error:
        yield Line(at, line, {}, f'{label}: {error}')
        continue
    yield Line(at, line, row)


def whole(text: str) -> int:
  """'1' -> 1.  Raises Malformed for any other spelling of a number, and for any other text."""
  if not _NUMBER.fullmatch(text) or '.' in text:
    raise Malformed(f'expected int, got {excerpt(text)!r}')
  return int(text)


def decimal(text: str) -> float:
  """'3.80' -> 3.8.  Raises Malformed as `whole` does."""
  if not _NUMBER.fullmatch(text):
    raise Malformed(f'expected float, got {excerpt(text)!r}')
  return float(text)


def one_of(*words: str) -> Callable[[str], int]:
  """A reader of labels that are words: their place among `words`, else Malformed."""

  def place(text: str) -> int:
    if text not in words:
      raise Malformed(f'expected one of {", ".join(words)}, got {excerpt(text)!r}')
    return words.index(text)

  return place


def jsonl(text: str, flatten: Callable[[dict], list[dict]]) -> Iterator[Line]:
  """Rows of a file with one JSON object per line, which `flatten` turns into rows."""
  for at, line in enumerate(lines_of(text), 1):
    try:
      record = parse_json(line)
      if not isinstance(record, dict):
        raise Malformed(f'column 1: expected a JSON object, got a {type(record).__name__}')
      for row in flatten(record):
        yield Line(at, line, row)
    except json.JSONDecodeError as error:
      yield Line(at, line, {}, f'column {error.colno}: {error.msg}')
    # Python's limits on nesting and on the digits of a number are limits of this format too.
    except (ValueError, RecursionError) as error:
      yield Line(at, line, {}, str(error))


def parse_json(text: str) -> Any:
  """The JSON value.  Raises ValueError, also for a key that occurs twice and for NaN.

  It raises RecursionError where brackets are nested too deep.
  """
  return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def lines_of(text: str) -> list[str]:
  """The lines, without what ends them."""
  lines = text.split('\n')
  if lines[-1] == '':  # the end of the last line, not one more line
    lines.pop()
  return [line.removesuffix('\r') for line in lines]


def wrong_width(names: Sequence[str], cells: Sequence[str]) -> str:
  """What is wrong with a row that has not one cell per column, '' if it has."""
  if len(cells) == len(names):
    return ''
  at = min(len(cells), len(names) - 1)
  place = 'after ' * (len(cells) > len(names)) + (excerpt(names[at]) or f'column {at + 1}')
  return f'{place}: expected {len(names)} columns, got {len(cells)}'


def cell(row: Mapping[str, Any], column: str) -> Any:
  """What the row has in the column.  Raises Malformed if that is nothing."""
  if (value := row.get(column)) is None:
    raise Malformed(f'{column}: {"null" if column in row else "missing"}')
  return value


def excerpt(text: str) -> str:
  """At most 80 characters, escaped so that nothing in them acts on a terminal."""
  shown = ascii(text[:EXCERPT])[1:-1]
  return shown if len(shown) <= EXCERPT and len(text) <= EXCERPT else shown[: EXCERPT - 3] + '...'


def _bad(content: bytes) -> int:
  try:
    content.decode('utf-8')
  except UnicodeDecodeError as error:
    return error.start
  return -1


def _unique(pairs: list[tuple[str, Any]]) -> dict:
  record = dict(pairs)
  if len(record) != len(pairs):
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise Malformed(f'{excerpt(twice)}: the key occurs twice')
  return record


def _no_constant(name: str) -> float:
  raise Malformed(f'{name} is not a JSON value')
