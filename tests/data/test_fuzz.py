"""Damaged files: the rows that they still hold, or an error that says where, and nothing else.

Slow readers, written letter by letter and apart from the package, say what each file holds.
"""

import json
import random
import re

import pytest

from compacter_jax import data
from compacter_jax.errors import DataError

MUTATIONS = 4_000  # of each reader: 20,000 in all
TOKENS = [
  *(b'\t', b',', b'"', b'""', b'\n', b'\r', b'\r\n', b'\n\n', b' ', b'\\', b'\\u', b'\\n', b':'),
  *(b'\0', b'\xff', b'\xc3', b'\xef\xbb\xbf', '\u2028\x85'.encode(), b'\\ud800', b'\\u0000'),
  *(b'{', b'}', b'[', b']', b'0', b'1', b'2', b'-1', b'null', b'true', b'NaN', b'1e9', b'[{}]'),
  *(b'more', b'"more"', b'"more": "y", ', b'label', b'"label": 0, '),
]
COLUMNS = 'text', 'more', 'stars'
ROWS = [
  {'text': 'a fine film', 'id': '1', 'more': 'x', 'stars': '1'},
  {'text': 'a "bad", old\u2028 one', 'id': '2', 'more': '-', 'stars': '2'},
  {'text': 'na\u00efve', 'id': '3', 'more': "it's so", 'stars': '1'},
]
OWN = {
  'name': 'mine',
  'kind': 'classification',
  'template': '{text} {more}',
  'label': 'stars',
  'answers': {'1': 'bad', '2': 'good'},
}
COPA = {'premise': 'p', 'choice1': 'a "b"', 'choice2': 'c', 'question': 'cause', 'label': 1}


class Unreadable(Exception):
  """A file of which no row can be told."""


def lines_of(text):
  line = ''
  for letter in text:
    if letter == '\n':
      yield line.removesuffix('\r')
      line = ''
    else:
      line += letter
  if line:
    yield line.removesuffix('\r')


def tsv(text):
  for number, line in enumerate(lines_of(text), 1):
    cells = ['']
    for letter in line:
      if letter == '\t':
        cells.append('')
      else:
        cells[-1] += letter
    yield number, cells


def csv(text):
  at, number = 0, 1
  while at < len(text):
    start, cells = number, ['']
    while True:
      if text[at : at + 1] == '"' and not cells[-1]:
        at += 1
        while text[at : at + 2] == '""' or text[at : at + 1] not in ('"', ''):
          cells[-1] += text[at]
          number += text[at] == '\n'
          at += 2 if text[at] == '"' else 1
        if text[at : at + 1] == '':
          raise Unreadable
        at += 1
        if text[at : at + 1] not in (',', '\r', '\n', ''):
          raise Unreadable
      else:
        while text[at : at + 1] not in (',', '\r', '\n', ''):
          cells[-1] += text[at]
          at += 1
      if text[at : at + 1] != ',':
        break
      cells.append('')
      at += 1
    while text[at : at + 1] == '\r':
      at += 1
    if text[at : at + 1] not in ('\n', ''):
      raise Unreadable
    at, number = at + 1, number + 1
    yield start, cells


def table(records, header=None):
  """(line, row or None) of a table."""
  _, names = next(records, (1, ()))
  if (header and tuple(names) != header) or len(set(names)) < len(names):
    raise Unreadable
  if not header and not set(COLUMNS) <= set(names):
    raise Unreadable
  for number, cells in records:
    yield number, dict(zip(names, cells)) if len(cells) == len(names) else None


STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
NUMBER = re.compile(r'-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?')
SPACE = re.compile(r'[ \t\n\r]*')
WORDS = {'null': None, 'true': True, 'false': False}


def value_at(text, at):
  """The JSON value that begins there and where it ends; ValueError for none."""
  at = SPACE.match(text, at).end()
  if match := STRING.match(text, at):
    escape = lambda m: {'u': lambda: chr(int(m[0][2:], 16))}.get(
      m[0][1], lambda: dict(zip('bfnrt', '\b\f\n\r\t')).get(m[0][1], m[0][1])
    )()
    plain = re.sub(r'\\(?:u[0-9a-fA-F]{4}|.)', escape, match[1])
    return plain.encode('utf-16', 'surrogatepass').decode('utf-16', 'surrogatepass'), match.end()
  if match := NUMBER.match(text, at):
    return (float if match[1] or match[2] else int)(match[0]), match.end()
  for word, value in WORDS.items():
    if text.startswith(word, at):
      return value, at + len(word)
  close = {'{': '}', '[': ']'}.get(text[at : at + 1])
  if not close:
    raise ValueError
  items, keys, at = [], [], SPACE.match(text, at + 1).end()
  while text[at : at + 1] != close:
    if items:
      if text[at : at + 1] != ',':
        raise ValueError
      at += 1
    if close == '}':
      key, at = value_at(text, at)
      at = SPACE.match(text, at).end()
      if not isinstance(key, str) or key in keys or text[at : at + 1] != ':':
        raise ValueError
      keys.append(key)
      at += 1
    item, at = value_at(text, at)
    items.append(item)
    at = SPACE.match(text, at).end()
  return (dict(zip(keys, items)) if close == '}' else items), at + 1


