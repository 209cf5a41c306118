import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compacter_jax.data.ragged import Ragged

TEXTS = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=6), min_size=1, max_size=8)


@given(TEXTS)
def test_texts_are_kept_as_they_are(texts):
  ragged = Ragged.of(texts)
  assert [ids.tolist() for ids in ragged] == texts
  assert [ragged[i].tolist() for i in range(-len(texts), 0)] == texts
  assert ragged.lengths.tolist() == [len(ids) for ids in texts]
  assert len(ragged) == len(texts)
  assert all(ids.dtype == np.int32 for ids in ragged)


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=8))
def test_texts_that_have_an_id_are_found(texts):
  want = [i for i, ids in enumerate(texts) if 2 in ids]
  assert Ragged.of(texts).rows_with(2).tolist() == want


def test_rows_are_views_that_nobody_changes():
  ragged = Ragged.of([[1, 2], [3]])
  assert np.shares_memory(ragged[0], ragged.ids)
  with pytest.raises(ValueError, match='read-only'):
    ragged[0][:] = 0
  with pytest.raises(IndexError):
    ragged[2]


@pytest.mark.parametrize(
  ('ids', 'offsets'),
  [
    ([1, 2], [0, 1]),
    ([1, 2], [0, 3]),
    ([1, 2], [1, 2]),
    ([1, 2], [0, 2, 1, 2]),
    ([1, 2], []),
    ([[1, 2]], [0, 1]),
  ],
)
def test_offsets_that_do_not_fit_the_ids_are_refused(ids, offsets):
  with pytest.raises(ValueError, match='offsets'):
    Ragged(np.array(ids, np.int32), np.array(offsets, np.int64))
  with pytest.raises(ValueError, match='int64'):
    Ragged(np.array([1, 2]), np.array([0, 2]))
