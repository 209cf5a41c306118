"""Rows that a data set has twice, counted by hand."""

import dataclasses

from compacter_jax.data.duplicates import duplicates
from compacter_jax.data.protocols import PROTOCOLS
from compacter_jax.data.registry import TASKS
from compacter_jax.data.splits import splits_of
from tests.data.test_splits import Lists, multirc

A, B = {'sentence': 'a', 'label': 0}, {'sentence': ' a ', 'label': 1}
C, D = {'sentence': 'c', 'label': 0}, {'sentence': 'd', 'label': 1}


def counted(protocol='paper', **rows):
  task = dataclasses.replace(TASKS['cola'], split='given')
  return duplicates(splits_of(Lists(**rows), task, protocol))


def test_rows_are_counted_where_they_stand_a_second_time():
  assert counted(train=[A, A, C], validation=[A, B, D], test=[B, B, C, D]) == {
    'train, validation': {'same': 1, 'other': 1},
    'train, test': {'same': 1, 'other': 2},
    'validation, test': {'same': 3, 'other': 0},
  }


def test_a_text_with_both_answers_is_the_same():
  assert counted(train=[A, B], validation=[B], test=[D])['train, validation'] == {
    'same': 1,
    'other': 0,
  }


def test_nothing_stands_twice_where_rows_are_grouped():
  found = counted(
    'grouped', train=[A, A, C], validation=[A, B, D], test=[B, {'sentence': 'e', 'label': 0}]
  )
  assert {n for counts in found.values() for n in counts.values()} == {0}


def test_rows_about_the_same_are_counted_where_the_task_says_what_that_is():
  source = Lists(train=multirc(6, 2), validation=multirc(8, 2, at=1))
  paper, official, grouped = (duplicates(splits_of(source, TASKS['multirc'], p)) for p in PROTOCOLS)
  assert paper['validation, test']['subject'] == 4
  about = [paper[f'train, {part}']['subject'] for part in ('validation', 'test')]
  assert sum(about) == 4  # half of the validation rows are about the second paragraph
  assert official['train, test']['subject'] == 4
  assert {n for counts in grouped.values() for n in counts.values()} == {0}


def test_all_answers_of_a_row_are_one():
  rows = [
    {'passage': 'p', 'query': 'q', 'entities': ['A', 'B'], 'idx': {'query': 0}, 'answers': answers}
    for answers in (['A', 'B'], ['B', 'A'], ['A'])
  ]
  task = dataclasses.replace(TASKS['record'], split='given')
  found = duplicates(splits_of(Lists(train=rows[:1], validation=rows[1:], test=rows[2:]), task))
  assert found['train, validation'] == {'same': 1, 'other': 1, 'subject': 2}
  assert found['validation, test'] == {'same': 1, 'other': 0, 'subject': 1}
