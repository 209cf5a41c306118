"""Few training rows: as published, balanced, as shots, and with a seed of their own."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compacter_jax.data.permutation import torch_permutation
from compacter_jax.data.protocols import PROTOCOLS
from compacter_jax.data.registry import TASKS
from compacter_jax.data.sampling import Pool, Sample
from compacter_jax.data.splits import splits_of
from compacter_jax.errors import ConfigError, DataError
from tests.data.test_splits import RECORDED, Lists, Numbers, numbers

SMALL, LARGE = TASKS['cola'], TASKS['sst2']


def drawn(task, train, validation, seed=42, protocol='paper', **sample):
  source = Numbers(train=train, validation=validation)
  return splits_of(source, task, protocol, seed, Sample(**sample))


def test_samples_are_the_first_rows_of_the_permutation():
  few = drawn(SMALL, 277, 408, max_train=5, max_validation=3, max_test=2)
  assert numbers(few.train) == RECORDED[277][:5]
  assert numbers(few.validation) == RECORDED[408][:3]
  assert numbers(few.test) == torch_permutation(408)[204:206].tolist()
  few = drawn(LARGE, 1500, 56, max_train=4, max_validation=6, max_test=7)
  assert numbers(few.train) == torch_permutation(1500)[1000:1004].tolist()
  assert numbers(few.validation) == RECORDED[1500][:6]
  assert numbers(few.test) == RECORDED[56][:7]


def test_a_cap_above_the_rows_takes_them_all_but_a_sample_is_no_cap():
  splits = drawn(SMALL, 5, 4, max_train=5, max_validation=100, max_test=100)
  assert sorted(numbers(splits.train)) == list(range(5))
  assert len(splits.validation) == len(splits.test) == 2
  with pytest.raises(DataError, match='at most 5') as raised:
    drawn(SMALL, 5, 4, max_train=6)
  assert 'max_train=0' in raised.value.fix
  with pytest.raises(DataError, match='at most 500'):  # what is held out does not train
    drawn(LARGE, 1500, 4, max_train=501)


@pytest.mark.parametrize('task', [SMALL, LARGE])
@pytest.mark.parametrize('sample', [{'max_train': 30}, {'max_train': 30, 'balanced': True}])
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_the_seed_of_a_sample_moves_training_rows_only(task, sample, protocol):
  published = drawn(task, 1200, 20, protocol=protocol, **sample)
  source = Numbers(train=1200, validation=20)
  explicit = splits_of(source, task, protocol, 42, Sample(**sample, seed=42))
  other = splits_of(source, task, protocol, 42, Sample(**sample, seed=1))
  assert numbers(published.train) == numbers(explicit.train)
  assert set(numbers(published.train)) != set(numbers(other.train))
  assert len(other.train) == 30
  whole = drawn(task, 1200, 20, protocol=protocol)
  assert set(numbers(other.train)) <= set(numbers(whole.train))
  for part in 'validation', 'test':
    assert getattr(other, part).told() == getattr(published, part).told()
  # The seed of the splits moves them too.
  moved = drawn(task, 1200, 20, seed=1, protocol=protocol, **sample)
  assert moved.validation.told() != published.validation.told()


@given(
  st.sampled_from(PROTOCOLS),
  st.sampled_from(['small', 'large', 'given']),
  st.integers(1020, 1060),
  st.integers(2, 40),
  st.integers(0, 2**32 - 1),
  st.fixed_dictionaries(
    {'max_test': st.integers(0, 9), 'seed': st.integers(-1, 2**32 - 1)},
    optional={'max_train': st.integers(0, 12), 'shots': st.integers(0, 3)},
  ),
)
def test_no_row_of_a_sample_is_in_two_parts(protocol, kind, train, validation, seed, sample):
  if sample.get('shots') and sample.get('max_train'):
    del sample['max_train']
  source = Numbers(train=train, validation=validation, test=5)
  task = dataclasses.replace(SMALL, split=kind)
  splits = splits_of(source, task, protocol, seed, Sample(**sample))
  again = splits_of(source, task, protocol, seed, Sample(**sample))
  rows = [(part.official, i) for part in splits.parts().values() for i in numbers(part)]
  assert len(rows) == len(set(rows))
  for part, same in zip(splits.parts().values(), again.parts().values()):
    assert part.told() == same.told() and part.indices.tolist() == numbers(part)


@given(st.integers(2, 60), st.data(), st.integers(0, 2**32 - 1), st.booleans())
def test_a_smaller_sample_is_part_of_a_larger_one(rows, data, seed, balanced):
  labels = data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
  pool = Pool(torch_permutation(rows, seed).tolist(), labels, 3, range(rows))
  taken, most = [], 0
  for n in range(1, rows + 2):
    try:
      more = pool.balanced(n) if balanced else pool.first(n)
    except DataError as error:
      most = n - 1
      assert not balanced or not most or f'max_train={most} is' in error.fix
      break
    assert len(more) == n == len(set(more)) and set(taken) <= set(more)
    counts = [labels[row] for row in more]
    if balanced:
      shares = [counts.count(label) for label in range(3)]
      assert shares == sorted(shares, reverse=True) and shares[0] - shares[2] <= 1
    taken = more
  # A row more could not be shared out, or there is none.
  least = min(labels.count(label) for label in range(3))
  first = next(label for label in range(3) if labels.count(label) == least)
  assert most == (3 * least + first if balanced else rows)


def test_a_label_that_has_too_few_rows_is_named():
  rows = [{'sentence': str(i), 'label': int(i < 7)} for i in range(30)]
  source = Lists(train=rows, validation=rows)
  with pytest.raises(DataError, match='Label 1 has too few') as raised:
    splits_of(source, SMALL, sample=Sample(max_train=20, balanced=True))
  assert (raised.value.expected, raised.value.got) == ('10 of 20 rows', '7')
  assert raised.value.fix == '--config.data.max_train=15 is the most that works'
  splits = splits_of(source, SMALL, sample=Sample(max_train=15, balanced=True))
  assert Counter(row['label'] for row in splits.train.rows) == {0: 8, 1: 7}


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('task', [SMALL, LARGE])
def test_shots_are_of_every_label_to_train_and_to_validate_on(task, protocol):
  whole = drawn(task, 1300, 20, protocol=protocol)
  splits = drawn(task, 1300, 20, protocol=protocol, shots=16)
  assert splits.test.told() == whole.test.told()
  for part in splits.train, splits.validation:
    assert part.official == 'train'
    assert Counter(row['label'] for row in part.rows) == {0: 16, 1: 16}
    assert set(numbers(part)) <= set(numbers(whole.train))
  assert not set(numbers(splits.train)) & set(numbers(splits.validation))
  few = drawn(task, 1300, 20, protocol=protocol, shots=4)
  assert set(numbers(few.train)) < set(numbers(splits.train))
  other = splits_of(
    Numbers(train=1300, validation=20), task, protocol, 42, Sample(shots=16, seed=5)
  )
  assert other.test.told() == whole.test.told()
  assert numbers(other.train) != numbers(splits.train)


def test_shots_without_labels_are_so_many_rows_in_all():
  rows = [{'sentence1': str(i), 'sentence2': 'b', 'label': i / 10} for i in range(30)]
  splits = splits_of(Lists(train=rows, validation=rows[:6]), TASKS['stsb'], sample=Sample(shots=8))
  assert [len(part) for part in splits.parts().values()] == [8, 8, 3]
  order = torch_permutation(30).tolist()
  assert splits.train.indices.tolist() == order[:8]
  assert splits.validation.indices.tolist() == order[8:16]
  with pytest.raises(ConfigError, match='no labels to balance'):
    splits_of(
      Lists(train=rows, validation=rows),
      TASKS['stsb'],
      sample=Sample(max_train=8, balanced=True),
    )
  with pytest.raises(DataError, match='shots=15 works'):
    splits_of(Lists(train=rows, validation=rows), TASKS['stsb'], sample=Sample(shots=16))


@given(
  st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=60),
  st.integers(1, 20),
  st.booleans(),
)
def test_too_many_shots_name_a_number_that_works(rows, k, grouped):
  labels, groups = zip(*rows)
  pool = Pool(range(len(rows)), labels, 2, groups if grouped else range(len(rows)))
  most = min(labels.count(0), labels.count(1)) // 2
  try:
    lists = pool.shots(k)
  except DataError as error:
    if not error.fix:
      return
    works = int(error.fix.partition('=')[2].split()[0])
    assert works < k and (grouped or works == most)
    lists, k = pool.shots(works), works
  assert all(Counter(labels[i] for i in rows) == {0: k, 1: k} for rows in lists)
  if grouped:
    assert not set.intersection(*({groups[i] for i in rows} for rows in lists))
  assert not set(lists[0]) & set(lists[1])
  assert k <= most


def test_shots_of_one_text_are_on_one_side_when_grouped():
  rows = [{'sentence': f'text {i // 2}', 'label': i % 2} for i in range(40)]
  source = Lists(train=rows, validation=[{'sentence': f'new {i}', 'label': 0} for i in range(4)])
  splits = splits_of(source, SMALL, 'grouped', sample=Sample(shots=5))
  texts = [{row['sentence'] for row in part.rows} for part in splits.parts().values()]
  assert len(set.union(*texts)) == sum(map(len, texts))
  assert [len(part) for part in splits.parts().values()] == [10, 10, 2]


@pytest.mark.parametrize(
  ('sample', 'word'),
  [
    ({'max_train': -1}, 'max_train'),
    ({'max_validation': -1}, 'max_validation'),
    ({'max_test': -1}, 'max_test'),
    ({'shots': -1}, 'shots'),
    ({'seed': -2}, 'sample_seed'),
    ({'seed': 2**32}, 'sample_seed'),
    ({'balanced': True}, 'max_train=N'),
    ({'balanced': True, 'shots': 3}, 'max_train=N'),
    ({'shots': 3, 'max_train': 2}, 'Shots say already'),
    ({'shots': 3, 'max_validation': 2}, 'Shots say already'),
  ],
)
def test_samples_that_cannot_be_are_refused_before_any_row_is_read(sample, word):
  with pytest.raises(ConfigError) as raised:
    Sample(**sample)
  assert word in str(raised.value)


@pytest.mark.parametrize('n', [100, 500, 1000, 2000, 4000])
def test_low_resource_sets_of_the_paper(n):
  task = dataclasses.replace(SMALL, split='small')
  assert numbers(drawn(task, 5749, 10, max_train=n).train) == torch_permutation(5749)[:n].tolist()
