import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compacter_jax.data.formats import EXCERPT, excerpt, jsonl, text_of, tsv, whole
from compacter_jax.data.layouts import LAYOUTS
from compacter_jax.data.records import flat
from compacter_jax.data.registry import TASKS
from compacter_jax.data.sound_rows import BadRows
from compacter_jax.data.sources import GENERATED, LocalFiles, source_of
from compacter_jax.data.tasks import examples
from compacter_jax.errors import DataError

STSB_HEADER = [
  *('index', 'genre', 'filename', 'year', 'old_index', 'source1', 'source2'),
  *('sentence1', 'sentence2', 'score'),
]
PARSES = [f'sentence{i}_{parse}' for parse in ('binary_parse', 'parse') for i in (1, 2)]
MNLI = ['index', 'promptID', 'pairID', 'genre', *PARSES, 'sentence1', 'sentence2']
PAIR = {'sentence1': '"One', 'sentence2': 'Two'}
CLAIM = {'premise': '"One', 'hypothesis': 'Two'}
# task -> header, a line, its row; the columns of an official test file
TABLES = {
  'sst2': (
    ['sentence', 'label'],
    ['a "fine film ', '1'],
    {'sentence': 'a "fine film ', 'label': 1},
    ['index', 'sentence'],
  ),
  'cola': (
    None,
    ['gj04', '0', '*', 'Us love.'],
    {'sentence': 'Us love.', 'label': 0},
    ['index', 'sentence'],
  ),
  'mrpc': (
    ['\ufeffQuality', '#1 ID', '#2 ID', '#1 String', '#2 String'],
    ['1', '7', '8', '"One', 'Two'],
    PAIR | {'label': 1},
    ['index', '#1 ID', '#2 ID', '#1 String', '#2 String'],
  ),
  'qqp': (
    ['id', 'qid1', 'qid2', 'question1', 'question2', 'is_duplicate'],
    ['3', '1', '2', 'So?', '"How?', '1'],
    {'question1': 'So?', 'question2': '"How?', 'label': 1},
    ['id', 'question1', 'question2'],
  ),
  'stsb': (
    STSB_HEADER,
    [*'0abcdef', '"One', 'Two', '3.800'],
    PAIR | {'label': 3.8},
    STSB_HEADER[:-1],
  ),
  'mnli': (
    [*MNLI, 'label1', 'gold_label'],
    [*'0abcdefg', '"One', 'Two', 'neutral', 'contradiction'],
    CLAIM | {'label': 2},
    MNLI,
  ),
  'qnli': (
    ['index', 'question', 'sentence', 'label'],
    ['0', 'Who?', 'He.', 'not_entailment'],
    {'question': 'Who?', 'sentence': 'He.', 'label': 1},
    ['index', 'question', 'sentence'],
  ),
  'rte': (
    ['index', 'sentence1', 'sentence2', 'label'],
    ['0', '"One', 'Two', 'not_entailment'],
    PAIR | {'label': 1},
    ['index', 'sentence1', 'sentence2'],
  ),
  'wnli': (
    ['index', 'sentence1', 'sentence2', 'label'],
    ['0', '"One', 'Two', '1'],
    PAIR | {'label': 1},
    ['index', 'sentence1', 'sentence2'],
  ),
  'ax': (
    ['Lexical Semantics', 'Logic', 'Domain', 'Premise', 'Hypothesis', 'Label'],
    ['', 'Negation', 'News', '"One', 'Two', 'contradiction'],
    CLAIM | {'label': 2},
    ['index', 'sentence1', 'sentence2'],
  ),
}
WIC = {'start1': 3, 'start2': 0, 'end1': 6, 'end2': 3, 'version': 1.1, 'idx': 4}
RECORD = {
  'source': 'Daily mail',
  'passage': {
    'text': 'Bob met Ann and Bob.',
    'entities': [{'start': i, 'end': i + 2} for i in (0, 8, 16)],
  },
  'qas': [
    {
      'query': '@placeholder met Ann',
      'answers': [{'start': i, 'end': i + 2, 'text': 'Bob'} for i in (0, 16)],
      'idx': 11,
    },
    {
      'query': 'Who is @placeholder?',
      'answers': [{'text': 'Bob'}, {'text': 'Ann'}],
      'idx': 12,
    },
  ],
  'idx': 7,
}
CITED = {'passage': 'Bob met Ann and Bob.', 'entities': ['Ann', 'Bob']}
SPANS = {'span1_index': 0, 'span2_index': 2, 'span1_text': 'Mark', 'span2_text': 'he'}
ANSWERS = [{'text': 'a cup', 'idx': 9, 'label': 1}, {'text': '', 'idx': 10, 'label': 0}]
RECORDS = {
  'boolq': (
    {'question': 'is it', 'passage': 'It is.', 'idx': 0, 'label': True},
    [{'question': 'is it', 'passage': 'It is.', 'idx': 0, 'label': 1}],
  ),
  'copa': (
    {'premise': 'p', 'choice1': 'a', 'choice2': 'b', 'question': 'cause', 'label': 0, 'idx': 3},
    [{'premise': 'p', 'choice1': 'a', 'choice2': 'b', 'question': 'cause', 'label': 0, 'idx': 3}],
  ),
  'multirc': (
    {
      'idx': 4,
      'passage': {
        'text': 'It fell.',
        'questions': [{'question': 'What?', 'idx': 6, 'answers': ANSWERS}],
      },
    },
    [
      {
        'paragraph': 'It fell.',
        'question': 'What?',
        'answer': answer,
        'idx': {'paragraph': 4, 'question': 6, 'answer': i},
        'label': label,
      }
      for answer, i, label in (('a cup', 9, 1), ('', 10, 0))
    ],
  ),
  'cb': (CLAIM | {'label': 'neutral', 'idx': 3}, [CLAIM | {'label': 2, 'idx': 3}]),
  'record': (
    RECORD,
    [
      CITED
      | {
        'query': '@placeholder met Ann',
        'answers': ['Bob'],
        'idx': {'passage': 7, 'query': 11},
      },
      CITED
      | {
        'query': 'Who is @placeholder?',
        'answers': ['Ann', 'Bob'],
        'idx': {'passage': 7, 'query': 12},
      },
    ],
  ),
  'superglue_rte': (
    CLAIM | {'label': 'not_entailment', 'idx': 3},
    [CLAIM | {'label': 1, 'idx': 3}],
  ),
  'wic': (
    PAIR | {'word': 'one', 'label': True} | WIC,
    [PAIR | {'word': 'one', 'label': 1} | WIC],
  ),
  'axb': (
    PAIR | {'label': 'entailment', 'logic': 'Negation', 'idx': 3},
    [PAIR | {'label': 0, 'logic': 'Negation', 'idx': 3}],
  ),
  'axg': (
    CLAIM | {'label': 'not_entailment', 'pair_id': 551, 'idx': 3},
    [CLAIM | {'label': 1, 'pair_id': 551, 'idx': 3}],
  ),
  'wsc': (
    {'text': 'Mark says he can', 'target': SPANS, 'idx': 1, 'label': False},
    [{'text': 'Mark says he can', 'idx': 1, 'label': 0} | SPANS],
  ),
}


