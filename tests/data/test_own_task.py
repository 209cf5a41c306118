"""A task of one's own: what a task.json may say, and what its files may hold."""

import json

import pytest

from compacter_jax import data, evaluate, metrics, t5
from compacter_jax.data.own_kinds import KINDS
from compacter_jax.errors import ConfigError, DataError

FILES = {'train': 'train.jsonl', 'validation': 'dev.jsonl'}
CLASSIFICATION = {
  'name': 'reviews',
  'kind': 'classification',
  'files': FILES,
  'template': 'review: {text}',
  'label': 'stars',
  'answers': {'1': 'bad', '2': 'very good'},
}
NUMBERED = CLASSIFICATION | {'answers': ['no', 'yes', 'who knows']}
TRUTH = CLASSIFICATION | {'answers': {'true': 'yes', 'false': 'no'}}
CHOICE = {
  'name': 'quiz',
  'kind': 'choice',
  'files': FILES,
  'template': '{question} A: {a} B: {b}',
  'label': 'right',
  'choices': ['a', 'b'],
}
REGRESSION = {
  'name': 'ages',
  'kind': 'regression',
  'files': FILES,
  'template': 'age: {text}',
  'label': 'years',
  'decimals': 1,
  'range': [0, 99.5],
}
GENERATION = {
  'name': 'titles',
  'kind': 'generation',
  'files': FILES,
  'template': 'title: {text}',
  'label': 'title',
}
TASKS = {task['kind']: task for task in (CLASSIFICATION, CHOICE, REGRESSION, GENERATION)}
CELLS = {
  'classification': {'text': 'Fine.', 'stars': '2'},
  'choice': {'question': 'Which?', 'a': 'this', 'b': 'that', 'right': 1},
  'regression': {'text': 'Old.', 'years': 71.25},
  'generation': {'text': 'Once upon ...', 'title': ['A tale', 'Tale']},
}


def own(folder, task, rows=(), **changes):
  """The task of a task.json with these rows for training and for validation."""
  told = {key: value for key, value in (task | changes).items() if value is not None}
  (folder / 'task.json').write_text(json.dumps(told))
  lines = '\n'.join(row if isinstance(row, str) else json.dumps(row) for row in rows)
  for name in FILES.values():
    (folder / name).write_text(lines)
  return data.task_named(str(folder / 'task.json'))


def examples(folder, task, rows, prefix=False, **changes):
  mine = own(folder, task, rows, **changes)
  return [data.example(mine, row, prefix) for row in data.source_of(mine, '').rows('train')]


def refused(folder, task, *rows, **changes):
  mine = own(folder, task, rows, **changes)
  with pytest.raises(DataError) as error:
    data.source_of(mine, '').rows('train')
  return error.value


@pytest.mark.parametrize(
  ('kind', 'source', 'target', 'group'),
  [
    ('classification', 'review: Fine.', 'very good', None),
    ('choice', 'Which? A: this B: that', 'B', None),
    ('regression', 'age: Old.', '71.2', None),
    ('generation', 'title: Once upon ...', 'A tale', ('A tale', 'Tale')),
  ],
)
def test_every_kind_becomes_texts(kind, source, target, group, tmp_path):
  example = data.Example(source, target, group)
  assert examples(tmp_path, TASKS[kind], [CELLS[kind]] * 2) == [example] * 2
  led = data.Example(f'{TASKS[kind]["name"]} {source}', target, group)
  assert examples(tmp_path, TASKS[kind], [CELLS[kind]], prefix=True) == [led]


def test_every_kind_is_tested():
  assert set(TASKS) == set(CELLS) == set(KINDS)


@pytest.mark.parametrize('suffix', ['.tsv', '.csv'])
def test_tables_of_text_serve_too(suffix, tmp_path):
  by = '\t' if suffix == '.tsv' else ','
  (tmp_path / f'a{suffix}').write_text(f'stars{by}text\n2{by}Fine.\n1{by}Poor.\n')
  mine = own(tmp_path, CLASSIFICATION, files={'train': f'a{suffix}', 'validation': f'a{suffix}'})
  assert data.source_of(mine, '').rows('validation') == [
    {'text': 'Fine.', 'label': 1},
    {'text': 'Poor.', 'label': 0},
  ]


