"""The generated task: words that training never shows, in sentences that all kinds share."""

import re
from collections import Counter

from compacter_jax import data
from compacter_jax.data.quickstart import KINDS, ROWS, Quickstart, nouns


def words(row):
  return set(re.findall(r'\w+', row['sentence']))


def test_no_noun_is_in_two_kinds_or_twice():
  every = [word for kind in KINDS for word in kind]
  assert len(set(every)) == len(every)


def test_validation_rows_use_only_nouns_that_training_never_shows():
  rows = {split: Quickstart().rows(split) for split in ROWS}
  kinds = {word for kind in KINDS for word in kind}
  seen, new = ({w for row in rows[split] for w in words(row) & kinds} for split in ROWS)
  assert seen
  assert new
  assert not seen & new
  for split, known in nouns().items():
    for row in rows[split]:
      assert len(words(row) & set(known[row['label']])) == 4


def test_kinds_are_balanced_and_share_their_sentences():
  rows = Quickstart().rows('train')
  assert set(Counter(row['label'] for row in rows).values()) == {ROWS['train'] // len(KINDS)}
  kinds = {word for kind in KINDS for word in kind}
  around = {}
  for row in rows:
    around.setdefault(row['label'], set()).update(words(row) - kinds)
  assert around[0] == around[1] == around[2] == around[3]


def test_rows_are_a_function_of_the_seed():
  assert Quickstart(1).rows('train') == Quickstart(1).rows('train')
  assert Quickstart(1).rows('train') != Quickstart(2).rows('train')


def test_it_is_a_task_without_a_folder():
  task = data.task_named('quickstart')
  splits = data.splits_of(data.source_of(task, ''), task)
  assert [len(part) for part in splits.parts().values()] == [1600, 400, 400]
