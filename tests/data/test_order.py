import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compacter_jax.data.order import WINDOW, Bucketed, order, train_rows


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


@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 9))
def test_buckets_take_the_same_rows_as_the_order(n, batch_size, seed):
  lengths = np.random.default_rng(n).integers(1, 40, n)
  buckets = Bucketed(lengths, batch_size, seed)
  assert 1 <= buckets.window <= WINDOW and buckets.window * batch_size <= max(n, batch_size)
  for window in range(2):
    steps = range(window * buckets.window, (window + 1) * buckets.window)
    rows = np.concatenate([buckets.rows(step) for step in steps])
    plain = np.concatenate([train_rows(n, batch_size, seed, step) for step in steps])
    assert sorted(rows) == sorted(plain)


def test_the_batches_of_a_window_come_in_no_order_of_length():
  lengths = np.arange(640)
  means = [lengths[Bucketed(lengths, 10, 0).rows(step)].mean() for step in range(64)]
  assert sorted(means) != means and abs(np.corrcoef(means, np.arange(64))[0, 1]) < 0.4


@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 90), st.integers(0, 9))
def test_buckets_of_a_run_hold_its_rows_and_no_others(n, batch_size, total, seed):
  lengths = np.random.default_rng(n).integers(1, 40, n)
  buckets = Bucketed(lengths, batch_size, seed, total)
  rows, plain = [], []
  for step in range(total):
    rows.extend(buckets.rows(step))
    plain.extend(train_rows(n, batch_size, seed, step))
  assert sorted(rows) == sorted(plain)
  with pytest.raises(IndexError):
    buckets.rows(total)