def test_a_folder_stands_for_its_task_json(tmp_path, monkeypatch):
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'sst2').mkdir()
  own(tmp_path / 'sst2', CLASSIFICATION)
  own(tmp_path / 'mine', CLASSIFICATION)
  monkeypatch.chdir(tmp_path)
  for path in (tmp_path / 'mine', 'mine/', 'mine', 'mine/task.json'):
    assert data.task_named(str(path)).name == 'reviews'
  assert data.task_named('sst2').name == 'sst2'


def test_two_files_are_split_as_small_tasks_are(tmp_path):
  rows = [{'text': str(i), 'stars': '1'} for i in range(5)]
  mine = own(tmp_path, CLASSIFICATION, rows)
  splits = data.splits_of(data.source_of(mine, ''), mine)
  assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [5, 2, 3]
  texts = sorted(row['text'] for row in splits.validation.rows + splits.test.rows)
  assert texts == ['0', '1', '2', '3', '4']
  assert own(tmp_path, CLASSIFICATION, rows, split='large').split == 'large'


def test_three_files_are_taken_as_they_are(tmp_path):
  parts = {'train': 3, 'validation': 2, 'test': 1}
  mine = own(tmp_path, CLASSIFICATION, files={part: f'{part}.jsonl' for part in parts})
  for part, n in parts.items():
    rows = [json.dumps({'text': f'{part} {i}', 'stars': '1'}) for i in range(n)]
    (tmp_path / f'{part}.jsonl').write_text('\n'.join(rows))
  splits = data.splits_of(data.source_of(mine, ''), mine)
  for part, n in parts.items():
    assert [row['text'] for row in getattr(splits, part).rows] == [f'{part} {i}' for i in range(n)]
  sample = data.Sample(max_train=2, max_test=1)
  capped = data.splits_of(data.source_of(mine, ''), mine, sample=sample)
  assert [len(capped.train), len(capped.validation), len(capped.test)] == [2, 2, 1]


def test_rows_that_share_a_column_are_not_parted_when_grouped(tmp_path):
  rows = [{'about': str(i % 3), 'text': str(i), 'stars': '1'} for i in range(12)]
  changes = {'template': '{about}: {text}', 'shared': 'about'}
  mine = own(tmp_path, CLASSIFICATION, rows, **changes)
  (tmp_path / 'train.jsonl').write_text('\n'.join(json.dumps(r | {'about': 'x'}) for r in rows))
  splits = data.splits_of(data.source_of(mine, ''), mine, 'grouped')
  about = [{row['about'] for row in part.rows} for part in splits.parts().values()]
  assert [len(part) for part in splits.parts().values()] == [12, 4, 8]
  assert not about[1] & about[2]
  with pytest.raises(ConfigError, match='shared'):
    own(tmp_path, CLASSIFICATION, rows, shared='about')


@pytest.mark.parametrize(
  ('kind', 'names'),
  [
    ('classification', ['accuracy']),
    ('choice', ['accuracy']),
    ('regression', ['pearson', 'spearman']),
    ('generation', ['exact_match', 'token_f1']),
  ],
)
def test_metrics_unless_others_are_named(kind, names, tmp_path):
  assert [metric.__name__ for metric in own(tmp_path, TASKS[kind]).metrics] == names
  last = list(KINDS[kind].METRICS)[-1]
  (metric,) = own(tmp_path, TASKS[kind], metrics=[last]).metrics
  assert metric is KINDS[kind].METRICS[last]


@pytest.mark.parametrize('answer', ['{x}', 'a  b', 'a\nb', '\u732b'])
def test_answers_that_the_tokenizer_cannot_write_are_refused(answer, tmp_path):
  tokenizer = data.load_tokenizer('nano')
  data.check_answers(own(tmp_path, CLASSIFICATION), tokenizer)
  data.check_answers(own(tmp_path, GENERATION), tokenizer)
  with pytest.raises(ConfigError, match='cannot write') as error:
    data.check_answers(own(tmp_path, CLASSIFICATION, answers=['x', answer]), tokenizer)
  assert error.value.expected == ascii(answer)


