"""In which order rows are trained on: pure functions of the seed and the step.

So a run resumes at any step by its number alone, and hosts agree without a word.
"""

import functools

import numpy as np

WINDOW = 64  # batches that are sorted by length among each other


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


class Bucketed:
  """Batches of rows of like length: `train_rows`, sorted among up to `WINDOW` successive batches.

  The batches of a window come in a random order. A window is never longer than an epoch, and the
  last one ends with the run, so that a run sees the rows that `train_rows` gives it.
  """

  def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, total: int | None = None):
    """total: steps of the run, None for one without end."""
    self._lengths, self._size, self._seed, self._total = lengths, batch_size, seed, total
    self.window = min(WINDOW, max(len(lengths) // batch_size, 1))
    self._sorted = functools.lru_cache(maxsize=2)(self._sort)

  def rows(self, step: int) -> np.ndarray:
    """Rows of the batch of that step: int64 [batch_size].  Raises IndexError behind the last."""
    if self._total is not None and step >= self._total:
      raise IndexError(f'step {step} of a run of {self._total}')
    window, at = divmod(step, self.window)
    return self._sorted(window)[at]

  def _sort(self, window: int) -> np.ndarray:
    first = window * self.window
    count = self.window if self._total is None else min(self.window, self._total - first)
    steps = range(first, first + count)
    rows = np.concatenate(
      [train_rows(len(self._lengths), self._size, self._seed, s) for s in steps]
    )
    batches = rows[np.argsort(self._lengths[rows], kind='stable')].reshape(-1, self._size)
    key = np.array([self._seed, window], np.uint64)
    # Other numbers than `order` draws of the same key.
    random = np.random.Generator(np.random.Philox(key=key, counter=1 << 64))
    return batches[random.permutation(count)]
