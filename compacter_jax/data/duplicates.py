"""Rows that stand in two parts under different numbers, since the data set has them twice.

The official files have such rows; no protocol but 'grouped' takes them out.
"""

import itertools
from collections import defaultdict
from typing import Any

from compacter_jax.data.splits import Part, Splits
from compacter_jax.data.tasks import Row, Task, examples, subject, text


def duplicates(splits: Splits) -> dict[str, dict[str, int]]:
  """'train, test' and the like -> rows of the second that the first has too.

  'same': its text with the same answer. 'other': its text, with no answer but others. 'subject':
  what it is about, such as its paragraph; only of tasks that say what that is (`Task.shared`).
  """
  parts = splits.parts()
  seen = {name: _answers(part) for name, part in parts.items()}
  about = {name: {subject(part.task, row) for row in part.rows} for name, part in parts.items()}
  out = {}
  for first, second in itertools.combinations(parts, 2):
    part, known = parts[second], seen[first]
    counts = {'same': 0, 'other': 0}
    for row in part.rows:
      if answers := known.get(text(part.task, row)):
        counts['same' if _answer(part.task, row) in answers else 'other'] += 1
    if part.task.shared:
      counts['subject'] = sum(subject(part.task, row) in about[first] for row in part.rows)
    out[f'{first}, {second}'] = counts
  return out


def _answers(part: Part) -> dict[str, set[Any]]:
  """text -> the answers that it has in the part."""
  out = defaultdict(set)
  for row in part.rows:
    out[text(part.task, row)].add(_answer(part.task, row))
  return dict(out)


def _answer(task: Task, row: Row) -> frozenset[str]:
  return frozenset(example.target for example in examples(task, row, prefix=False))