def test_an_answer_may_fill_a_gap(tmp_path):
  """The model writes a sentinel before it; scores know the answer alone."""
  tokenizer = data.load_tokenizer(t5.resolve('nano'))
  gap = {'template': 'It was <extra_id_0>: {text}', 'target': '<extra_id_0> {answer}'}
  mine = own(tmp_path, CLASSIFICATION, **gap)
  data.check_answers(mine, tokenizer)
  rows = [data.examples(mine, {'text': 'seen', 'label': i}, prefix=False)[0] for i in (0, 1)]
  split = data.encode(rows, tokenizer, 32, 8, tokenizer.vocab_size)
  sentinel = tokenizer.encode('<extra_id_0>')[0]
  for label, example, source, target in zip(mine.labels, rows, split.sources, split.targets):
    assert example.target == f'<extra_id_0> {label}'
    assert list(source).count(sentinel) == 1
    assert list(target) == [sentinel, *tokenizer.encode(label)]
  assert split.references == list(mine.labels)
  outputs = [tokenizer.decode(target) for target in split.targets]
  assert evaluate.score(mine, outputs, split) == {'accuracy': 100, 'average': 100, 'invalid': 0}


def test_there_is_room_for_an_answer_and_its_sentinel(tmp_path):
  """Also for one that no row of the split has."""
  tokenizer = data.load_tokenizer(t5.resolve('nano'))
  answers = ['bad', 'good good good']
  mine = own(tmp_path, CLASSIFICATION, answers=answers, target='<extra_id_0> {answer}')
  (row,) = data.examples(mine, {'text': 'seen', 'label': 0}, prefix=False)
  split = data.encode([row], tokenizer, 32, 8, tokenizer.vocab_size)
  longest = len(tokenizer.encode(mine.written(answers[1])))
  assert split.target_width < longest <= evaluate.limit(mine, split, tokenizer)


@pytest.mark.parametrize(
  'target',
  ['', 'answer', '{answer} {answer}', 'It is {answer}', '{text}', '<extra_id_00> {answer}'],
)
def test_a_target_that_scoring_could_not_read_is_refused(target, tmp_path):
  with pytest.raises(ConfigError, match='target'):
    own(tmp_path, CLASSIFICATION, target=target)


@pytest.mark.parametrize('task', [CLASSIFICATION, REGRESSION, GENERATION])
def test_a_target_needs_a_tokenizer_with_sentinels(task, tmp_path):
  class Plain:  # to which they are texts
    encode, decode = list, ''.join

  data.check_answers(own(tmp_path, task), Plain())
  with pytest.raises(ConfigError, match='no sentinels'):
    data.check_answers(own(tmp_path, task, target='<extra_id_0> {answer}'), Plain())


@pytest.mark.parametrize('style', ['compacter', 't5', 'corrected'])
def test_published_answers_can_be_written(style):
  tokenizer = data.load_tokenizer(t5.resolve('nano'))
  for name in set(data.TASKS) - {'quickstart'}:
    data.check_answers(data.task_named(name, style), tokenizer)


def test_f1_is_that_of_the_second_answer(tmp_path):
  mine = own(tmp_path, CLASSIFICATION, metrics=['f1', 'accuracy'])
  outputs, gold = ['very good', 'bad', 'bad', 'very good'], ['very good'] * 3 + ['bad']
  digits = [metrics.as_digits(texts, mine.labels) for texts in (outputs, gold)]
  scores = metrics.score(mine.metrics, *digits)
  assert scores['f1'] == pytest.approx(40) and scores['accuracy'] == 25