def table(name, *rows):
  header = TABLES[name][0]
  lines = ([header] if header else []) + list(rows)
  return ''.join('\t'.join(line) + '\n' for line in lines)


def write(folder, name, content):
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / name
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


def sst2(tmp_path, content):
  write(tmp_path, 'train.tsv', content)
  return LocalFiles(tmp_path, TASKS['sst2'])


def copa(tmp_path, *lines):
  write(tmp_path, 'train.jsonl', '\n'.join(lines))
  return LocalFiles(tmp_path, TASKS['copa'])


COPA = json.dumps(RECORDS['copa'][0])


def test_every_task_has_a_layout():
  assert set(LAYOUTS) == set(TASKS) - set(GENERATED) == set(TABLES) | set(RECORDS)


DIAGNOSTIC = {'ax': 'diagnostic-full', 'axb': 'AX-b', 'axg': 'AX-g'}
DROPPED = 'label', 'answers'


@pytest.mark.parametrize('name', TABLES)
def test_tables_give_rows_with_the_usual_columns(name, tmp_path):
  _, cells, row, _ = TABLES[name]
  split = 'test' if name == 'ax' else 'train'
  write(tmp_path, f'{DIAGNOSTIC.get(name, split)}.tsv', table(name, cells, cells))
  assert LocalFiles(tmp_path, TASKS[name]).rows(split) == [row, row]
  examples(TASKS[name], row, prefix=True)


