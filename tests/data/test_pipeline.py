import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compacter_jax.data.encoding import encode
from compacter_jax.data.order import train_rows
from compacter_jax.data.pipeline import BATCHINGS, Batches, eval_batches, train_batches
from compacter_jax.data.tasks import Example
from compacter_jax.errors import ConfigError, StorageError
from tests.data.characters import Characters


def encoded(lengths, max_source=64, max_target=8, vocab=28, target='b'):
  examples = [Example('a' * n, target, group=i) for i, n in enumerate(lengths)]
  return encode(examples, Characters(), max_source, max_target, vocab)


def numbered(n):
  """Row i has a source of i + 1 letters, which says which row it is."""
  return encoded(range(1, n + 1), max_source=max(64, n + 1))


def rows_of(batch):
  return ((batch['source'] > 1).sum(1) - 1).tolist()


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


def test_rows_of_one_length_are_evaluated_in_their_order():
  lengths = [i % 3 for i in range(300)]  # sorts that are not stable still are for a few rows
  batches = eval_batches(encoded(lengths), 300)
  assert next(batches)['rows'].tolist() == sorted(range(300), key=lambda row: -lengths[row])


# Batchings, hosts and positions.


def packable(n=37):
  rng = np.random.default_rng(0)
  return encoded(rng.integers(0, 20, n), target='bc')


def texts_in(batch):
  """Every (source, target) of a batch, in any order."""
  out = []
  tables = [batch['source'], batch['target']]
  numbers = [batch.get(f'{name}_segments', table > 0) for name, table in zip(KEYS, tables)]
  for source, target, at, under in zip(*tables, *numbers):
    for segment in range(1, at.max() + 1):
      out.append((*source[at == segment], -1, *target[under == segment]))
  return sorted(out)


KEYS = 'source', 'target'


@pytest.mark.parametrize('batching', BATCHINGS)
def test_a_batch_holds_the_rows_of_its_step(batching):
  split = packable()
  batches = Batches(split, 8, 3, batching)
  for step in range(12):
    rows = batches.rows(step)
    want = sorted((*split.sources[row], -1, *split.targets[row]) for row in rows)
    assert texts_in(batches.batch(step)) == want
    if batching != 'bucketed':
      assert np.array_equal(rows, train_rows(37, 8, 3, step))


@pytest.mark.parametrize('batching', BATCHINGS)
def test_over_three_epochs_every_position_host_and_worker_count_gives_the_same(batching):
  split, size, steps = packable(), 8, 3 * 37 // 8 + 1
  batches = Batches(split, size, 1, batching, unit=4)
  whole = [batches.batch(step) for step in range(steps)]
  for start in range(steps):
    resumed = Batches(split, size, 1, batching, unit=4)
    step = resumed.resumed(json.loads(json.dumps(batches.position(start))))
    stream = resumed.stream(step, workers=start % 3 + 1)
    for want in whole[start:]:
      got = next(stream)
      assert want.keys() == got.keys()
      assert all(np.array_equal(want[key], got[key]) for key in want)
  for hosts in 2, 4:
    stream = batches.stream(1, host=hosts - 1, hosts=hosts)
    for key, table in next(stream).items():
      assert np.array_equal(table, whole[1][key][-len(table) :]) and len(table) * hosts == len(
        whole[1][key]
      )
    for step, want in enumerate(whole):
      parts = [batches.batch(step, host, hosts) for host in range(hosts)]
      assert all(np.array_equal(np.concatenate([p[k] for p in parts]), want[k]) for k in want)


@pytest.mark.parametrize('batching', ['bucketed', 'packed'])
def test_shapes_are_few_and_hold_what_is_planned(batching):
  rng = np.random.default_rng(1)
  split = encoded(rng.integers(0, 60, 800), target='bc')
  batches = Batches(split, 16, 0, batching)
  seen = {tuple(batches.batch(step)[k].shape for k in KEYS) for step in range(150)}
  assert 1 < len(seen) <= len(batches.shapes) <= 8
  for step in range(150):
    both = zip(KEYS, batches.shape(step))
    assert all(batches.batch(step)[k].shape == (batches.height, width) for k, width in both)
  padded = Batches(split, 16, 0)
  assert batches.useful(150) > 0.85 > padded.useful(150) + 0.2


def test_bucketed_rows_of_a_batch_are_of_like_length():
  split = encoded(np.random.default_rng(1).integers(0, 60, 800))
  spread = lambda batches: np.mean(
    [np.ptp(split.sources.lengths[batches.rows(step)]) for step in range(50)]
  )
  assert spread(Batches(split, 16, 0, 'bucketed')) < 0.1 * spread(Batches(split, 16, 0))


@pytest.mark.parametrize(
  'other',
  [
    {'seed': 2},
    {'batch_size': 4},
    {'batching': 'padded'},
    {'split': packable(36)},
  ],
)
def test_a_position_of_other_batches_is_refused(other):
  mine = {'split': packable(), 'batch_size': 8, 'seed': 1, 'batching': 'packed', 'unit': 1}
  position = Batches(**mine).position(3)
  assert Batches(**mine).resumed(position) == 3
  name = {'split': 'data'}.get(*other, *other)
  with pytest.raises(StorageError, match=name):
    Batches(**(mine | other)).resumed(position)


def test_other_devices_go_on_with_the_same_lines_where_they_can_share_them():
  args = packable(), 48, 1, 'packed'
  eight = Batches(*args, unit=8)
  position, lines = eight.position(3), eight.height
  for unit in 1, 2, 4, 8, 16, 5:
    batches = Batches(*args, unit=unit)
    assert batches.resumed(position) == 3
    assert batches.height % unit == 0 and (batches.height == lines) == (lines % unit == 0)
    assert texts_in(batches.batch(3)) == texts_in(eight.batch(3))
    assert batches.batch(3)['source'].shape[0] == batches.height
  assert Batches(*args).height != lines  # which it would have taken of itself


@pytest.mark.parametrize('batching', BATCHINGS)
def test_a_stream_ends_with_the_run(batching):
  batches = Batches(packable(), 8, 1, batching, total=7)
  assert len(list(batches.stream(4))) == 3


def test_an_unknown_batching_is_refused():
  with pytest.raises(ConfigError, match="did you mean 'packed'"):
    Batches(packable(), 8, 0, 'pack')
