"""Batches of chunks to pretrain on: pure functions of the seed and the step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compacter_jax.data.denoising import Denoising
from compacter_jax.data.encoding import PAD
from compacter_jax.data.order import train_rows
from compacter_jax.data.pipeline import Batch

# Other numbers than `order` draws of the same keys, and other ones for training than for dev.
TRAIN, DEV = 2 << 64, 3 << 64


@dataclass(frozen=True)
class Denoised:
  """Chunks to batches.

  Attributes:
    task: what becomes of a chunk. eos: the id that ends rows. top: the id of the first sentinel.
  """

  task: Denoising
  eos: int
  top: int

  def train(
    self, chunks: np.ndarray, size: int, seed: int, step: int, host: int = 0, hosts: int = 1
  ) -> Iterator[Batch]:
    """Endless batches of `size` chunks from that step on; every chunk once an epoch.

    The noise differs from step to step, hence from epoch to epoch.
    host: which of `hosts` equal parts of each batch is given.
    """
    while True:
      rows = chunks[train_rows(len(chunks), size, seed, step)]
      yield part(self._batch(rows, [seed, step], TRAIN), host, hosts)
      step += 1

  def dev(self, chunks: np.ndarray) -> Batch:
    """All chunks in one batch, corrupted alike in every run, whatever its seed and batches."""
    return self._batch(chunks, [0, 0], DEV)

  def _batch(self, chunks: np.ndarray, key: list[int], counter: int) -> Batch:
    random = np.random.Generator(np.random.Philox(key=np.array(key, np.uint64), counter=counter))
    return self.task.batch(chunks, random, self.eos, self.top)


def cut(batch: Batch, size: int, rows: int, unit: int = 1) -> Iterator[Batch]:
  """The first `rows` rows of a batch in batches of `size`, or of all its rows where it has fewer.

  Padding fills up the last one; it counts for no loss. unit: what they are multiples of, as `size`
  is.
  """
  size = min(size, -(-len(batch['source']) // unit) * unit)
  for start in range(0, min(rows, len(batch['source'])), size):
    piece = {name: ids[start : min(start + size, rows)] for name, ids in batch.items()}
    lacking = (0, size - len(piece['source'])), (0, 0)
    yield {name: np.pad(ids, lacking, constant_values=PAD) for name, ids in piece.items()}


def part(batch: Batch, host: int, hosts: int) -> Batch:
  """The rows that one of so many hosts gives."""
  size = len(batch['source']) // hosts
  return {name: ids[host * size : (host + 1) * size] for name, ids in batch.items()}