@pytest.mark.parametrize('name', RECORDS)
def test_json_lines_give_rows_with_the_usual_columns(name, tmp_path):
  record, rows = RECORDS[name]
  split = 'test' if name in DIAGNOSTIC else 'validation'
  file = f'{DIAGNOSTIC.get(name, "val")}.jsonl'
  write(tmp_path, file, f'{json.dumps(record)}\n{json.dumps(record)}')
  assert LocalFiles(tmp_path, TASKS[name]).rows(split) == rows * 2
  examples(TASKS[name], rows[0], prefix=True)


@pytest.mark.parametrize('name', TABLES)
def test_test_tables_are_read_without_answers(name, tmp_path):
  header, cells, row, columns = TABLES[name]
  by_name = dict(zip(header or ['source', 'label', 'star', 'sentence'], cells))
  if name == 'ax':
    by_name |= {'sentence1': by_name['Premise'], 'sentence2': by_name['Hypothesis']}
  line = '\t'.join(by_name.get(column, '0') for column in columns)
  write(tmp_path, f'test{"_matched" * (name == "mnli")}.tsv', '\t'.join(columns) + f'\n{line}\n')
  split = 'test_matched' if name == 'mnli' else 'test'
  (found,) = LocalFiles(tmp_path, TASKS[name]).rows(split)
  assert found == row | {'label': -1}
  with pytest.raises(DataError, match='unlabelled'):
    examples(TASKS[name], found, prefix=True)


@pytest.mark.parametrize('name', RECORDS)
def test_test_records_are_read_without_answers(name, tmp_path):
  record, rows = RECORDS[name]
  bare = lambda value: (
    {k: bare(v) for k, v in value.items() if k not in DROPPED or name == 'multirc' and k != 'label'}
    if isinstance(value, dict)
    else [bare(v) for v in value]
    if isinstance(value, list)
    else value
  )
  write(tmp_path, 'test.jsonl', json.dumps(bare(record)))
  found = LocalFiles(tmp_path, TASKS[name]).rows('test')
  want = [{k: v for k, v in row.items() if k not in DROPPED} | {'label': -1} for row in rows]
  assert found == want
  for row in found:
    with pytest.raises(DataError, match='unlabelled'):
      examples(TASKS[name], row, prefix=True)
  write(tmp_path, 'train.jsonl', json.dumps(bare(record)))
  with pytest.raises(DataError, match='unlabelled|has no official train split'):
    LocalFiles(tmp_path, TASKS[name]).rows('train')


def test_a_test_row_without_its_text_is_refused(tmp_path):
  write(tmp_path, 'test.tsv', 'index\tsentence\n0\t \n')
  with pytest.raises(DataError, match='sentence: empty'):
    LocalFiles(tmp_path, TASKS['sst2']).rows('test')


def test_a_wrong_label_in_a_test_file_is_no_hidden_one(tmp_path):
  write(tmp_path, 'test.tsv', 'sentence\tlabel\ngood\t2\n')
  with pytest.raises(DataError, match='got 2'):
    LocalFiles(tmp_path, TASKS['sst2']).rows('test')