@pytest.mark.parametrize(
  ('task', 'changes', 'words'),
  [
    (CLASSIFICATION, {'templat': 'x'}, ["'templat'", "did you mean 'template'"]),
    (CLASSIFICATION, {'decimals': 1}, ["'decimals'"]),
    (GENERATION, {'answers': ['a', 'b']}, ["'answers'"]),
    (CLASSIFICATION, {'label': None}, ['missing', 'label']),
    (CLASSIFICATION, {'answers': None}, ['missing', 'answers']),
    (CLASSIFICATION, {'kind': None}, ['kind', 'generation']),
    (CLASSIFICATION, {'kind': 'clasification'}, ["did you mean 'classification'"]),
    (CLASSIFICATION, {'name': 3}, ['name', 'wrong type']),
    (CLASSIFICATION, {'name': '../x'}, ['name', "'../x'"]),
    (CLASSIFICATION, {'name': 'sst2'}, ['task of that name', 'sst2']),
    (CLASSIFICATION, {'template': 'review: {text'}, ['template', 'brace']),
    (CLASSIFICATION, {'template': 'review: text}'}, ['template', 'brace']),
    (CLASSIFICATION, {'template': 'review: {}'}, ['template', '{}']),
    (CLASSIFICATION, {'template': 'review: {text:>9}'}, ['template', '{text...}']),
    (CLASSIFICATION, {'template': 'review: {text!r}'}, ['template', '{text...}']),
    (CLASSIFICATION, {'template': 'review: {{text}}'}, ['template', 'no column']),
    (CLASSIFICATION, {'template': 'review: {text} {stars}'}, ['tells the answer', '{stars}']),
    (CLASSIFICATION, {'template': 'review: {label}'}, ['called label', 'rename']),
    (CLASSIFICATION, {'answers': {'1': 'bad', '2': 'bad'}}, ['answers', "'bad': twice"]),
    (CLASSIFICATION, {'answers': {'1': 'bad', '2': ' good'}}, ['answers', 'white space']),
    (CLASSIFICATION, {'answers': {'1': 'bad', '2': ''}}, ['answers', 'empty']),
    (CLASSIFICATION, {'answers': {'1': 'bad', '2': 3}}, ['answers', 'expected a text']),
    (CLASSIFICATION, {'answers': {'1': 'bad'}}, ['nothing to choose']),
    (CLASSIFICATION, {'answers': ['bad', 3]}, ['answers', 'wrong type']),
    (CLASSIFICATION, {'metrics': ['acuracy']}, ["did you mean 'accuracy'"]),
    (CLASSIFICATION, {'metrics': ['bleu']}, ['metrics', 'bleu']),
    (CLASSIFICATION, {'metrics': ['f1'], 'answers': ['a', 'b', 'c']}, ['two answers']),
    (CLASSIFICATION, {'files': {'train': 'a.tsv'}}, ["no 'validation'"]),
    (CLASSIFICATION, {'files': FILES | {'dev': 'a.tsv'}}, ['files', "'dev'"]),
    (CLASSIFICATION, {'files': FILES | {'test': 3}}, ['files.test']),
    (CLASSIFICATION, {'files': FILES | {'test': 'a.tsv'}, 'split': 'small'}, ['leave split out']),
    (CLASSIFICATION, {'split': 'smal'}, ["did you mean 'small'"]),
    (CLASSIFICATION, {'may_be_empty': ['txt']}, ["did you mean 'text'"]),
    (CHOICE, {'choices': ['a', 'c']}, ['choices', "'c'"]),
    (CHOICE, {'choices': ['a', 'a']}, ['different']),
    (CHOICE, {'choices': ['a']}, ['nothing to choose']),
    (CHOICE, {'answers': ['1', '2', '3']}, ['one answer for each']),
    (REGRESSION, {'range': [5, 0]}, ['range']),
    (REGRESSION, {'range': [0]}, ['range']),
    (REGRESSION, {'range': [0, float('nan')]}, ['NaN']),
    (REGRESSION, {'decimals': 7}, ['decimals', '0 to 6']),
    (REGRESSION, {'decimals': None}, ['missing', 'decimals']),
  ],
)  # fmt: skip
def test_a_task_that_cannot_be_is_refused(task, changes, words, tmp_path):
  with pytest.raises(ConfigError) as error:
    own(tmp_path, task, **changes)
  told = str(error.value)
  assert all(word in told for word in words), told
  assert 'task.json' in error.value.where


@pytest.mark.parametrize(
  ('content', 'word'),
  [
    ('', 'Expecting value'),
    ('[1]', 'list'),
    ('{"name": "a", "name": "b"}', 'twice'),
    ('{"name": "a"', 'line 1 column 13'),
    ('[' * 100_000, 'recursion'),
    (b'{"name": "\xff"}', 'byte 10'),
  ],
)
def test_a_file_that_is_no_json_is_refused(content, word, tmp_path):
  content = content if isinstance(content, bytes) else content.encode()
  (tmp_path / 'task.json').write_bytes(content)
  with pytest.raises(ConfigError, match=word) as error:
    data.task_named(str(tmp_path))
  assert 'task.json' in error.value.where


def test_what_is_not_there_is_told(tmp_path):
  for path in (tmp_path, tmp_path / 'mine.json', 'absent/task.json'):
    with pytest.raises(ConfigError, match='no such task'):
      data.task_named(str(path))


