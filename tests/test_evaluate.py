"""Evaluation: every row gets the text that was generated for it."""

from types import SimpleNamespace

import numpy as np
import pytest

from compacter_jax import data, evaluate, t5
from experiments import evaluation


@pytest.mark.parametrize('batch_size', [1, 3, 7, 8])
def test_each_row_gets_its_own_text(monkeypatch, batch_size):
  # A model that repeats the source: any mix-up of rows, and any row left out, shows.
  echo = lambda model, tuned, frozen, source, steps: source[:, :steps]
  monkeypatch.setattr(evaluate, '_generate', echo)
  tokenizer = data.load_tokenizer(t5.resolve('nano'))
  texts = ['one', 'two and two', 'three', 'four of them were there', 'five', 'six', 'seven of']
  examples = [data.Example(text, '1') for text in texts]
  split = data.encode(examples, tokenizer, max_source=16, max_target=4, vocab=8_192)
  args = None, None, None, split, tokenizer, batch_size, 16
  assert evaluate.predict(*args) == texts
  task = data.task_named('sst2')
  scores = evaluate.score(task, ['1'] * 6 + ['x'], split)
  np.testing.assert_allclose(scores['accuracy'], 600 / 7)
  assert scores['invalid'] == 1


def test_the_best_single_answer_may_be_a_rare_one():
  """Of MultiRC, whose F1 is that of the answers that are true."""
  task = data.task_named('multirc')
  answers = ['0'] * 6 + ['1'] * 4
  tokenizer = data.load_tokenizer(t5.resolve('nano'))
  examples = [data.Example('a text', answer, i) for i, answer in enumerate(answers)]
  rows = data.encode(examples, tokenizer, max_source=8, max_target=4, vocab=8_192)
  inputs = SimpleNamespace(task=task, splits={'test': rows, 'validation': rows})
  always = [evaluate.score(task, [each] * 10, rows)['average'] for each in ('0', '1')]
  assert always == pytest.approx([(0 + 60) / 2, (800 / 14 + 40) / 2])
  assert (
    evaluation.constant(inputs, 'test') == evaluation.constant(inputs, 'validation') == always[1]
  )
  assert evaluation.majority(inputs)['average'] == always[0]


def test_words_are_scored_as_the_labels_they_stand_for():
  task = data.task_named('mrpc', 't5')
  references = ['equivalent', 'not_equivalent', 'equivalent', 'equivalent']
  split = data.Encoded([], [], references, [None] * 4, 16, 0)
  scores = evaluate.score(task, ['equivalent', 'not_equivalent', 'not_equivalent', '1'], split)
  np.testing.assert_allclose([scores['f1'], scores['accuracy']], [50, 50])
  assert scores['invalid'] == 1


def test_as_many_ids_are_generated_as_any_label_needs():
  # No row of the split has the longer label; an output cut short would count as invalid.
  task = data.task_named('mrpc', 't5')
  tokenizer = data.load_tokenizer(t5.resolve('nano'))
  long, short = sorted((len(tokenizer.encode(label)) for label in task.labels), reverse=True)
  examples = [data.Example('a text', 'equivalent')]
  split = data.encode(examples, tokenizer, max_source=16, max_target=16, vocab=8_192)
  assert short <= split.target_width < long <= evaluate.limit(task, split, tokenizer)
  assert evaluate.limit(task, split, tokenizer, most=short) == split.target_width
  digits = data.encode([data.Example('a', '1')], tokenizer, 16, 16, 8_192)
  assert evaluate.limit(data.task_named('sst2'), digits, tokenizer) == digits.target_width
  free = data.encode([data.Example('a', 'Bob went home again')], tokenizer, 16, 16, 8_192)
  assert evaluate.limit(data.task_named('record'), free, tokenizer) == free.target_width
