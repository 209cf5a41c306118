"""Which rows of the official splits train, validate and test: index lists, by three protocols.

The test answers of GLUE and SuperGLUE are not public, so something else must be tested on.

paper: as the paper's code has it, row for row. Small tasks halve the official validation rows.
  Large ones hold out 1,000 training rows for validation and test on the official validation rows.
official: every task is trained and validated on its official training rows and tested on all of its
  official validation rows. Held out for validation are 1,000 training rows, of a set below 10,000
  a tenth: to choose by the rows that are reported would flatter the choice.
grouped: the paper's, but rows of one group are never in two parts. Halves and held-out rows are
  whole groups, and rows of an earlier part are left out where a later one has their group.

A task with two official validation splits (MNLI) validates on the one and tests on the other; one
with official test rows that have answers takes all three as they are. A diagnostic set tests on its
own rows, after the training of another task.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import NamedTuple

from compacter_jax.data.permutation import torch_permutation
from compacter_jax.data.sources import Official
from compacter_jax.errors import DataError

Groups = Mapping[Official, Sequence[Hashable]]

PROTOCOLS = 'paper', 'official', 'grouped'
PARTS = 'train', 'validation', 'test'
HELD_OUT = 1_000  # training rows that become validation rows


class Taken(NamedTuple):
  """Rows of one official split by their numbers, counted from 0."""

  official: Official
  rows: list[int]


Cut = dict[str, Taken]

# By kind: what train, validation and test are taken from.
OFFICIALS: Mapping[str, tuple[Official, Official, Official]] = {
  'small': ('train', 'validation', 'validation'),
  'large': ('train', 'validation', 'validation'),
  'mnli': ('train', 'validation_mismatched', 'validation_matched'),
  'given': ('train', 'validation', 'test'),
}


def officials(kind: str, diagnostic: bool = False) -> tuple[Official, ...]:
  """The official splits that a cut of that kind takes rows of."""
  train, validation, test = OFFICIALS[kind]
  return tuple(dict.fromkeys((train, validation, 'test' if diagnostic else test)))


def cut(protocol: str, kind: str, groups: Groups, seed: int = 42, diagnostic: bool = False) -> Cut:
  """train, validation, test -> the official split they are cut from, and the rows taken of it.

  Rows stand in their own order where a whole split is taken, else in that of the permutation.

  Args:
    kind: the task's way to be split; of a diagnostic set, that of the task that trains for it.
    groups: by official split, the group of each of its rows; only 'grouped' looks at more than
      their number.
    diagnostic: whether the set only tests; its rows are those of the official 'test'.

  Raises DataError for too few rows or groups.
  """
  if protocol != 'grouped':
    groups = _each_its_own(groups)
  for name, rows in groups.items():
    _enough(name, len(rows), 1, 'to take rows of')
  train, validation, *_ = OFFICIALS[kind]
  test = officials(kind, diagnostic)[-1]
  if kind in ('mnli', 'given') or (diagnostic and protocol == 'official'):
    return _taken(groups, {}, validation, test)
  if kind == 'small' and protocol != 'official':
    return _halved(groups, seed, test)
  n = len(groups[train])
  held = HELD_OUT if protocol != 'official' else min(HELD_OUT, max(n // 10, 1))
  _enough('train', n, held + 1, f'of which {held} become validation rows')
  out, rest = divided(train, groups[train], held, seed, set(groups[test]))
  return _taken(groups, {'validation': out, 'train': rest}, train, test)


def divided(
  name: str, groups: Sequence[Hashable], first: int, seed: int, barred: Collection[Hashable] = ()
) -> tuple[list[int], list[int]]:
  """The rows of an official split in two lists of whole groups, in the permutation's order.

  Groups go to the first list in the order in which the permutation meets them, as long as it holds
  at most `first` rows; a group too large for the room that is left goes to the second, `barred`
  ones to neither. Raises DataError where a list would be empty.
  """
  order = [i for i in torch_permutation(len(groups), seed).tolist() if groups[i] not in barred]
  sizes = Counter(groups[i] for i in order)  # by the permutation's order of first rows
  chosen, room = set(), first
  for group, size in sizes.items():
    if size <= room:
      chosen.add(group)
      room -= size
  lists = [i for i in order if groups[i] in chosen], [i for i in order if groups[i] not in chosen]
  if not all(lists):
    raise DataError(
      f'The official {name} split cannot be divided between groups.',
      expected=f'2 groups, one of at most {first} of {len(order)} rows',
      got=f'{len(sizes)} groups, the smallest of {min(sizes.values(), default=0)} rows',
      fix='--config.data.splits=paper or official',
    )
  return lists


def _halved(groups: Groups, seed: int, test: Official) -> Cut:
  rows = groups['validation']
  _enough('validation', len(rows), 2, 'to be halved into validation and test')
  barred = set(groups[test]) if test != 'validation' else set()
  halves = divided('validation', rows, len(rows) // 2, seed, barred)
  lists = {'validation': halves[0]} | ({'test': halves[1]} if test == 'validation' else {})
  return _taken(groups, lists, 'validation', test)


def _taken(
  groups: Groups, lists: Mapping[str, list[int]], validation: Official, test: Official
) -> Cut:
  """The listed rows of each part, else all; without those whose group a later part has."""
  out: Cut = {}
  barred: set[Hashable] = set()
  sources: dict[str, Official] = {'test': test, 'validation': validation, 'train': 'train'}
  for part, name in sources.items():
    rows = [i for i in lists.get(part, range(len(groups[name]))) if groups[name][i] not in barred]
    if not rows:
      raise DataError(
        f'No {part} rows are left.',
        expected=f'rows of the official {name} split whose group no later part has',
        got=f'{len(groups[name])} rows, all of groups that are validated or tested on',
        fix='--config.data.splits=paper or official',
      )
    barred.update(groups[name][i] for i in rows)
    out[part] = Taken(name, rows)
  return {part: out[part] for part in PARTS}


def _each_its_own(groups: Groups) -> Groups:
  """Every row of every split as a group of its own."""
  starts, n = {}, 0
  for name, rows in groups.items():
    starts[name] = range(n, n + len(rows))
    n += len(rows)
  return starts


def _enough(name: str, n: int, least: int, why: str) -> None:
  if n < least:
    raise DataError(
      f'The official {name} split is too small.',
      expected=f'at least {least} rows, {why}',
      got=f'{n}',
    )
