import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compacter_jax.data.pipeline import (
  bucket,
  encode,
  eval_batches,
  order,
  train_batches,
  train_rows,
)
from compacter_jax.data.tasks import Example
from compacter_jax.errors import ConfigError, DataError, WeightsError


class Characters:
  """One id per character: 'a' is 2, 'b' is 3, ..."""

  vocab_size, pad_id, eos_id, fingerprint = 28, 0, 1, ''

  def encode(self, text):
    return [ord(c) - ord('a') + 2 for c in text] + [self.eos_id]

  def encode_all(self, texts):
    return [self.encode(text) for text in texts]

  def decode(self, ids):
    return ''.join(chr(i + ord('a') - 2) for i in ids if i > 1)


def encoded(lengths, max_source=64, max_target=8, vocab=28, target='b'):
  examples = [Example('a' * n, target, group=i) for i, n in enumerate(lengths)]
  return encode(examples, Characters(), max_source, max_target, vocab)


def numbered(n):
  """Row i has a source of i + 1 letters, which says which row it is."""
  return encoded(range(1, n + 1), max_source=max(64, n + 1))


def rows_of(batch):
  return ((batch['source'] > 1).sum(1) - 1).tolist()


def test_ids_texts_and_groups_stay_together():
  split = encode([Example('ab', 'c', 7), Example('', 'dd', 8)], Characters(), 16, 16, 28)
  assert [ids.tolist() for ids in split.sources] == [[2, 3, 1], [1]]
  assert [ids.tolist() for ids in split.targets] == [[4, 1], [5, 5, 1]]
  assert split.references == ['c', 'dd'] and split.groups == [7, 8]
  assert len(split) == 2 and split.truncated == 0
  assert all(ids.dtype == np.int32 for ids in split.sources + split.targets)


def test_long_sources_are_cut_before_the_end_of_sequence():
  split = encoded([8, 9, 10, 11], max_source=10)  # with it 9, 10, 11 and 12 ids
  assert [len(ids) for ids in split.sources] == [9, 10, 10, 10]
  assert all(ids[-1] == 1 and 1 not in ids[:-1] for ids in split.sources)
  assert split.truncated == 2


def test_long_targets_are_refused():
  encoded([1], max_target=4, target='bcd')
  with pytest.raises(DataError, match='5 ids') as error:
    encode([Example('a', 'b'), Example('a', 'bcde')], Characters(), 8, 4, 28)
  assert error.value.where == 'row 2 of the split'


def test_an_id_without_a_row_of_the_model_is_refused():
  split = lambda vocab: encode([Example('a', 'y')], Characters(), 8, 4, vocab)
  split(27)  # 'y' is 26
  with pytest.raises(WeightsError, match='id 26'):
    split(26)
  assert encode([Example('aaay', 'a')], Characters(), 4, 4, 26).truncated  # the id is cut off


def test_a_foreign_padding_is_refused():
  tokenizer = Characters()
  tokenizer.pad_id = 3
  with pytest.raises(WeightsError, match='padding'):
    encode([Example('a', 'b')], tokenizer, 8, 4, 28)


def test_an_empty_split_is_refused():
  with pytest.raises(DataError, match='no rows'):
    encode([], Characters(), 8, 4, 28)


@pytest.mark.parametrize(('source', 'target'), [(1, 8), (8, 1)])
def test_lengths_without_room_are_refused(source, target):
  with pytest.raises(ConfigError, match='room'):
    encode([Example('a', 'b')], Characters(), source, target, 28)


def test_the_fingerprint_sees_rows_order_and_borders():
  ids = lambda *sources: encode([Example(s, 'b') for s in sources], Characters(), 8, 4, 28)
  prints = {ids(*s).fingerprint for s in (['ab', 'c'], ['c', 'ab'], ['ab'], ['ab', 'c', 'c'])}
  assert len(prints) == 4
  assert ids('ab', 'c').fingerprint == ids('ab', 'c').fingerprint
  # Long enough to be cut: what is cut off is not seen by the model either.
  assert ids('aaaaaaaab').fingerprint == ids('aaaaaaaac').fingerprint


@pytest.mark.parametrize(('length', 'edge'), [(1, 16), (16, 16), (17, 32), (33, 40), (40, 40)])
def test_buckets(length, edge):
  assert bucket(length, [16, 32, 40]) == edge


