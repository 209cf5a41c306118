"""A task: how a row becomes texts, which answers exist, how it is split and scored.

A source is the pieces of a row joined by single spaces; a target is the text of the row's answer.
Which texts these are is the task's style: see `registry.py`.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from compacter_jax import metrics
from compacter_jax.errors import ConfigError, DataError

Row = Mapping[str, Any]
STSB_RANGE = 0.0, 5.0
ANSWER = '{answer}'  # its place in a Task's target


class Example(NamedTuple):
  """One row as text.

  Attributes:
    target: what the model is to write. group: what scoring needs beside the texts (MultiRC: its
      question). answer: what is read from the target; None where that is all of it.
  """

  source: str
  target: str
  group: Hashable = None
  answer: str | None = None

  @property
  def reference(self) -> str:
    """What an output is compared with."""
    return self.target if self.answer is None else self.answer


@dataclass(frozen=True)
class Task:
  """A data set in one style of texts.

  Attributes:
    prefix: its key in the paper's tables, the leading word of the source where asked for; '' where
      the pieces hold it already.
    columns: the columns a row must have and their types; the answer comes on top.
    pieces: row -> the parts of its source.
    labels: the texts of the answers in the order of the integers in the column `label`; None where
      that is a number from 0 to 5; () where the answer is free text.
    split: how validation and test are carved out of the official splits, see `splits.py`.
    answers: row -> the texts of its answers, where they are not chosen from `labels`. Each makes an
      example of its own, as published (ReCoRD); `one_per_row` takes the first.
    answer_fault: row -> what is wrong with its answer, '' for nothing; where `labels` do not say.
    train_on: the task whose rows train, where this one is for testing only.
    teaches: row -> whether it may be trained on; the others are for evaluation only.
    shared: row -> what several rows are about, such as a paragraph; where splits are 'grouped',
      such rows are never in two parts. None is the row's whole text.
    target: what the model writes, with the answer's text for `{answer}`; the rest is sentinels,
      which decoding leaves out.
  """

  name: str
  prefix: str
  columns: Mapping[str, type]
  pieces: Callable[[Row], list[str]]
  labels: tuple[str, ...] | None
  split: Literal['small', 'large', 'mnli', 'diagnostic', 'given']
  metrics: tuple[metrics.Metric, ...]
  style: str = 'compacter'
  may_be_empty: tuple[str, ...] = ()
  group: Callable[[Row], Hashable] = lambda row: None
  answers: Callable[[Row], list[str]] | None = None
  answer_fault: Callable[[Row], str] | None = None
  train_on: str = ''
  teaches: Callable[[Row], bool] = lambda row: True
  shared: Callable[[Row], str] | None = None
  target: str = ANSWER

  def written(self, answer: str) -> str:
    """What the model writes for an answer."""
    return self.target.replace(ANSWER, answer)


def examples(task: Task, row: Row, prefix: bool) -> list[Example]:
  """The row as source and target texts; `prefix` puts the task's name in front of the source.

  Raises DataError if a column is missing or of a wrong type, or the label is none of the task's.
  """
  if problem := fault(task, row):
    raise DataError(f'A row of {task.name} cannot be used.', got=problem)
  source, group = question(task, row, prefix), task.group(row)
  if task.answers:
    answers = task.answers(row)
  elif task.labels:
    answers = [task.labels[row['label']]]
  else:
    raise ConfigError('A task needs labels or answers.', where=task.name, got='neither')
  if task.target == ANSWER:
    return [Example(source, answer, group) for answer in answers]
  return [Example(source, task.written(answer), group, answer) for answer in answers]


def question(task: Task, row: Row, prefix: bool) -> str:
  """The source text of a sound row, as `examples` has it."""
  return ' '.join([task.prefix] * bool(prefix and task.prefix) + task.pieces(row))


def example(task: Task, row: Row, prefix: bool) -> Example:
  """The first of `examples`: the only one of every task but ReCoRD."""
  return examples(task, row, prefix)[0]


def one_per_row(task: Task) -> Task:
  """The task with one example per row, of its first answer; the others only count in scoring."""
  answers = task.answers
  return dataclasses.replace(task, answers=lambda row: answers(row)[:1]) if answers else task


def text(task: Task, row: Row) -> str:
  """What the model reads of the row but for its task's name, each white space as one space."""
  return ' '.join(' '.join(task.pieces(row)).split())


def subject(task: Task, row: Row) -> str:
  """What the row is about, as the task's `shared` has it."""
  return task.shared(row) if task.shared else text(task, row)


def fault(task: Task, row: Row, labelled: bool = True) -> str:
  """What is wrong with the row, in one line that begins with the column; '' for a sound row.

  labelled: whether the row must have an answer; those of official test files have none.
  """
  for column, kind in task.columns.items():
    if column not in row:
      return f'{column}: missing'
    value = row[column]
    if not isinstance(value, kind) or isinstance(value, bool):
      return f'{column}: expected {kind.__name__}, got {type(value).__name__}'
    if kind is str and (problem := text_fault(value, column in task.may_be_empty)):
      return f'{column}: {problem}'
  if not labelled:
    return ''
  return task.answer_fault(row) if task.answer_fault else _label_fault(task.labels, row)


def hidden(row: Row) -> bool:
  """Whether the row's answer is not public, as in official test files."""
  return row.get('label') in (None, -1) and not row.get('answers')


def text_fault(text: str, may_be_empty: bool = False) -> str:
  """What is wrong with a text; '' for nothing."""
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
    fine, wanted = number and low <= label <= high, f'a number from {low} to {high}'
  else:
    whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
    fine = whole and 0 <= label < len(labels)
    wanted = f'one of {", ".join(map(str, range(len(labels))))}'
  hint = '; -1 marks the rows of an unlabelled test split' if label == -1 else ''
  return '' if fine else f'label: expected {wanted}, got {label!r}{hint}'
