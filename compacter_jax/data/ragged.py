"""Texts of different lengths as ids, in two arrays that may lie in a file."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np


@dataclass(frozen=True, eq=False)
class Ragged:
  """Text i is `ids[offsets[i] : offsets[i + 1]]`.

  Attributes:
    ids: int32 [total], of all texts one after the other; perhaps a memory map.
    offsets: int64 [n + 1], ascending from 0 to total.
  """

  ids: np.ndarray
  offsets: np.ndarray

  def __post_init__(self):
    ids, offsets = self.ids, self.offsets
    if (ids.dtype, ids.ndim, offsets.dtype, offsets.ndim) != (np.int32, 1, np.int64, 1):
      raise ValueError(f'ids of {ids.dtype}{ids.shape}, offsets of {offsets.dtype}{offsets.shape}')
    ends = (int(offsets[0]), int(offsets[-1])) if len(offsets) else ()
    if ends != (0, len(ids)) or np.any(self.lengths < 0):
      raise ValueError(f'the offsets do not cut {len(ids)} ids into texts')

  @classmethod
  def of(cls, texts: Sequence[Sequence[int]]) -> 'Ragged':
    """The ids of these texts, read-only as those of a file are."""
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=offsets[1:])
    all_ids: Iterable[int] = chain.from_iterable(texts)
    ids = np.fromiter(all_ids, np.int32, int(offsets[-1]))
    ids.flags.writeable = offsets.flags.writeable = False
    return cls(ids, offsets)

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def __getitem__(self, row: int) -> np.ndarray:
    row = range(len(self))[row]
    return self.ids[self.offsets[row] : self.offsets[row + 1]]

  def __iter__(self) -> Iterator[np.ndarray]:
    return map(self.__getitem__, range(len(self)))

  def rows_with(self, number: int) -> np.ndarray:
    """The texts that have that id: int64 [k], ascending."""
    at = np.flatnonzero(self.ids == number)
    return np.unique(np.searchsorted(self.offsets, at, 'right') - 1)

  @functools.cached_property
  def lengths(self) -> np.ndarray:
    """Ids of each text: int64 [n]."""
    return np.diff(self.offsets)