def test_an_order_is_a_permutation_fixed_by_its_arguments():
  first = order(100, seed=1, epoch=2)
  assert sorted(first) == list(range(100))
  order.cache_clear()
  assert np.array_equal(first, order(100, seed=1, epoch=2))
  for seed, epoch in ((1, 3), (2, 2), (2, 1)):
    assert not np.array_equal(first, order(100, seed, epoch))
  with pytest.raises(ValueError, match='read-only'):
    first[0] = 1


def test_the_order_is_the_same_for_ever():
  # Recorded: a checkpoint's step means these rows, on every machine and in every release.
  assert order(8, seed=42, epoch=0).tolist() == RECORDED_ORDER
  assert train_rows(8, 3, 42, 2)[:2].tolist() == RECORDED_ORDER[6:]


RECORDED_ORDER = [7, 0, 4, 2, 1, 3, 5, 6]


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 99))
def test_every_epoch_has_every_row_once(n, batch_size, seed):
  steps = -(-3 * n // batch_size)
  stream = np.concatenate([train_rows(n, batch_size, seed, step) for step in range(steps)])
  assert len(stream) == steps * batch_size
  for epoch in range(3):
    assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))


@pytest.mark.parametrize('batch_size', [1, 3, 5, 12])
def test_training_resumes_exactly_at_any_step(batch_size):
  split = numbered(5)
  take = lambda start, n: list(itertools.islice(train_batches(split, batch_size, 9, start), n))
  whole = take(0, 20)
  for start in range(15):
    for resumed, batch in zip(take(start, 5), whole[start:]):
      assert np.array_equal(resumed['source'], batch['source'])
      assert np.array_equal(resumed['target'], batch['target'])


def test_training_batches_are_the_rows_of_their_step():
  split = numbered(7)
  for step, batch in enumerate(itertools.islice(train_batches(split, 3, seed=4), 10)):
    assert rows_of(batch) == train_rows(7, 3, 4, step).tolist()
    assert batch['source'].shape == (3, 16) and batch['target'].shape == (3, 4)
    assert batch['source'].dtype == batch['target'].dtype == np.int32


@pytest.mark.parametrize(
  ('lengths', 'max_source', 'width'),
  [
    ([15], 64, 16),
    ([16], 64, 32),
    ([1, 40], 64, 48),
    ([70], 64, 64),
    ([35], 40, 40),
    ([5], 10, 10),
  ],
)
def test_a_batch_is_as_wide_as_its_longest_row_needs(lengths, max_source, width):
  split = encoded(lengths, max_source)
  assert next(train_batches(split, 4, 0))['source'].shape == (4, width)
  assert next(eval_batches(split, 4))['source'].shape == (4, width)


@pytest.mark.parametrize(('target', 'width'), [('b', 4), ('bcd', 4), ('bcde', 8)])
def test_all_batches_of_a_split_have_targets_of_one_width(target, width):
  examples = [Example('a', 'b')] * 9 + [Example('a', target)]
  split = encode(examples, Characters(), 16, 8, 28)
  assert {batch['target'].shape for batch in eval_batches(split, 2)} == {(2, width)}


def test_batches_are_new_arrays():
  # On a CPU, JAX may still be reading a batch when the next one is made.
  batches = train_batches(numbered(4), 2, seed=0)
  first = next(batches)
  copy = first['source'].copy()
  first_again = next(train_batches(numbered(4), 2, seed=0))
  next(batches)['source'][:] = -1
  assert np.array_equal(first['source'], copy)
  first_again['source'][:] = -1
  assert np.array_equal(first['source'], copy)


@settings(deadline=None)
@given(st.lists(st.integers(0, 80), min_size=1, max_size=13), st.integers(1, 5))
def test_every_row_is_scored_exactly_once(lengths, batch_size):
  split = encoded(lengths)
  seen = []
  for batch in eval_batches(split, batch_size):
    assert batch['source'].shape[0] == batch['target'].shape[0] == batch_size
    for row, source, target in zip(batch['rows'], batch['source'], batch['target']):
      if row < 0:
        assert not source.any() and not target.any()
        continue
      seen.append(row)
      assert np.array_equal(source[source > 0], split.sources[row])
      assert np.array_equal(target[target > 0], split.targets[row])
  assert sorted(seen) == list(range(len(lengths)))


def test_evaluation_begins_with_the_longest_rows():
  batches = list(eval_batches(encoded([3, 50, 20, 51, 2, 19, 1]), 2))
  assert [batch['rows'].tolist() for batch in batches] == [[3, 1], [2, 5], [0, 4], [6, -1]]
  assert [batch['source'].shape[1] for batch in batches] == [64, 32, 16, 16]
