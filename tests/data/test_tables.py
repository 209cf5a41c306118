import csv
import importlib.util
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from compacter_jax.data import tables
from compacter_jax.data.tables import READERS, read_table
from compacter_jax.errors import ConfigError, DataError

COLUMNS = ['text', 'label']
LIMIT = csv.field_size_limit()  # of the process
TEXTS = ['one', 'a, "b"', 'two words', 'é 猫 \u2028 \x85', "it's"]
ROWS = [{'text': text, 'label': str(i)} for i, text in enumerate(TEXTS)]


def write(path, content):
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


def table(folder, suffix, rows=ROWS):
  """The rows as a file of each format, with one column more than is asked for."""
  path, rows = folder / f'rows{suffix}', [{'more': 'x', **row} for row in rows]
  if suffix == '.jsonl':
    write(path, ''.join(json.dumps(row) + '\n' for row in rows))
  elif suffix == '.tsv':
    write(
      path, '\n'.join('\t'.join(cells) for cells in [rows[0].keys(), *(r.values() for r in rows)])
    )
  elif suffix == '.csv':
    with path.open('w', newline='') as file:
      writer = csv.DictWriter(file, rows[0])
      writer.writeheader()
      writer.writerows(rows)
  else:
    parquet.write_table(pa.Table.from_pylist(rows), path)
  return path


def rows_of(path, columns=COLUMNS):
  return [line.row for line in read_table(path, columns) if not line.problem]


def problems(path, columns=COLUMNS):
  return [(line.number, line.problem) for line in read_table(path, columns) if line.problem]


@pytest.mark.parametrize('suffix', READERS)
def test_every_format_holds_the_same_rows(suffix, tmp_path):
  assert rows_of(table(tmp_path, suffix)) == ROWS
  assert rows_of(table(tmp_path, suffix), ['label']) == [{'label': row['label']} for row in ROWS]


@pytest.mark.parametrize('suffix', ['.tsv', '.csv', '.parquet'])
def test_a_missing_column_is_guessed(suffix, tmp_path):
  with pytest.raises(DataError, match="'txt' is missing") as error:
    read_table(table(tmp_path, suffix), ['txt', 'label'])
  assert error.value.got == 'more, text, label' and error.value.fix == "did you mean 'text'?"


def test_json_lines_say_their_columns_row_by_row(tmp_path):
  path = write(tmp_path / 'a.jsonl', '{"text": "a", "more": [1]}\n{"label": null}\n')
  assert rows_of(path) == [{'text': 'a'}, {'label': None}]


@pytest.mark.parametrize(
  ('text', 'rows'),
  [
    ('text,label\n"a\nb",1\n', [('a\nb', '1')]),
    ('text,label\r\n"a ""b""",1\r\n,""\r\n', [('a "b"', '1'), ('', '')]),
    ('\ufefftext,label\n a , 1', [(' a ', ' 1')]),
    ('text,label\na "b" c,1\n', [('a "b" c', '1')]),  # marks within a bare cell are characters
    ('text,label\n"a\u2028b\x0bc\rd",1\n', [('a\u2028b\x0bc\rd', '1')]),
    (f'text,label\n{"x" * 10**7},1\n', [('x' * 10**7, '1')]),
  ],
)
def test_csv_is_quoted_as_rfc_4180_says(text, rows, tmp_path):
  assert [tuple(row.values()) for row in rows_of(write(tmp_path / 'a.csv', text))] == rows
  assert csv.field_size_limit() == LIMIT


@pytest.mark.parametrize(
  ('text', 'line'),
  [
    ('text,label\nfine,1\n"open,1\nmore,1\n', 3),
    ('text,label\nfine,1\n"a"b,1\n', 3),
    ('text,label\n"a\nb",1\nbare\rreturn,1\n', 4),
  ],
)
def test_broken_quotes_end_the_reading(text, line, tmp_path):
  path = write(tmp_path / 'a.csv', text)
  with pytest.raises(DataError, match='not a CSV table') as error:
    read_table(path, COLUMNS)
  assert error.value.where == f'{path}:{line}'
  assert csv.field_size_limit() == LIMIT


@pytest.mark.parametrize(('suffix', 'by'), [('.csv', ','), ('.tsv', '\t')])
def test_a_row_of_the_wrong_width_is_named(suffix, by, tmp_path):
  path = write(tmp_path / f'a{suffix}', f'text{by}label\na{by}1\nb\n\nc{by}1{by}\nd{by}0\n')
  narrow = 'label: expected 2 columns, got 1'
  assert problems(path) == [(3, narrow), (4, narrow), (5, 'after label: expected 2 columns, got 3')]
  assert len(rows_of(path)) == 2


