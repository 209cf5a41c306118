"""Splits to batches of ids.

The order of training is a pure function of (seed, step), so that a run resumes at any step by its
number alone. A batch is as wide as its longest row, rounded up to one of few widths, because each
new shape costs a compilation.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from compacter_jax.data.encoding import PAD, Encoded

Batch = dict[str, np.ndarray]

WIDTHS = 16, 32, 48, 64, 96, 128, 192, 256, 384, 512


def bucket(length: int, edges: Sequence[int]) -> int:
  """The smallest of the ascending `edges` that holds `length`."""
  return next(edge for edge in edges if edge >= length)


@functools.lru_cache(maxsize=4)  # a batch touches two epochs, and successive batches the same ones
def order(n: int, seed: int, epoch: int) -> np.ndarray:
  """The permutation of n rows in that epoch: int64 [n], a pure function of its arguments."""
  # Seed and epoch are separate words of the key: neighbouring seeds share no epochs.
  key = np.array([seed, epoch], np.uint64)
  permutation = np.random.Generator(np.random.Philox(key=key)).permutation(n)
  permutation.flags.writeable = False  # the cache hands out the same array again
  return permutation


def train_rows(n: int, batch_size: int, seed: int, step: int) -> np.ndarray:
  """Rows of the batch of that step, counted from 0: int64 [batch_size].

  The epochs' permutations are laid end to end and cut into batches, so that every epoch has every
  row once and every batch is full, even where n < batch_size.
  """
  start = step * batch_size
  epochs = range(start // n, (start + batch_size - 1) // n + 1)
  rows = np.concatenate([order(n, seed, epoch) for epoch in epochs])
  return rows[start - epochs[0] * n :][:batch_size]


def train_batches(
  split: Encoded, batch_size: int, seed: int, start_step: int = 0
) -> Iterator[Batch]:
  """Endless batches from `start_step` on: 'source' int32 [B,S], 'target' int32 [B,T].

  The rows are those of `train_rows`; PAD fills the ends.
  """
  edges, width = _edges(split.max_source), split.target_width
  n, step = len(split), start_step
  while True:
    rows = train_rows(n, batch_size, seed, step)
    yield _batch(split, rows, batch_size, edges, width)
    step += 1


def eval_batches(split: Encoded, batch_size: int) -> Iterator[Batch]:
  """Every row once, longest sources first: 'source', 'target' and 'rows' int64 [B].

  'rows' are indices into the split; -1 marks the empty rows that fill the last batch. The longest
  come first because a batch that does not fit into memory should say so at once.
  """
  edges, width = _edges(split.max_source), split.target_width
  by_length = np.argsort(-split.sources.lengths, kind='stable')
  for start in range(0, len(split), batch_size):
    rows = by_length[start : start + batch_size]
    batch = _batch(split, rows, batch_size, edges, width)
    filler = np.full(batch_size - len(rows), -1)
    yield batch | {'rows': np.concatenate([rows, filler])}


def _edges(max_source: int) -> list[int]:
  return [edge for edge in WIDTHS if edge < max_source] + [max_source]


def _batch(
  split: Encoded, rows: np.ndarray, batch_size: int, edges: Sequence[int], target_width: int
) -> Batch:
  # Always new arrays: on a CPU, JAX may go on reading the memory of a batch after the hand-over.
  width = bucket(int(split.sources.lengths[rows].max()), edges)
  return {
    'source': split.sources.padded(rows, batch_size, width, PAD),
    'target': split.targets.padded(rows, batch_size, target_width, PAD),
  }
