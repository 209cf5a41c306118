"""Examples to batches of ids.

The order of training is a pure function of (seed, step), so that a run resumes at any step by its
number alone. A batch is as wide as its longest row, rounded up to one of few widths, because each
new shape costs a compilation.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compacter_jax.data.tasks import Example
from compacter_jax.data.tokenizer import Tokenizer
from compacter_jax.errors import ConfigError, DataError, WeightsError

Batch = dict[str, np.ndarray]

PAD = 0
WIDTHS = 16, 32, 48, 64, 96, 128, 192, 256, 384, 512
TARGET_STEP = 4  # target widths are multiples of it


@dataclass(frozen=True)
class Encoded:
  """A split as ids: int32 [S] per source and int32 [T] per target, each with its end of sequence.

  `references` are the target texts, `groups` those of the examples; `truncated` counts the sources
  that were cut to `max_source`.
  """

  sources: list[np.ndarray]
  targets: list[np.ndarray]
  references: list[str]
  groups: list[Any]
  max_source: int
  truncated: int

  def __len__(self) -> int:
    return len(self.sources)

  @property
  def target_width(self) -> int:
    """Length of the longest target, rounded up: all batches of the split share it."""
    return _rounded_up(max(map(len, self.targets)), TARGET_STEP)

  @property
  def fingerprint(self) -> str:
    """SHA-256, in hex, of all ids in their order: rows, texts, tokenizer and truncation."""
    digest = hashlib.sha256()
    for ids in (*self.sources, *self.targets):  # each ends with the end of sequence
      digest.update(ids.astype('<i4').tobytes())
    return digest.hexdigest()


def encode(
  examples: Sequence[Example],
  tokenizer: Tokenizer,
  max_source: int,
  max_target: int,
  vocab: int,
) -> Encoded:
  """Ids of all examples, for a model whose embedding has `vocab` rows.

  Sources longer than `max_source` ids are cut, keeping the end of sequence last; a target is never
  cut. Raises DataError for no examples or a target over `max_target`, WeightsError for an id that
  the model has no row for.
  """
  if not examples:
    raise DataError('There are no rows to encode.', expected='at least 1', got='0')
  _check_lengths(max_source, max_target)
  if tokenizer.pad_id != PAD:
    raise WeightsError(
      "The tokenizer's padding is not T5's.", expected=f'id {PAD}', got=str(tokenizer.pad_id)
    )
  sources = tokenizer.encode_all([example.source for example in examples])
  truncated = sum(len(ids) > max_source for ids in sources)
  sources = [
    ids if len(ids) <= max_source else [*ids[: max_source - 1], tokenizer.eos_id] for ids in sources
  ]
  targets = tokenizer.encode_all([example.target for example in examples])
  _check_targets(examples, targets, max_target)
  _check_ids([*sources, *targets], vocab)
  return Encoded(
    sources=[np.array(ids, np.int32) for ids in sources],
    targets=[np.array(ids, np.int32) for ids in targets],
    references=[example.target for example in examples],
    groups=[example.group for example in examples],
    max_source=max_source,
    truncated=truncated,
  )


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
  by_length = np.argsort([-len(ids) for ids in split.sources], kind='stable')
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
  sources = [split.sources[i] for i in rows]
  targets = [split.targets[i] for i in rows]
  width = bucket(max(map(len, sources)), edges)
  return {
    'source': _padded(sources, batch_size, width),
    'target': _padded(targets, batch_size, target_width),
  }


def _padded(texts: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
  # Always a new array: on a CPU, JAX may go on reading the memory of a batch after the hand-over.
  table = np.full((height, width), PAD, np.int32)
  for line, ids in zip(table, texts):
    line[: len(ids)] = ids
  return table


def _rounded_up(length: int, step: int) -> int:
  return -(-length // step) * step


def _check_lengths(max_source: int, max_target: int) -> None:
  if max_source < 2 or max_target < 2:
    raise ConfigError(
      'A text needs room for one id and the end of sequence.',
      expected='lengths of at least 2',
      got=f'max_source {max_source}, max_target {max_target}',
    )


def _check_targets(
  examples: Sequence[Example], targets: Sequence[Sequence[int]], max_target: int
) -> None:
  for row, (example, ids) in enumerate(zip(examples, targets), 1):
    if len(ids) > max_target:
      raise DataError(
        'A target is too long.',
        where=f'row {row} of the split',
        expected=f'at most {max_target} ids with the end of sequence',
        got=f'{len(ids)} ids: {ascii(example.target[:80])}',
        fix='raise max_target; targets are never cut',
      )


def _check_ids(texts: Sequence[Sequence[int]], vocab: int) -> None:
  highest = max(map(max, texts))
  if highest >= vocab:
    raise WeightsError(
      'The tokenizer does not fit the model.',
      expected=f'ids below {vocab}, the rows of the embedding',
      got=f'id {highest}',
      fix='use the tokenizer that the model was trained with',
    )