def test_the_two_validation_files_of_mnli(tmp_path):
  header, cells, *_ = TABLES['mnli']
  for side in 'matched', 'mismatched':
    write(tmp_path / 'MNLI', f'dev_{side}.tsv', table('mnli', [*cells[:8], side, *cells[9:]]))
  source = LocalFiles(tmp_path, TASKS['mnli'])
  assert source.rows('validation_matched')[0]['premise'] == 'matched'
  assert source.rows('validation_mismatched')[0]['premise'] == 'mismatched'
  with pytest.raises(DataError, match='no validation file of mnli'):
    source.rows('validation')


def test_labelled_diagnostics_are_preferred(tmp_path):
  write(tmp_path / 'diagnostic', 'diagnostic.tsv', 'index\tsentence1\tsentence2\n0\ta\tb\n')
  assert LocalFiles(tmp_path, TASKS['ax']).rows('test')[0]['label'] == -1
  write(tmp_path / 'diagnostic', 'diagnostic-full.tsv', table('ax', TABLES['ax'][1]))
  assert LocalFiles(tmp_path, TASKS['ax']).rows('test')[0]['label'] == 2


def test_a_diagnostic_set_trains_on_another(tmp_path):
  own, base = (f'{json.dumps(RECORDS[name][0])}\n' for name in ('axb', 'superglue_rte'))
  write(tmp_path / 'AX-b', 'AX-b.jsonl', own)
  for name in 'train', 'val':
    write(tmp_path / 'RTE', f'{name}.jsonl', base * 2)
  source = source_of(TASKS['axb'], tmp_path)
  assert source.rows('train') == source.rows('validation') == RECORDS['superglue_rte'][1] * 2
  assert source.rows('test') == RECORDS['axb'][1]


@pytest.mark.parametrize(
  ('name', 'old', 'new', 'problem'),
  [
    ('mnli', '\tcontradiction', '\t-', 'gold_label: expected one of entailment, neutral'),
    ('qnli', 'not_entailment', '1', 'label: expected one of entailment, not_entailment'),
    ('cb', '"neutral"', '"unknown"', 'label: expected one of entailment, contradiction, neutral'),
    ('superglue_rte', '"not_entailment"', '2', 'label: expected one of 0, 1, got 2'),
    ('record', '"end": 18', '"end": 20', 'no place in a text of 20 characters'),
    ('record', '"start": 16, "end": 18}]', '"start": -1, "end": 2}]', 'no place'),
    ('record', '"qas": [', '"qas": [], "more": [', 'qas: has no queries'),
    ('record', '[{"text": "Bob"}, {"text": "Ann"}]', '[]', 'answers: missing'),
    ('record', '{"text": "Ann"}', '{"text": ""}', 'answers: empty'),
  ],
)
def test_labels_and_places_are_checked(name, old, new, problem, tmp_path):
  lines = table(name, TABLES[name][1]) if name in TABLES else json.dumps(RECORDS[name][0])
  assert old in lines
  suffix = 'tsv' if name in TABLES else 'jsonl'
  write(tmp_path, f'train.{suffix}', lines.replace(old, new))
  with pytest.raises(DataError) as error:
    LocalFiles(tmp_path, TASKS[name]).rows('train')
  assert problem in error.value.got


def test_some_bad_rows_can_be_left_out_and_are_counted(tmp_path):
  path = write(tmp_path, 'train.tsv', 'sentence\tlabel\n' + 'good\t1\nbad\n' * 3)
  bad = BadRows(allowed=3)
  assert len(LocalFiles(tmp_path, TASKS['sst2'], bad).rows('train')) == 3
  assert bad.left_out == {str(path): 3}
  for allowed in 0, 2:
    bad = BadRows(allowed)
    with pytest.raises(DataError, match='3 rows of sst2') as error:
      LocalFiles(tmp_path, TASKS['sst2'], bad).rows('train')
    assert bool(error.value.expected) == bool(allowed)
    assert not bad.left_out
  path.write_text('sentence\tlabel\nbad\n')
  with pytest.raises(DataError, match='no rows'):
    LocalFiles(tmp_path, TASKS['sst2'], BadRows(9)).rows('train')


