import pytest

from compacter_jax.data.tasks import TASKS, Example, example, fault, task_named
from compacter_jax.data.wording import marked_spans, one_decimal
from compacter_jax.errors import ConfigError, DataError

WSC = {
  'text': 'Mark told Pete many lies. He should have been wiser.',
  'span1_text': 'Mark',
  'span1_index': 0,
  'span2_text': 'He',
  'span2_index': 5,
  'label': 0,
}

PAPER = [name for name in TASKS if name != 'quickstart']

# task, row, source without prefix, prefix, target
GOLDEN = [
  ('sst2', {'sentence': 'a fine film ', 'label': 1}, 'sentence: a fine film ', 'sst2', '1'),
  ('cola', {'sentence': 'Us love they.', 'label': 0}, 'sentence: Us love they.', 'cola', '0'),
  (
    'mrpc',
    {'sentence1': 'He said "no.', 'sentence2': 'No, he said.', 'label': 1},
    'sentence1: He said "no. sentence2: No, he said.',
    'mrpc',
    '1',
  ),
  (
    'stsb',
    {'sentence1': 'A dog.', 'sentence2': 'A cat.', 'label': 1.333},
    'sentence1: A dog. sentence2: A cat.',
    'stsb',
    '1.3',
  ),
  (
    'boolq',
    {'question': 'is it so', 'passage': 'It -- It is so.', 'label': 1},
    'question: is it so passage: It -- It is so.',
    'superglue-boolq',
    '1',
  ),
  (
    'copa',
    {
      'premise': 'The man turned on the faucet.',
      'choice1': 'The toilet filled.',
      'choice2': 'Water flowed.',
      'question': 'effect',
      'label': 1,
    },
    'premise: The man turned on the faucet. choice1: The toilet filled. choice2: Water flowed.',
    'superglue-copa',
    '1',
  ),
  (
    'multirc',
    {
      'paragraph': '<b>Sent 1: </b>It fell.<br>It broke.',
      'question': 'What <b>fell</b>?',
      'answer': '',
      'idx': {'paragraph': 3, 'question': 17, 'answer': 5},
      'label': 0,
    },
    'question: What fell? answer:  paragraph: Sent 1: It fell. It broke.',
    'superglue-multirc',
    '0',
  ),
  (
    'wsc',
    WSC,
    'text: * Mark * told Pete many lies. # He # should have been wiser.',
    'superglue-wsc.fixed',
    '0',
  ),
]


@pytest.mark.parametrize(('name', 'row', 'source', 'prefix', 'target'), GOLDEN)
def test_golden_texts(name, row, source, prefix, target):
  group = 17 if name == 'multirc' else None
  assert example(TASKS[name], row, prefix=False) == Example(source, target, group)
  assert example(TASKS[name], row, prefix=True) == Example(f'{prefix} {source}', target, group)


def test_every_task_has_a_golden_text():
  assert [name for name, *_ in GOLDEN] == PAPER


def test_protocols_and_metrics_are_the_published_ones():
  assert {name for name, task in TASKS.items() if task.split == 'large'} == {'sst2'}
  named = {name: [metric.__name__ for metric in TASKS[name].metrics] for name in PAPER}
  assert named == {
    **dict.fromkeys(('sst2', 'boolq', 'copa', 'wsc'), ['accuracy']),
    'cola': ['matthews'],
    'mrpc': ['f1_with_invalid', 'accuracy'],
    'stsb': ['pearson', 'spearman'],
    'multirc': ['f1_with_invalid', 'exact_match_by_group'],
  }


@pytest.mark.parametrize(
  ('score', 'text'),
  # 2.45 is a little more than that as a float32, 1.25 and 3.75 are ties and go to even.
  [
    (1.333, '1.3'),
    (2.5, '2.5'),
    (0, '0.0'),
    (5, '5.0'),
    (2.45, '2.5'),
    (1.25, '1.2'),
    (3.75, '3.8'),
  ],
)
def test_scores_have_one_decimal(score, text):
  assert one_decimal(score) == text


PARENTHESES = {'text': 'A (b) c', 'span1_text': '(b)', 'span1_index': 1}


@pytest.mark.parametrize(
  ('change', 'text'),
  [
    # a full stop at the word
    ({'span2_text': 'lies', 'span2_index': 4}, '* Mark * told Pete many # lies #. He should'),
    # the second span before the first
    (
      {'span1_text': 'He', 'span1_index': 5, 'span2_text': 'Mark', 'span2_index': 0},
      '# Mark # told Pete many lies. * He * should',
    ),
    # a span is no pattern
    (PARENTHESES | {'span2_text': 'c', 'span2_index': 2}, 'A * (b) * # c #'),
    # case and white space are as the sentence has them
    ({'span1_text': 'mark\ntold'}, '* Mark told * Pete many lies. # He # should'),
    # not at its word; overlapping the first; beyond the text
    ({'span1_index': 1}, 'Mark told Pete many lies. # He # should'),
    ({'span2_text': 'Mark told', 'span2_index': 0}, '* Mark * told Pete many lies. He should'),
    ({'span2_index': 99}, '* Mark * told Pete many lies. He should'),
  ],
)
def test_spans_are_marked_at_their_words(change, text):
  assert marked_spans(WSC | change)[1].startswith(text)


@pytest.mark.parametrize('name', PAPER)
def test_hidden_and_foreign_labels_are_refused(name):
  task, row = TASKS[name], next(row for n, row, *_ in GOLDEN if n == name)
  bad = [-1, 7, None, '1', True, float('nan')] + ([2.0, 1.0] if task.labels else [5.1])
  for label in bad:
    with pytest.raises(DataError, match='label'):
      example(task, row | {'label': label}, prefix=False)
  with pytest.raises(DataError, match='unlabelled'):
    example(task, {k: v for k, v in row.items() if k != 'label'}, prefix=False)


@pytest.mark.parametrize('name', PAPER)
def test_every_column_is_needed_and_typed(name):
  task, row = TASKS[name], next(row for n, row, *_ in GOLDEN if n == name)
  for column, kind in task.columns.items():
    assert fault(task, {k: v for k, v in row.items() if k != column}) == f'{column}: missing'
    assert fault(task, row | {column: 1.5}) == f'{column}: expected {kind.__name__}, got float'
    assert fault(task, row | {column: None}) == f'{column}: expected {kind.__name__}, got NoneType'
    if kind is str:
      assert fault(task, row | {column: 'a\0b'}) == f'{column}: holds a NUL character'
      assert fault(task, row | {column: 'a\ud800'}) == f'{column}: holds a lone surrogate'
      blank = '' if column == 'answer' else f'{column}: empty'
      assert fault(task, row | {column: ' '}) == blank
    if kind is int:
      assert fault(task, row | {column: True})


@pytest.mark.parametrize(
  ('typo', 'meant'),
  [('sst-2', 'sst2'), ('SST2', 'sst2'), ('superglue-copa', 'copa'), ('sts', 'stsb')],
)
def test_a_task_that_does_not_exist_is_guessed(typo, meant):
  with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
    task_named(typo)


def test_tasks_are_found_by_name():
  assert all(task_named(name).name == name for name in TASKS)
  with pytest.raises(ConfigError) as error:
    task_named('imagenet')
  assert 'did you mean' not in str(error.value)
  assert 'sst2' in str(error.value)
