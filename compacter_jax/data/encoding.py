"""Examples to ids, checked on the host against the lengths and the model that they are for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compacter_jax.data.ragged import Ragged
from compacter_jax.data.tasks import Example
from compacter_jax.data.tokenizer import Tokenizer
from compacter_jax.errors import ConfigError, DataError, WeightsError

PAD = 0
TARGET_STEP = 4  # target widths are multiples of it


@dataclass(frozen=True)
class Encoded:
  """A split as ids; each source and each target has its end of sequence.

  `references` are the target texts, `groups` those of the examples; `truncated` counts the sources
  that were cut to `max_source`, `truncated_targets` the targets that were cut.
  """

  sources: Ragged
  targets: Ragged
  references: list[str]
  groups: list[Any]
  max_source: int
  truncated: int
  truncated_targets: int = 0

  def __len__(self) -> int:
    return len(self.sources)

  @property
  def target_width(self) -> int:
    """Length of the longest target, rounded up: all batches of the split share it."""
    longest = int(self.targets.lengths.max())
    return -(-longest // TARGET_STEP) * TARGET_STEP

  @property
  def fingerprint(self) -> str:
    """SHA-256, in hex, of all ids in their order: rows, texts, tokenizer and truncation."""
    digest = hashlib.sha256()
    for texts in self.sources, self.targets:  # each text ends with the end of sequence
      digest.update(texts.ids.astype('<i4', copy=False).data)
    return digest.hexdigest()


def encode(
  examples: Sequence[Example],
  tokenizer: Tokenizer,
  max_source: int,
  max_target: int,
  vocab: int,
  allow_target_truncation: bool = False,
) -> Encoded:
  """Ids of all examples, for a model whose embedding has `vocab` rows.

  Sources longer than `max_source` ids are cut, keeping the end of sequence last; so are targets
  longer than `max_target` where that is allowed. Raises DataError for no examples or a target that
  may not be cut, WeightsError for an id that the model has no row for.
  """
  if not examples:
    raise DataError('There are no rows to encode.', expected='at least 1', got='0')
  _check_lengths(max_source, max_target)
  if tokenizer.pad_id != PAD:
    raise WeightsError(
      "The tokenizer's padding is not T5's.", expected=f'id {PAD}', got=str(tokenizer.pad_id)
    )
  sources = tokenizer.encode_all([example.source for example in examples])
  targets = _each_once([example.target for example in examples], tokenizer)
  if not allow_target_truncation:
    _check_targets(examples, targets, max_target)
  sources, truncated = _cut(sources, max_source, tokenizer.eos_id)
  targets, truncated_targets = _cut(targets, max_target, tokenizer.eos_id)
  split = Encoded(
    sources=Ragged.of(sources),
    targets=Ragged.of(targets),
    references=[example.reference for example in examples],
    groups=[example.group for example in examples],
    max_source=max_source,
    truncated=truncated,
    truncated_targets=truncated_targets,
  )
  check_ids(split, vocab)
  return split


def check_ids(split: Encoded, vocab: int) -> None:
  """Raises WeightsError for an id without a row of the embedding: a device would take another row.

  vocab: how many rows the embedding has.
  """
  ids = split.sources.ids, split.targets.ids
  lowest, highest = min(int(a.min()) for a in ids), max(int(a.max()) for a in ids)
  if lowest < 0 or highest >= vocab:
    raise WeightsError(
      'The tokenizer does not fit the model.',
      expected=f'ids from 0 to {vocab - 1}, the rows of the embedding',
      got=f'id {lowest if lowest < 0 else highest}',
      fix='use the tokenizer that the model was trained with',
    )


def _each_once(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
  """The ids of every text, each different text tokenised once: most targets are labels."""
  different = list(dict.fromkeys(texts))
  known = dict(zip(different, tokenizer.encode_all(different)))
  return [known[text] for text in texts]


def _cut(texts: list[list[int]], longest: int, eos: int) -> tuple[list[list[int]], int]:
  """The texts with none longer than that, the end of sequence still last; how many were cut."""
  cut = sum(len(ids) > longest for ids in texts)
  if cut:
    texts = [ids if len(ids) <= longest else [*ids[: longest - 1], eos] for ids in texts]
  return texts, cut


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
        fix='raise max_target, or have such targets cut by allow_target_truncation',
      )