@pytest.mark.parametrize('place', ['.', 'SST-2', 'glue/SST-2'])
@pytest.mark.parametrize('name', ['dev.tsv', 'val.tsv', 'validation.tsv'])
def test_files_are_found_in_the_folder_or_below(place, name, tmp_path):
  write(tmp_path / place, name, 'sentence\tlabel\ngood\t1\n')
  assert len(LocalFiles(tmp_path, TASKS['sst2']).rows('validation')) == 1


@pytest.mark.parametrize('place', ['COPA', 'superglue/COPA'])
def test_superglue_has_a_folder_too(place, tmp_path):
  write(tmp_path / place, 'train.jsonl', COPA)
  assert len(LocalFiles(tmp_path, TASKS['copa']).rows('train')) == 1


def test_a_missing_file_tells_what_is_there(tmp_path):
  write(tmp_path, 'test.tsv', '')
  (tmp_path / 'CoLA').mkdir()
  with pytest.raises(DataError) as error:
    LocalFiles(tmp_path, TASKS['sst2']).rows('validation')
  assert error.value.where == str(tmp_path)
  assert 'dev.tsv' in error.value.expected and 'glue/SST-2' in error.value.expected
  assert error.value.got == 'CoLA/, test.tsv'


def test_a_missing_folder_is_said_to_be_missing(tmp_path):
  with pytest.raises(DataError, match='no such folder'):
    LocalFiles(tmp_path / 'nowhere', TASKS['sst2']).rows('train')


def test_two_files_for_one_split_are_refused(tmp_path):
  for name in ('dev.tsv', 'validation.tsv'):
    write(tmp_path, name, 'sentence\tlabel\ngood\t1\n')
  with pytest.raises(DataError, match='more than one'):
    LocalFiles(tmp_path, TASKS['sst2']).rows('validation')


@given(
  st.lists(
    st.text(
      st.characters(exclude_categories=['Cs'], exclude_characters='\t\n\r\0'), min_size=1
    ).filter(str.strip),
    min_size=1,
    max_size=5,
  )
)
def test_rows_in_are_rows_out(sentences):
  text = 'sentence\tlabel\r\n' + ''.join(f'{s}\t1\r\n' for s in sentences)
  lines = list(LAYOUTS['sst2'].read(text))
  assert [(line.row['sentence'], line.problem) for line in lines] == [(s, '') for s in sentences]


@pytest.mark.parametrize('odd', ['\u2028', '\x85', '\x0b', '\x0c', '\r', '"', "''", '\ufeff'])
def test_only_a_newline_ends_a_line_and_quotes_are_literal(odd, tmp_path):
  rows = sst2(tmp_path, f'sentence\tlabel\n{odd}good{odd} film\t1\n').rows('train')
  assert rows == [{'sentence': f'{odd}good{odd} film', 'label': 1}]


@pytest.mark.parametrize('end', ['', '\n', '\r\n'])
def test_the_last_line_needs_no_end(end, tmp_path):
  assert len(sst2(tmp_path, f'sentence\tlabel\r\ngood\t1\r\nbad\t0{end}').rows('train')) == 2


def test_a_long_line_is_a_line(tmp_path):
  rows = sst2(tmp_path, f'sentence\tlabel\n{"x" * 10**7}\t1\n').rows('train')
  assert len(rows[0]['sentence']) == 10**7


@pytest.mark.parametrize(
  ('line', 'problem'),
  [
    ('good', 'label: expected 2 columns, got 1'),
    ('', 'expected 2 columns, got 1'),
    ('good\t1\t', 'after label: expected 2 columns, got 3'),
    ('\t1', 'sentence: empty'),
    ('good\t', 'label: expected int'),
    ('good\tone', 'label: expected int'),
    ('good\t1.0', 'label: expected int'),
    ('good\t1_0', 'label: expected int'),
    ('good\t 1', 'label: expected int'),
    ('good\t\u0661', 'label: expected int'),
    ('good\tnan', 'label: expected int'),
    ('good\t2', 'label: expected one of 0, 1, got 2'),
    ('good\t-1', 'unlabelled test split'),
  ],
)
def test_a_bad_table_row_is_named(line, problem, tmp_path):
  with pytest.raises(DataError) as error:
    sst2(tmp_path, f'sentence\tlabel\nfine\t1\n{line}\nfine\t0\n').rows('train')
  assert error.value.where == f'{tmp_path / "train.tsv"}:3'
  assert problem in error.value.got and 'train.tsv:3: ' in error.value.got


