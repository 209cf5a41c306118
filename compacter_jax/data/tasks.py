"""The tasks: how a row becomes text, which answers exist, how it is split and scored.

Texts are those of the reference implementation (rabeehk/compacter): the pieces of a row joined by
single spaces, answers as digits. Its quirks are kept because the published numbers rest on them:
COPA is asked without its question, and STS-B is rounded to one decimal, not to steps of 0.2.
"""

import difflib
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from compacter_jax import metrics
from compacter_jax.data import wording
from compacter_jax.errors import ConfigError, DataError

Row = Mapping[str, Any]
STSB_RANGE = 0.0, 5.0


class Example(NamedTuple):
  """One row as text; `group` ties the rows that are scored together (MultiRC: its question)."""

  source: str
  target: str
  group: Hashable = None


@dataclass(frozen=True)
class Task:
  """A data set of the paper, or the generated one of `quickstart.py`.

  `prefix` is its key in the paper's tables and the leading word of the source where asked for.
  `columns` are the columns a row must have and their types; `label` comes on top. `labels` are the
  answers, None where the answer is a number. `split` is the paper's way of carving validation and
  test out of the official splits, see `splits.py`.
  """

  name: str
  prefix: str
  columns: Mapping[str, type]
  pieces: Callable[[Row], list[str]]
  labels: tuple[str, ...] | None
  split: Literal['small', 'large']
  metrics: tuple[metrics.Metric, ...]
  may_be_empty: tuple[str, ...] = ()
  group: Callable[[Row], Hashable] = lambda row: None


def example(task: Task, row: Row, prefix: bool) -> Example:
  """The row as source and target text; `prefix` puts the task's name in front of the source.

  Raises DataError if a column is missing or of a wrong type, or the label is none of the task's.
  """
  if problem := fault(task, row):
    raise DataError(f'A row of {task.name} cannot be used.', got=problem)
  source = ' '.join([task.prefix] * prefix + task.pieces(row))
  target = wording.one_decimal(row['label']) if task.labels is None else str(row['label'])
  return Example(source, target, task.group(row))


def fault(task: Task, row: Row) -> str:
  """What is wrong with the row, in one line that begins with the column; '' for a sound row."""
  for column, kind in task.columns.items():
    if column not in row:
      return f'{column}: missing'
    value = row[column]
    if not isinstance(value, kind) or isinstance(value, bool):
      return f'{column}: expected {kind.__name__}, got {type(value).__name__}'
    if kind is str and (problem := _text_fault(value, column in task.may_be_empty)):
      return f'{column}: {problem}'
  return _label_fault(task.labels, row)


def task_named(name: str) -> Task:
  """The task of that name.  Raises ConfigError, with the nearest name, if there is none."""
  if name in TASKS:
    return TASKS[name]
  known = {alias: task.name for task in TASKS.values() for alias in (task.name, task.prefix)}
  near = difflib.get_close_matches(str(name).lower(), known, n=1)
  raise ConfigError(
    f'There is no task {name!r}.',
    expected=', '.join(TASKS),
    fix=f'did you mean {known[near[0]]!r}?' if near else '',
  )


def _text_fault(text: str, may_be_empty: bool) -> str:
  if not (text.strip() or may_be_empty):
    return 'empty'
  if '\0' in text:
    return 'holds a NUL character'
  try:
    text.encode()
  except UnicodeEncodeError:  # JSON can spell half a surrogate pair, which is no text
    return 'holds a lone surrogate'
  return ''


def _label_fault(labels: tuple[str, ...] | None, row: Row) -> str:
  if row.get('label') is None:
    return 'label: missing; are these the rows of an unlabelled test split?'
  label = row['label']
  if labels is None:
    low, high = STSB_RANGE
    number = isinstance(label, int | float | np.number) and not isinstance(label, bool)
    fine = number and math.isfinite(label) and low <= label <= high
    return '' if fine else f'label: expected a number from {low} to {high}, got {label!r}'
  whole = isinstance(label, int | np.integer)  # not True: its text is no digit
  if whole and str(label) in labels:
    return ''
  hidden = '; -1 marks the rows of an unlabelled test split' if whole and label == -1 else ''
  return f'label: expected one of {", ".join(labels)}, got {label!r}{hidden}'


TASKS: dict[str, Task] = {
  task.name: task
  for task in (
    Task(
      name='sst2',
      prefix='sst2',
      columns={'sentence': str},
      pieces=wording.named('sentence'),
      labels=('0', '1'),
      split='large',
      metrics=(metrics.accuracy,),
    ),
    Task(
      name='cola',
      prefix='cola',
      columns={'sentence': str},
      pieces=wording.named('sentence'),
      labels=('0', '1'),
      split='small',
      metrics=(metrics.matthews,),
    ),
    Task(
      name='mrpc',
      prefix='mrpc',
      columns={'sentence1': str, 'sentence2': str},
      pieces=wording.named('sentence1', 'sentence2'),
      labels=('0', '1'),
      split='small',
      metrics=(metrics.f1_with_invalid, metrics.accuracy),
    ),
    Task(
      name='stsb',
      prefix='stsb',
      columns={'sentence1': str, 'sentence2': str},
      pieces=wording.named('sentence1', 'sentence2'),
      labels=None,
      split='small',
      metrics=(metrics.pearson, metrics.spearman),
    ),
    Task(
      name='boolq',
      prefix='superglue-boolq',
      columns={'question': str, 'passage': str},
      pieces=wording.named('question', 'passage'),
      labels=('0', '1'),
      split='small',
      metrics=(metrics.accuracy,),
    ),
    Task(
      name='copa',
      prefix='superglue-copa',
      columns={'premise': str, 'choice1': str, 'choice2': str},
      pieces=wording.named('premise', 'choice1', 'choice2'),
      labels=('0', '1'),
      split='small',
      metrics=(metrics.accuracy,),
    ),
    Task(
      name='multirc',
      prefix='superglue-multirc',
      columns={'paragraph': str, 'question': str, 'answer': str, 'idx': dict},
      pieces=wording.without_markup('question', 'answer', 'paragraph'),
      labels=('0', '1'),
      split='small',
      metrics=(metrics.f1_with_invalid, metrics.exact_match_by_group),
      may_be_empty=('answer',),  # three of the official training answers are
      group=lambda row: row['idx']['question'],
    ),
    Task(
      name='wsc',
      prefix='superglue-wsc.fixed',
      columns={
        'text': str,
        'span1_text': str,
        'span1_index': int,
        'span2_text': str,
        'span2_index': int,
      },
      pieces=wording.marked_spans,
      labels=('0', '1'),
      split='small',
      metrics=(metrics.accuracy,),
    ),
    Task(
      name='quickstart',
      prefix='quickstart',
      columns={'sentence': str},
      pieces=wording.named('sentence'),
      labels=('0', '1', '2', '3'),
      split='small',
      metrics=(metrics.accuracy,),
    ),
  )
}
