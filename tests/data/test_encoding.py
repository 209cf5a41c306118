import hashlib

import numpy as np
import pytest

from compacter_jax.data.encoding import encode
from compacter_jax.data.tasks import Example
from compacter_jax.errors import ConfigError, DataError, WeightsError
from tests.data.characters import Characters


def test_ids_texts_and_groups_stay_together():
  split = encode([Example('ab', 'c', 7), Example('', 'dd', 8)], Characters(), 16, 16, 28)
  assert [ids.tolist() for ids in split.sources] == [[2, 3, 1], [1]]
  assert [ids.tolist() for ids in split.targets] == [[4, 1], [5, 5, 1]]
  assert split.references == ['c', 'dd'] and split.groups == [7, 8]
  assert len(split) == 2 and split.truncated == 0
  assert all(ids.dtype == np.int32 for ids in (*split.sources, *split.targets))


def test_long_sources_are_cut_before_the_end_of_sequence():
  texts = [Example('a' * n, 'b') for n in (8, 9, 10, 11)]  # 9, 10, 11 and 12 ids
  split = encode(texts, Characters(), 10, 8, 28)
  assert [len(ids) for ids in split.sources] == [9, 10, 10, 10]
  assert all(ids[-1] == 1 and 1 not in ids[:-1] for ids in split.sources)
  assert (split.truncated, split.truncated_targets) == (2, 0)


def test_long_targets_are_refused():
  encode([Example('a', 'bcd')], Characters(), 8, 4, 28)
  with pytest.raises(DataError, match='5 ids') as error:
    encode([Example('a', 'b'), Example('a', 'bcde')], Characters(), 8, 4, 28)
  assert error.value.where == 'row 2 of the split'


def test_long_targets_are_cut_before_the_end_of_sequence_where_that_is_allowed():
  texts = [Example('a', 'b' * n) for n in (2, 3, 4, 5)]  # 3, 4, 5 and 6 ids
  split = encode(texts, Characters(), 8, 4, 28, allow_target_truncation=True)
  assert [ids.tolist() for ids in split.targets] == [[3, 3, 1], *[[3, 3, 3, 1]] * 3]
  assert (split.truncated, split.truncated_targets) == (0, 2)
  assert split.references == ['bb', 'bbb', 'bbbb', 'bbbbb']  # what is scored against is whole
  assert split.target_width == 4


def test_an_id_without_a_row_of_the_model_is_refused():
  split = lambda vocab: encode([Example('a', 'y')], Characters(), 8, 4, vocab)
  split(27)  # 'y' is 26
  with pytest.raises(WeightsError, match='id 26'):
    split(26)
  assert encode([Example('aaay', 'a')], Characters(), 4, 4, 26).truncated  # the id is cut off
  with pytest.raises(WeightsError, match='id -1'):
    encode([Example('a^', 'b')], Characters(), 8, 4, 28)


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


def test_the_fingerprint_is_that_of_all_ids_one_after_the_other():
  # Files hold it: sources, then targets, as 32-bit integers, the lowest byte first.
  split = encode([Example('ab', 'c'), Example('', 'dd')], Characters(), 8, 4, 28)
  ids = np.array([2, 3, 1, 1, 4, 1, 5, 5, 1], '<i4')
  assert split.fingerprint == hashlib.sha256(ids.tobytes()).hexdigest()


def test_each_different_target_is_tokenised_once():
  asked = []

  class Counting(Characters):
    def encode(self, text):
      asked.append(text)
      return super().encode(text)

  split = encode([Example('x', t) for t in 'babba'], Counting(), 8, 4, 28)
  assert asked == ['x'] * 5 + ['b', 'a']
  assert [ids.tolist() for ids in split.targets] == [[3, 1], [2, 1], [3, 1], [3, 1], [2, 1]]
