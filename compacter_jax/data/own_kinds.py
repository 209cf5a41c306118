"""What a task.json of each kind holds, and how the answers of its rows are read.

`own_task.py` reads the file itself. Each kind has its own keys; whatever cannot be is an error
before any row is read.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, ClassVar

from compacter_jax import generation_metrics, metrics, settings
from compacter_jax.data import formats
from compacter_jax.data.tasks import ANSWER, text_fault
from compacter_jax.data.template import Template
from compacter_jax.errors import ConfigError
from compacter_jax.metrics import Metric

PARTS = 'train', 'validation', 'test'
SPLITS = 'small', 'large'
_SENTINEL = r'<extra_id_(\d|[1-9]\d)>'
_TARGET = re.compile(rf'({_SENTINEL} ?)*{re.escape(ANSWER)}( ?{_SENTINEL})*')
_NAME = re.compile(r'[A-Za-z0-9][\w.-]*')
_NUMBER = re.compile(r'-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?')


@dataclass(frozen=True, kw_only=True)
class Kind:
  """What every task.json holds.

  Attributes:
    files: 'train', 'validation' and, if there is one, 'test' -> path, relative to the task.json.
    template: the source, with the names of columns in braces.
    target: what the model writes: `{answer}`, and around it sentinels (`<extra_id_0>`), as T5 was
      pretrained to fill the gaps of a source. Scores are of the answer alone.
    label: the column of what is right.
    metrics: names of METRICS; by default the first of them, of regression and generation two.
    may_be_empty: columns of the template that may be empty.
    split: how test rows are found without a file of them: 'small' halves validation, 'large' tests
      on it and validates on 1,000 training rows, both as published.
    shared: a column of the template that several rows may share, such as a paragraph; where splits
      are 'grouped', those rows are never in two parts. By default the whole text.
  """

  name: str
  files: dict
  template: str
  label: str
  metrics: tuple[str, ...] = ()
  may_be_empty: tuple[str, ...] = ()
  split: str = ''
  shared: str = ''
  target: str = ANSWER

  METRICS: ClassVar[dict[str, Metric]] = {}
  DEFAULTS: ClassVar[int] = 1

  def __post_init__(self):
    columns = Template(self.template).columns
    if not _NAME.fullmatch(self.name):
      raise ConfigError(
        'name cannot be a name.', expected='letters, digits, _ . and -', got=repr(self.name)
      )
    if not _TARGET.fullmatch(self.target):
      raise ConfigError(
        'The target cannot be written.',
        where='target',
        expected=f'{ANSWER} once, and around it nothing but sentinels: "<extra_id_0> {ANSWER}"',
        got=repr(self.target),
      )
    if self.label in columns:
      raise ConfigError(
        'The template tells the answer.',
        where='template',
        expected='other columns than the label',
        got=f'{{{self.label}}}',
      )
    if 'label' in columns:
      raise ConfigError(
        'A column of the template cannot be called label.',
        where='template',
        fix='that name is kept for what is right; rename the column in the files',
      )
    for column in self.may_be_empty:
      settings.choose('may_be_empty', column, columns)
    if self.shared:
      settings.choose('shared', self.shared, columns)
    for name in self.metrics:
      settings.choose('metrics', name, self.METRICS)
    self._check_files()

  def _check_files(self) -> None:
    for part, path in self.files.items():
      settings.choose('files', part, PARTS)
      if not isinstance(path, str) or not path:
        raise ConfigError(f'files.{part} is no path.', expected='str', got=repr(path))
    if missing := [part for part in PARTS[:2] if part not in self.files]:
      raise ConfigError(f'files has no {missing[0]!r}.', got=', '.join(self.files) or 'no files')
    if 'test' not in self.files:
      settings.choose('split', self.split or 'small', SPLITS)
    elif self.split:
      raise ConfigError(
        'split is for tasks without test rows.', got='a test file', fix='leave split out'
      )

  def asked(self) -> dict[str, Any]:
    """The fields of the task that are about what is right."""
    raise NotImplementedError

  def answer(self, cells: Mapping[str, Any]) -> dict[str, Any]:
    """The column of a task's row that holds what is right; raises Malformed."""
    raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Classification(Kind):
  """One of several texts; `answers`: what stands in the column -> what the model writes.

  A list of texts is for a column that numbers them from 0.
  """

  answers: dict | tuple[str, ...]

  METRICS = {
    'accuracy': metrics.accuracy,
    'f1': metrics.f1_with_invalid,
    'matthews': metrics.matthews,
  }

  def __post_init__(self):
    super().__post_init__()
    texts = self.texts
    if len(texts) < 2:
      raise ConfigError('There is nothing to choose.', where='answers', expected='2 or more')
    for text in texts:
      problem = text_fault(text) if isinstance(text, str) else 'expected a text'
      if not problem and text != text.strip():
        problem = 'white space around it, which scoring drops'
      if not problem and texts.count(text) > 1:
        problem = 'twice'
      if problem:
        raise ConfigError('An answer cannot be told.', where='answers', got=f'{text!r}: {problem}')
    if 'f1' in self.metrics and len(texts) != 2:
      raise ConfigError('f1 is for two answers.', where='metrics', got=f'{len(texts)} answers')

  @property
  def texts(self) -> tuple[Any, ...]:
    """What the model may write."""
    return tuple(self.answers.values()) if isinstance(self.answers, dict) else self.answers

  @property
  def numbers(self) -> dict[str, int]:
    """What may stand in the column -> the number of its answer."""
    keys = self.answers if isinstance(self.answers, dict) else map(str, range(len(self.texts)))
    return {key: number for number, key in enumerate(keys)}

  def asked(self) -> dict[str, Any]:
    """The answers are the task's labels."""
    return {'labels': self.texts}

  def answer(self, cells: Mapping[str, Any]) -> dict[str, Any]:
    """'label', the answer's number."""
    value, numbers = formats.cell(cells, self.label), self.numbers
    key = json.dumps(value) if isinstance(value, bool | int) else value
    if isinstance(key, str) and key in numbers:
      return {'label': numbers[key]}
    shown = ', '.join(formats.excerpt(key) for key in numbers)
    hint = settings.unknown('', str(key), numbers).fix
    if key == '-1':
      hint = '-1 marks hidden labels'
    elif key in self.texts:
      hint = 'a list numbers its answers from 0; write {"VALUE": "ANSWER", ...}'
    got = '; '.join([formats.excerpt(repr(value)), *[hint] * bool(hint)])
    raise formats.Malformed(f'{self.label}: expected one of {shown}, got {got}')