@pytest.mark.parametrize('score', ['nan', 'inf', '-0.5', '5.1', '', 'x', '1e0'])
def test_a_score_out_of_range_is_refused(score, tmp_path):
  write(tmp_path, 'train.tsv', table('stsb', [*'0abcdef', 'One', 'Two', score]))
  with pytest.raises(DataError, match='train.tsv:2: (score|label)'):
    LocalFiles(tmp_path, TASKS['stsb']).rows('train')


@pytest.mark.parametrize(
  ('line', 'problem'),
  [
    ('', 'Expecting value'),
    ('{"premise": "p"', 'column 16'),
    ('[1]', 'expected a JSON object, got a list'),
    (COPA.replace('"label": 0', '"label": NaN'), 'NaN is not a JSON value'),
    (COPA.replace('{', '{"label": 1, ', 1), 'label: the key occurs twice'),
    (COPA.replace('"label": 0, ', ''), 'label: missing'),
    (COPA.replace('"label": 0', '"label": "0"'), "got '0'"),
    (COPA.replace('"choice1": "a", ', ''), 'choice1: missing'),
    (COPA.replace('"a"', '["a"]'), 'choice1: expected str, got list'),
    (COPA.replace('"a"', '""'), 'choice1: empty'),
    (COPA.replace('"a"', r'"\ud800"'), 'lone surrogate'),
    (COPA.replace('"a"', r'"\u0000"'), 'NUL'),
    ('[' * 100_000, 'recursion'),
    (COPA.replace('"label": 0', f'"label": {"9" * 5000}'), 'digits'),
  ],
)
def test_a_bad_json_line_is_named(line, problem, tmp_path):
  with pytest.raises(DataError) as error:
    copa(tmp_path, COPA, line, COPA).rows('train')
  assert 'train.jsonl:2: ' in error.value.got and problem in error.value.got


@pytest.mark.parametrize(
  ('old', 'new', 'problem'),
  [
    ('"passage"', '"text"', 'passage: expected dict, missing'),
    ('"questions"', '"q"', 'questions: expected list, missing'),
    ('"answers"', '"a"', 'answers: expected list, missing'),
    ('"idx": 6', '"idx": true', 'idx: expected int, got bool'),
    ('"text": "a cup"', '"text": 3', 'text: expected str, got int'),
    ('"label": 1', '"label": 2', 'label: expected one of 0, 1, got 2'),
    ('"label": 1', '"Label": 1', 'label: missing'),
    (json.dumps(ANSWERS), '[]', 'has no answers'),
    (json.dumps(ANSWERS), '[5]', 'expected a JSON object, got a int'),
  ],
)
def test_nested_records_are_checked(old, new, problem, tmp_path):
  text = json.dumps(RECORDS['multirc'][0])
  assert text.count(old) == 1
  write(tmp_path, 'train.jsonl', text.replace(old, new))
  with pytest.raises(DataError) as error:
    LocalFiles(tmp_path, TASKS['multirc']).rows('train')
  assert problem in error.value.got


def test_at_most_twenty_rows_are_listed_and_all_are_counted(tmp_path):
  with pytest.raises(DataError) as error:
    sst2(tmp_path, 'sentence\tlabel\n' + '\x1b[2J evil\t9\n' * 25).rows('train')
  assert error.value.what.startswith('25 rows')
  assert error.value.got.count('train.tsv:') == 20
  assert error.value.got.endswith('and 5 more')
  assert '\x1b' not in str(error.value)