def test_settings_that_say_it_twice_are_refused(tmp_path):
  mine = own(tmp_path, CLASSIFICATION)
  with pytest.raises(ConfigError, match='data.dir'):
    data.source_of(mine, tmp_path)
  with pytest.raises(ConfigError, match='data.style'):
    data.task_named(str(tmp_path), 't5')


@pytest.mark.parametrize(
  ('task', 'cells', 'problem'),
  [
    (CLASSIFICATION, {'stars': '1'}, 'text: missing'),
    (CLASSIFICATION, {'text': None, 'stars': '1'}, 'text: null'),
    (CLASSIFICATION, {'text': '', 'stars': '1'}, 'text: empty'),
    (CLASSIFICATION, {'text': 0.5, 'stars': '1'}, 'a text or a whole number, got float'),
    (CLASSIFICATION, {'text': True, 'stars': '1'}, 'a text or a whole number, got bool'),
    (CLASSIFICATION, {'text': ['a'], 'stars': '1'}, 'a text or a whole number, got list'),
    (CLASSIFICATION, {'text': 'a\0', 'stars': '1'}, 'text: holds a NUL'),
    (CLASSIFICATION, {'text': 'a\ud800', 'stars': '1'}, 'text: holds a lone surrogate'),
    (CLASSIFICATION, {'text': 'a'}, 'stars: missing'),
    (CLASSIFICATION, {'text': 'a', 'stars': None}, 'stars: null'),
    (CLASSIFICATION, {'text': 'a', 'stars': '3'}, "stars: expected one of 1, 2, got '3'"),
    (CLASSIFICATION, {'text': 'a', 'stars': 3}, 'stars: expected one of 1, 2, got 3'),
    (CLASSIFICATION, {'text': 'a', 'stars': 2.0}, 'stars: expected one of 1, 2, got 2.0'),
    (CLASSIFICATION, {'text': 'a', 'stars': True}, 'stars: expected one of 1, 2, got True'),
    (CLASSIFICATION, {'text': 'a', 'stars': '2 '}, "got '2 '; did you mean '2'?"),
    (CLASSIFICATION, {'text': 'a', 'stars': [1]}, 'stars: expected one of 1, 2, got [1]'),
    (CLASSIFICATION, {'text': 'a', 'stars': -1}, 'hidden labels'),
    (NUMBERED, {'text': 'a', 'stars': 'no'}, 'a list numbers its answers'),
    (CHOICE, CELLS['choice'] | {'right': 2}, 'right: expected one of 0, 1, A, a, B, b, got 2'),
    (CHOICE, CELLS['choice'] | {'right': 'C'}, 'right: expected one of'),
    (CHOICE, CELLS['choice'] | {'b': ''}, 'b: empty'),
    (REGRESSION, {'text': 'a', 'years': 99.6}, 'years: expected a number from 0 to 99.5, got 99.6'),
    (REGRESSION, {'text': 'a', 'years': -1}, 'years: expected a number'),
    (REGRESSION, {'text': 'a', 'years': '1_0'}, 'years: expected a number'),
    (REGRESSION, {'text': 'a', 'years': 'nan'}, 'years: expected a number'),
    (REGRESSION, {'text': 'a', 'years': ''}, 'years: expected a number'),
    (REGRESSION, {'text': 'a', 'years': '9e999'}, 'years: expected a number'),
    (REGRESSION, {'text': 'a', 'years': True}, 'years: expected a number'),
    (REGRESSION, {'text': 'a', 'years': None}, 'years: null'),
    (GENERATION, {'text': 'a', 'title': ''}, 'title: empty'),
    (GENERATION, {'text': 'a', 'title': []}, 'title: an empty list'),
    (GENERATION, {'text': 'a', 'title': ['b', '']}, 'title: empty'),
    (GENERATION, {'text': 'a', 'title': 3}, 'title: expected str, got int'),
    (GENERATION, {'text': 'a', 'title': 'a\ud800'}, 'title: holds a lone surrogate'),
  ],
)  # fmt: skip
def test_a_row_that_cannot_be_is_named(task, cells, problem, tmp_path):
  error = refused(tmp_path, task, CELLS[task['kind']], cells)
  assert error.where == f'{tmp_path / "train.jsonl"}:2'
  assert error.got.startswith('train.jsonl:2: ') and problem in error.got