def test_a_column_without_a_name_is_told_by_its_number(tmp_path):
  path = write(tmp_path / 'a.csv', 'text,label,\na,1\nb,1,,\nc,1,\n')
  wrong = 'column 3: expected 3 columns, got'
  assert problems(path) == [(2, f'{wrong} 2'), (3, f'after {wrong} 4')]
  assert rows_of(path) == [{'text': 'c', 'label': '1'}]


def test_csv_rows_are_numbered_by_the_line_they_begin_on(tmp_path):
  path = write(tmp_path / 'a.csv', 'text,label\n"a\n\nb",1\nonly\n"c\nd"\n')
  assert [number for number, _ in problems(path)] == [5, 6]


@pytest.mark.parametrize('suffix', ['.tsv', '.csv'])
@pytest.mark.parametrize(
  ('header', 'message'), [('', 'empty'), ('text,text,label\n', "'text' occurs twice")]
)
def test_headers_that_cannot_be_are_refused(suffix, header, message, tmp_path):
  by = '\t' if suffix == '.tsv' else ','
  with pytest.raises(DataError, match=message):
    read_table(write(tmp_path / f'a{suffix}', header.replace(',', by)), COLUMNS)


@pytest.mark.parametrize('keep', [0, 1, 60, -9, -1])
def test_a_damaged_parquet_file_is_refused(keep, tmp_path):
  path = table(tmp_path, '.parquet')
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(DataError, match='damaged') as error:
    read_table(path, COLUMNS)
  assert error.value.where == str(path)


def test_parquet_keeps_types_and_nulls(tmp_path):
  rows = [{'text': None, 'label': 3}, {'text': ['a', 'b'], 'label': None}]
  parquet.write_table(pa.Table.from_pylist(rows[1:] + rows[1:]), tmp_path / 'a.parquet')
  assert rows_of(tmp_path / 'a.parquet') == [rows[1]] * 2
  parquet.write_table(pa.Table.from_pylist(rows[:1]), tmp_path / 'a.parquet')
  (line,) = read_table(tmp_path / 'a.parquet', COLUMNS)
  assert (line.number, line.row) == (1, rows[0])


@pytest.mark.parametrize('kind', ['texts', 'rows'])
def test_a_parquet_file_of_few_bytes_does_not_fill_the_memory(kind, tmp_path, monkeypatch):
  if kind == 'texts':  # 10 GB
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), ['x' * 10**6])
  else:
    monkeypatch.setattr(tables, 'LARGEST', 2**20)
    text = pa.nulls(100_000, pa.string())
  whole = pa.table({'text': text, 'label': pa.nulls(len(text))})
  parquet.write_table(whole, tmp_path / 'a.parquet', store_schema=False)
  assert (tmp_path / 'a.parquet').stat().st_size < 200_000
  with pytest.raises(DataError, match='far larger than its file') as caught:
    read_table(tmp_path / 'a.parquet', COLUMNS)
  assert (caught.value.exit_code, caught.value.where) == (3, str(tmp_path / 'a.parquet'))
  assert pa.default_memory_pool().max_memory() < 2**30


def test_a_parquet_file_of_many_batches_is_read_whole(tmp_path):
  rows = [{'text': f'text {i}', 'label': i} for i in range(3 * tables.BATCH + 7)]
  parquet.write_table(pa.Table.from_pylist(rows), tmp_path / 'a.parquet', row_group_size=100)
  assert rows_of(tmp_path / 'a.parquet') == rows


def test_parquet_without_its_library_names_the_command(tmp_path, monkeypatch):
  path = table(tmp_path, '.parquet')
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ConfigError, match='pyarrow') as error:
    read_table(path, COLUMNS)
  assert error.value.fix == "pip install 'compacter_jax[parquet]'"


@pytest.mark.parametrize('name', ['rows.json', 'rows', 'rows.csv.gz', 'rows.xlsx'])
def test_other_formats_are_refused(name, tmp_path):
  with pytest.raises(ConfigError, match='format') as error:
    read_table(tmp_path / name, COLUMNS)
  assert '.jsonl, .tsv, .csv, .parquet' in error.value.expected


@pytest.mark.parametrize('suffix', READERS)
def test_an_absent_file_is_guessed(suffix, tmp_path):
  table(tmp_path, suffix)
  with pytest.raises(DataError, match='no such file') as error:
    read_table(tmp_path / f'row{suffix}', COLUMNS)
  assert error.value.got == f'rows{suffix}' and error.value.fix == f"did you mean 'rows{suffix}'?"
  with pytest.raises(DataError, match='no such file') as error:
    read_table(tmp_path / 'absent' / f'row{suffix}', COLUMNS)
  assert error.value.got == 'nothing beside it'