def jsonl(text):
  """(line, row or None) of JSON lines."""
  for number, line in enumerate(lines_of(text), 1):
    try:
      record, at = value_at(line, 0)
      sound = isinstance(record, dict) and SPACE.match(line, at).end() == len(line)
    except ValueError:
      sound = False
    yield number, record if sound else None


def fine(text):
  return isinstance(text, str) and text.strip() and not re.search('[\0\ud800-\udfff]', text)


def own_row(row):
  """What the package makes of the cells; None for what it must refuse."""
  texts = {column: row.get(column) for column in COLUMNS[:2]}
  texts = {column: str(x) if type(x) is int else x for column, x in texts.items()}
  stars = row.get('stars')
  stars = str(stars) if type(stars) is int else stars
  if not all(map(fine, texts.values())) or stars not in ('1', '2'):
    return None
  return texts | {'label': int(stars) - 1}


def sst2_row(row):
  label = row['label']
  number = re.fullmatch('-?[0-9]+', label) and int(label)
  if not fine(row['sentence']) or number not in (0, 1):
    return None
  return {'sentence': row['sentence'], 'label': number}


def copa_row(row):
  texts = all(fine(row.get(column)) for column in COPA if column != 'label')
  label = row.get('label')
  if not texts or type(label) not in (int, bool) or label not in (0, 1):
    return None
  return row | {'label': int(label)}


def joined(lines):
  return ('\n'.join(lines) + '\n').encode()


quoted = lambda cell: '"' + cell.replace('"', '""') + '"' if '"' in cell else cell
SST2 = 'sentence', 'label'
READERS = {
  'own.tsv': (
    joined('\t'.join(cells) for cells in (ROWS[0], *(row.values() for row in ROWS))),
    lambda text: table(tsv(text)),
    own_row,
  ),
  'own.csv': (
    joined(','.join(map(quoted, cells)) for cells in (ROWS[0], *(row.values() for row in ROWS))),
    lambda text: table(csv(text)),
    own_row,
  ),
  'own.jsonl': (joined(map(json.dumps, ROWS)), jsonl, own_row),
  'sst2.tsv': (
    joined('\t'.join(cells) for cells in (SST2, *((row['text'], '1') for row in ROWS))),
    lambda text: table(tsv(text), SST2),
    sst2_row,
  ),
  'copa.jsonl': (joined([json.dumps(COPA)] * 3), jsonl, copa_row),
}


def held(content, records, row_of):
  """The rows of the file, or the lines that cannot be used, or neither."""
  try:
    text = content.decode()
    if '\0' in text:
      raise Unreadable
    records = [
      (number, cells and row_of(cells)) for number, cells in records(text.removeprefix('\ufeff'))
    ]
  except (UnicodeDecodeError, Unreadable):
    return [], []
  rows, bad = [row for _, row in records if row], [number for number, row in records if not row]
  return ([] if bad else rows), bad


def mutated(content, chance):
  for _ in range(chance.choice((1, 1, 2, 3))):
    at, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    near = min(end, at + chance.randrange(1, 9))
    kind, token = chance.randrange(8), chance.choice(TOKENS)
    if kind < 3:
      content = content[:at] + token + content[at:]
    elif kind > 5:  # a whole cell or key, or something before it
      places = re.finditer(rb'(?<=[\t\n,:{])|(?=[\t\n,:}])', content)
      borders = [0, *(match.start() for match in places), len(content)]
      at = chance.randrange(len(borders) - 1)
      content = content[: borders[at]] + token + content[borders[at + kind - 6] :]
    elif kind == 3:
      content = content[:at] + content[near:]
    elif kind == 4:
      content = content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
    else:
      content = content[:near] + content[at:] if chance.random() < 0.9 else content[:at]
  return content


@pytest.mark.parametrize('reader', READERS)
def test_a_damaged_file_is_its_rows_or_an_error_that_says_where(reader, tmp_path):
  content, records, row_of = READERS[reader]
  name, _, suffix = reader.partition('.')
  path = tmp_path / f'train.{suffix}'
  if name == 'own':
    files = {'train': path.name, 'validation': path.name}
    (tmp_path / 'task.json').write_text(json.dumps(OWN | {'files': files}))
    source = data.source_of(data.task_named(str(tmp_path)), '')
  else:
    source = data.source_of(data.task_named(name), tmp_path)
  path.write_bytes(content)
  assert (
    source.rows('train') == held(content, records, row_of)[0] and len(source.rows('train')) == 3
  )
  chance, read = random.Random(reader), 0
  for _ in range(MUTATIONS):
    damaged = mutated(content, chance)
    path.unlink()  # ext4 waits for the disk where a file is emptied and written again
    path.write_bytes(damaged)
    rows, bad = held(damaged, records, row_of)
    try:
      assert source.rows('train') == rows, damaged
      read += 1
    except DataError as error:
      assert not rows, damaged
      assert error.where.startswith(str(path)), damaged
      if bad:
        told = re.findall(rf'{path.name}:([0-9]+): (?!: ).+?: ', error.got)
        assert list(map(int, told)) == bad[:20], (damaged, error.got)
        assert error.where == f'{path}:{bad[0]}', damaged
        assert error.what.startswith(f'{len(bad)} row'), damaged
  assert MUTATIONS / 50 < read < MUTATIONS * 0.9  # else the damage would be no test