@pytest.mark.parametrize(
  ('task', 'cells', 'target'),
  [
    (CLASSIFICATION, {'text': 'a', 'stars': 1}, 'bad'),
    (NUMBERED, {'text': 'a', 'stars': '1'}, 'yes'),
    (TRUTH, {'text': 'a', 'stars': True}, 'yes'),
    (CHOICE, CELLS['choice'] | {'right': 'b'}, 'B'),
    (CHOICE, CELLS['choice'] | {'right': '0'}, 'A'),
    (CHOICE | {'answers': ['one', 'two']}, CELLS['choice'] | {'right': 'B'}, 'two'),
    (CHOICE | {'answers': {'1': '1', '2': '2'}}, CELLS['choice'] | {'right': 1}, '1'),
    (REGRESSION, {'text': 'a', 'years': 3}, '3.0'),
    (REGRESSION, {'text': 'a', 'years': '1e1'}, '10.0'),
    (REGRESSION | {'range': [-1, 1]}, {'text': 'a', 'years': '-0.04'}, '0.0'),
    (REGRESSION | {'decimals': 0}, {'text': 'a', 'years': 71.6}, '72'),
    (GENERATION, {'text': 'a', 'title': 'b\nc'}, 'b\nc'),
  ],
)  # fmt: skip
def test_answers_in_every_spelling(task, cells, target, tmp_path):
  (example,) = examples(tmp_path, task, [cells])
  assert example.target == target


def test_whole_numbers_and_braces_are_texts(tmp_path):
  (example,) = examples(
    tmp_path, CLASSIFICATION, [{'a.b': 7, 'c': '{c}', 'stars': '1'}], template='{{{a.b}}} {c} {c}'
  )
  assert example.source == '{7} {c} {c}'


def test_columns_that_may_be_empty(tmp_path):
  changes = {'template': '{text} {more}', 'may_be_empty': ['more']}
  row = {'text': 'a', 'more': '', 'stars': '1'}
  assert examples(tmp_path, CLASSIFICATION, [row], **changes)[0].source == 'a '
  assert 'more: null' in refused(tmp_path, CLASSIFICATION, row | {'more': None}, **changes).got


def test_a_file_without_rows_is_refused(tmp_path):
  assert refused(tmp_path, CLASSIFICATION).what == 'The file has no rows.'
  mine = own(tmp_path, CLASSIFICATION, [CELLS['classification']])
  with pytest.raises(DataError, match='at least 2 rows'):  # to be halved
    data.splits_of(data.source_of(mine, ''), mine)


@pytest.mark.parametrize(
  ('content', 'word'),
  [
    (b'\xff\xfe{\0', 'not a text in UTF-8'),
    (b'{"text": "na\xefve", "stars": "1"}', 'byte 12'),
    (b'{"text": "a\0", "stars": "1"}', 'NUL at byte 11'),
    (b'{"text": "a\\ud800", "stars": "1"}', 'text: holds a lone surrogate'),
    (b'{"text": "a", "stars": "1", "text": "b"}', 'text: the key occurs twice'),
    (b'{"text": "a", "stars": NaN}', 'NaN'),
    (b'\n', 'Expecting value'),
  ],
)
def test_bytes_that_are_no_rows_are_refused(content, word, tmp_path):
  mine = own(tmp_path, CLASSIFICATION)
  (tmp_path / 'train.jsonl').write_bytes(content)
  with pytest.raises(DataError, match=word) as error:
    data.source_of(mine, '').rows('train')
  assert error.value.where == f'{tmp_path / "train.jsonl"}:1'


@pytest.mark.parametrize(
  'content',
  [
    b'\xef\xbb\xbf{"text": "a", "stars": "1"}',
    b'{"text": "a", "stars": "1"}\r\n',
    '{"text": "a\u2028b", "stars": "1"}\n'.encode(),
    b'{"text": "' + b'x' * 10**7 + b'", "stars": "1"}',
  ],
)
def test_odd_bytes_that_are_rows_are_read(content, tmp_path):
  mine = own(tmp_path, CLASSIFICATION)
  (tmp_path / 'train.jsonl').write_bytes(content)
  (row,) = data.source_of(mine, '').rows('train')
  assert row['label'] == 0 and row['text'] in ('a', 'a\u2028b', 'x' * 10**7)