@dataclass(frozen=True, kw_only=True)
class Choice(Classification):
  """Which of the columns `choices` is right, each of which the template shows.

  The column says so by a number from 0 or a letter from A, and the model writes a letter, unless
  `answers` says otherwise.
  """

  choices: tuple[str, ...]
  answers: dict | tuple[str, ...] = ()

  def __post_init__(self):
    super().__post_init__()
    columns = Template(self.template).columns
    if len(set(self.choices)) != len(self.choices) or len(self.choices) > len(ascii_uppercase):
      raise ConfigError('choices are up to 26 different columns.', got=', '.join(self.choices))
    for column in self.choices:
      settings.choose('choices, which the template must show,', column, columns)
    if len(self.texts) != len(self.choices):
      raise ConfigError(
        'There is not one answer for each choice.',
        where='answers',
        expected=str(len(self.choices)),
        got=str(len(self.texts)),
      )

  @property
  def texts(self) -> tuple[Any, ...]:
    """What the model may write: letters, unless `answers` says otherwise."""
    return super().texts or tuple(ascii_uppercase[: len(self.choices)])

  @property
  def numbers(self) -> dict[str, int]:
    """What may stand in the column -> the number of its choice."""
    if isinstance(self.answers, dict):
      return super().numbers
    letters = zip(ascii_uppercase, range(len(self.choices)))
    return super().numbers | {key: i for upper, i in letters for key in (upper, upper.lower())}


@dataclass(frozen=True, kw_only=True)
class Regression(Kind):
  """A number of the `range` [lowest, highest], which the model writes with so many `decimals`."""

  decimals: int
  range: tuple[float, ...]

  METRICS = {'pearson': metrics.pearson, 'spearman': metrics.spearman}
  DEFAULTS = 2

  def __post_init__(self):
    super().__post_init__()
    settings.within('decimals', self.decimals, 0, 6)
    if len(self.range) != 2 or not self.range[0] < self.range[1]:
      raise ConfigError('range cannot be.', expected='[lowest, highest]', got=str(list(self.range)))

  def asked(self) -> dict[str, Any]:
    """Answers are numbers."""
    return {
      'labels': None,
      'answers': lambda row: [f'{row["label"]:.{self.decimals}f}'],
      'answer_fault': lambda row: '',  # `answer` has looked
    }

  def answer(self, cells: Mapping[str, Any]) -> dict[str, Any]:
    """'label', the number as the model is to write it."""
    value, (low, high) = formats.cell(cells, self.label), self.range
    number = float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
    if isinstance(number, bool | str) or not isinstance(number, int | float):
      number = math.nan
    if not low <= number <= high:
      got = formats.excerpt(repr(value))
      raise formats.Malformed(
        f'{self.label}: expected a number from {low:g} to {high:g}, got {got}'
      )
    return {'label': round(float(number), self.decimals) + 0.0}  # no '-0.0'


@dataclass(frozen=True, kw_only=True)
class Generation(Kind):
  """Free text. A column that holds lists has several right texts, of which the first is taught."""

  METRICS = generation_metrics.GENERATION
  DEFAULTS = 2

  def asked(self) -> dict[str, Any]:
    """Answers are free texts, all of which count in scoring."""
    return {
      'labels': (),
      'answers': lambda row: row['answers'][:1],
      'answer_fault': lambda row: '',
      'group': lambda row: tuple(row['answers']),
    }

  def answer(self, cells: Mapping[str, Any]) -> dict[str, Any]:
    """'answers', the right texts."""
    value = formats.cell(cells, self.label)
    texts = value if isinstance(value, list) else [value]
    if not texts:
      raise formats.Malformed(f'{self.label}: an empty list')
    for text in texts:
      problem = (
        text_fault(text) if isinstance(text, str) else f'expected str, got {type(text).__name__}'
      )
      if problem:
        raise formats.Malformed(f'{self.label}: {problem}')
    return {'answers': texts}


KINDS: dict[str, type[Kind]] = {
  'classification': Classification,
  'choice': Choice,
  'regression': Regression,
  'generation': Generation,
}