@pytest.mark.parametrize(
  ('content', 'told', 'fix'),
  [
    (gzip.compress(b'sentence\tlabel\n'), 'gzip', 'gunzip'),
    ('sentence\tlabel\n'.encode('utf-16'), 'UTF-16', 'iconv'),
    (b'PK\x03\x04', 'zip', 'unpack'),
    (b'PAR1', 'Parquet', '.parquet'),
  ],
)
def test_what_is_no_text_is_called_by_its_name(content, told, fix, tmp_path):
  (tmp_path / 'train.tsv').write_bytes(content)
  with pytest.raises(DataError, match='not a text in UTF-8') as error:
    LocalFiles(tmp_path, TASKS['sst2']).rows('train')
  assert told in error.value.got and fix in error.value.fix


@pytest.mark.parametrize('header', ['label\ttext', 'sentence\tlabel\tlabel', 'Sentence\tlabel'])
def test_a_foreign_header_is_refused(header, tmp_path):
  with pytest.raises(DataError, match='train.tsv:1: (sentence|label): expected once'):
    sst2(tmp_path, f'{header}\n1\tgood\n').rows('train')


def test_columns_are_found_by_name(tmp_path):
  rows = sst2(tmp_path, 'more\tlabel\tsentence\nx\t1\tgood\n').rows('train')
  assert rows == [{'sentence': 'good', 'label': 1}]


def test_a_table_without_labels_trains_nothing(tmp_path):
  with pytest.raises(DataError, match='unlabelled'):
    sst2(tmp_path, 'sentence\ngood\n').rows('train')


@pytest.mark.parametrize('content', ['', 'sentence\tlabel\n'])
def test_a_file_without_rows_is_refused(content, tmp_path):
  with pytest.raises(DataError, match='no rows'):
    sst2(tmp_path, content).rows('train')


@pytest.mark.parametrize(
  ('content', 'at', 'line'),
  [(b'sentence\tlabel\nna\xefve\t1\n', 17, 2), (b'sentence\tlabel\n\xed\xa0\x80\t1\n', 15, 2)],
)
def test_another_encoding_is_refused_with_its_place(content, at, line, tmp_path):
  path = write(tmp_path, 'train.tsv', content)
  with pytest.raises(DataError) as error:
    text_of(path)
  assert error.value.where == f'{path}:{line}'
  assert f'byte {at} of' in error.value.got


def test_a_nul_is_refused_with_its_place(tmp_path):
  with pytest.raises(DataError, match='NUL at byte 19 of'):
    sst2(tmp_path, b'sentence\tlabel\ngood\0\t1\n').rows('train')


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_a_data_error(content):
  text = content.decode('utf-8', 'ignore')
  for lines in (LAYOUTS['sst2'].read(text), LAYOUTS['cola'].read(text), jsonl(text, flat)):
    assert all(line.problem or isinstance(line.row, dict) for line in lines)


json_values = st.recursive(
  st.none() | st.booleans() | st.integers() | st.text(max_size=3),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(
      st.sampled_from(['passage', 'questions', 'answers', 'idx', 'text', 'label', 'target', 'qas']),
      inner,
    )
  ),
)


@given(json_values)
def test_any_json_is_rows_or_a_problem(value):
  for name in RECORDS:
    for line in LAYOUTS[name].read(json.dumps(value)):
      assert line.problem or isinstance(line.row, dict)


@given(st.text(max_size=200))
def test_excerpts_are_short_and_harmless(text):
  shown = excerpt(text)
  assert len(shown) <= EXCERPT and shown.isascii() and shown.isprintable()


def test_tables_name_the_line_of_the_file():
  text = 'a\t1\nb\t2\n'
  with_header = tsv('s\tl\n' + text, {'sentence': 's'}, 'l', whole)
  without = tsv(text, {'sentence': 's'}, 'l', whole, ('s', 'l'))
  assert [line.number for line in with_header] == [2, 3]
  assert [line.number for line in without] == [1, 2]
