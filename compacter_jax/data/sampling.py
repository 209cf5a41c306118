"""Few training rows: the first of a permutation, as many of each label, or K shots of each.

A sample is the first rows of a permutation, so that a smaller one is part of a larger one of the
same seed. A sample with a seed of its own leaves test rows as they are.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from compacter_jax.data.permutation import SEEDS
from compacter_jax.errors import ConfigError, DataError
from compacter_jax.settings import within

AS_PUBLISHED = -1  # in place of a seed


@dataclass(frozen=True)
class Sample:
  """How many rows are taken of each part; by default all.

  Attributes:
    max_train: so many training rows, no fewer; 0 takes all.
    max_validation, max_test: at most so many rows; 0 takes all.
    seed: of the permutation that training rows, and shots, are the first of; -1, as published,
      is the seed of the splits.
    balanced: whether the training rows have every label equally often. If their number does not
      divide by that of the labels, the first labels have one row more.
    shots: this many training rows of every label and as many other ones to validate on, all of them
      out of the training rows (Gao et al. 2021, arXiv:2012.15723); 0 for none. A task without
      labels has so many rows in all.
  """

  max_train: int = 0
  max_validation: int = 0
  max_test: int = 0
  seed: int = AS_PUBLISHED
  balanced: bool = False
  shots: int = 0

  def __post_init__(self):
    for field in 'max_train', 'max_validation', 'max_test', 'shots':
      within(field, getattr(self, field), 0)
    within('sample_seed', self.seed, AS_PUBLISHED, SEEDS - 1)
    if self.balanced and not self.max_train:
      raise ConfigError(
        'A balanced sample has no size.',
        where='balanced',
        expected='a number of training rows',
        got='data.max_train=0, which takes all',
        fix='--config.data.max_train=N',
      )
    for field in 'max_train', 'max_validation':
      if self.shots and getattr(self, field):
        raise ConfigError(
          'Shots say already how many rows are taken.',
          where=field,
          expected=f'0 beside data.shots={self.shots}',
          got=str(getattr(self, field)),
        )


@dataclass(frozen=True)
class Pool:
  """The training rows that a sample is drawn from.

  Attributes:
    order: their numbers; a sample takes the first of them.
    labels: the label of each row by its number, from 0 to `classes` - 1.
    classes: how many labels the task has; 0 if none, and then `labels` is not looked at.
    groups: the group of each row by its number; training and validation shots share none.
  """

  order: Sequence[int]
  labels: Sequence[int]
  classes: int
  groups: Sequence[Hashable]

  def first(self, n: int) -> list[int]:
    """The first n rows.  Raises DataError if there are fewer."""
    if n > len(self.order):
      raise DataError(
        'There are fewer training rows than are asked for.',
        where='data.max_train',
        expected=f'at most {len(self.order)}',
        got=str(n),
        fix='--config.data.max_train=0 takes all',
      )
    return list(self.order[:n])

  def balanced(self, n: int) -> list[int]:
    """n rows with every label equally often; what does not divide goes to the first labels.

    Raises ConfigError for a task without labels, DataError where a label has too few rows.
    """
    if not self.classes:
      raise ConfigError(
        'The task has no labels to balance.',
        where='balanced',
        fix='--config.data.balanced=False',
      )
    shares = {label: n // self.classes + (label < n % self.classes) for label in self._every}
    counts = self._counts(self.order)
    if short := [label for label in shares if counts[label] < shares[label]]:
      least = min(counts.values())
      # Before the first of the rarest labels, each may have one row more.
      most = self.classes * least + min(label for label in shares if counts[label] == least)
      raise DataError(
        f'Label {short[0]} has too few rows.',
        where='balanced',
        expected=f'{shares[short[0]]} of {n} rows',
        got=str(counts[short[0]]),
        fix=f'--config.data.max_train={most} is the most that works' if most else '',
      )
    return self._shared_out(self.order, shares)

  def shots(self, k: int) -> tuple[list[int], list[int]]:
    """k rows of every label to train on, and k others of every label to validate on.

    Raises DataError, with a k that works, where a label has too few rows.
    """
    lists, (reached, label) = self._shots(k)
    if reached == k:
      return lists
    counts = self._counts(self.order)
    works = min(counts.values()) // 2
    while (least := self._shots(works)[1][0]) < works:  # groups may leave fewer
      works = least
    raise DataError(
      'There are too few training rows for as many shots.',
      where='data.shots',
      expected=f'{k} to train and {k} to validate on' + f', of label {label}' * bool(self.classes),
      got=f'{counts[label]}' + f', {reached} for one of the two' * (counts[label] >= 2 * k),
      fix=f'--config.data.shots={works} works' if works else '',
    )

  def _shots(self, k: int) -> tuple[tuple[list[int], list[int]], tuple[int, int]]:
    """The two lists, and the fewest rows that a label has in one of them with that label."""
    shares = dict.fromkeys(self._every, k)
    train = self._shared_out(self.order, shares)
    taken = {self.groups[row] for row in train}
    others = [row for row in self.order if self.groups[row] not in taken]
    validation = self._shared_out(others, shares)
    counts = self._counts(train), self._counts(validation)
    return (train, validation), min((each[lb], lb) for each in counts for lb in self._every)

  @property
  def _every(self) -> range:
    return range(self.classes or 1)

  def _label(self, row: int) -> int:
    return self.labels[row] if self.classes else 0

  def _counts(self, rows: Sequence[int]) -> dict[int, int]:
    return dict.fromkeys(self._every, 0) | Counter(map(self._label, rows))

  def _shared_out(self, rows: Sequence[int], shares: Mapping[int, int]) -> list[int]:
    """The first rows of each label, as many as its share, in their order."""
    left, out = dict(shares), []
    for row in rows:
      if left[self._label(row)]:
        left[self._label(row)] -= 1
        out.append(row)
    return out
