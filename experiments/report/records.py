"""What a suite of runs has left, as one JSON file: read strictly, written one run a line."""

import collections
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compacter_jax import settings, tensor_file
from compacter_jax.errors import ConfigError, DataError

SEARCH, OPTIONS, FINAL, LOW = 'search', 'options', 'final', 'low_resource'
RANDOM_SEARCH, RANDOM = 'random_search', 'random_base'
PARTS = SEARCH, OPTIONS, FINAL, LOW, RANDOM_SEARCH, RANDOM
TOLD = SEARCH, FINAL, LOW, RANDOM  # on the page; of the others it tells what was chosen
LISTS = 'rows', 'tasks', 'runs'


@dataclass(frozen=True)
class Base:
  """The pretrained model that all runs start from."""

  parameters: int
  fingerprint: str


@dataclass(frozen=True)
class Row:
  """A method.

  Attributes:
    trained, percent: parameters that it trains, and their share of the base's.
    file_bytes: what it stores for one task. rate: the learning rate chosen by the search.
    time, memory: of a training step, as parts of full fine-tuning's. None is unknown so far.
    options: what was picked for a task, by its name, where something was.
  """

  name: str
  title: str
  trained: int
  percent: float
  file_bytes: int | None = None
  rate: float | None = None
  time: float | None = None
  memory: float | None = None
  options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
  """A task with the rows in its parts.

  Attributes:
    constant: what the best single answer scores on test rows, given to all of them.
    constant_validation: what the best one scores on validation rows; None is unknown.
  """

  name: str
  title: str
  metric: str
  train: int
  validation: int
  test: int
  constant: float
  constant_validation: float | None = None


@dataclass(frozen=True)
class Run:
  """One training run; all scores are in percent.

  Attributes:
    part: one of PARTS. row, task: names. train_rows: how many rows it trained on.
    validation, test: averages of the task's metrics; None where the run failed, and `test` also
      where a search has not looked at it. scores: each metric on test rows.
    invalid: outputs on test rows that are no answer. seconds: how long it took.
    curve: (step, validation average), by step. failed: why it ended early.
    job: a hash of its settings. Runs of two parts that have the same were made once.
    code: a hash of the program that made it.
  """

  part: str
  row: str
  task: str
  seed: int
  rate: float
  train_rows: int
  steps: int
  validation: float | None
  test: float | None
  scores: dict | None = None
  invalid: int | None = None
  seconds: float | None = None
  curve: tuple[tuple[float, ...], ...] = ()
  failed: str | None = None
  job: str | None = None
  code: str | None = None

  def __post_init__(self) -> None:
    settings.choose('part', self.part, PARTS)
    if any(len(point) != 2 or point[0] != int(point[0]) for point in self.curve):
      raise ConfigError('This curve is none.', where='curve', expected='[[step, score], ...]')
    points = tuple((int(step), score) for step, score in self.curve)
    if [step for step, _ in points] != sorted({step for step, _ in points}):
      raise ConfigError('The steps of a curve do not rise.', where='curve', got=str(points)[:200])
    object.__setattr__(self, 'curve', points)
    _numbers('scores', self.scores or {})
    searches = self.part in (SEARCH, OPTIONS, RANDOM_SEARCH)
    needed = [] if self.failed else ['validation'] if searches else ['test']
    if absent := [name for name in needed if getattr(self, name) is None]:
      raise ConfigError(
        'A run has neither a score nor a reason why it failed.',
        where=absent[0],
        expected='a number, or `failed`',
        got='null',
      )
    if self.failed and (self.validation, self.test, self.scores) != (None, None, None):
      raise ConfigError('A run that failed has scores.', expected='null', got=repr(self.test))

  @property
  def key(self) -> tuple[Any, ...]:
    """What no other run has: a second one would count twice."""
    rate = (self.rate,)
    own = {SEARCH: rate, RANDOM_SEARCH: rate, OPTIONS: (self.job,), LOW: (self.train_rows,)}
    own = own.get(self.part, ())
    return (self.part, self.row, self.task, self.seed, *own)


@dataclass(frozen=True)
class Records:
  """Everything that a page tells of, finished or not.

  Attributes:
    command: what makes the runs. rows, tasks: in the order in which they are shown.
    planned: how many runs each part is to have, where that is known. seeds: of those that count.
    step: of which `time` and `memory` of the rows are. setup: settings
      that differ from the published ones: their values in these runs and there, for people.
    absent: titles of tasks that are planned and of which there is no run yet.
    few: how runs on few rows are made, as a sentence.
  """

  suite: str
  model: str
  base: Base
  command: str
  device: str
  versions: dict
  rows: tuple[Row, ...]
  tasks: tuple[Task, ...]
  runs: tuple[Run, ...]
  planned: dict = field(default_factory=dict)
  seeds: tuple[int, ...] = ()
  step: str = ''
  setup: dict = field(default_factory=dict)
  absent: tuple[str, ...] = ()
  few: str = ''

  def __post_init__(self) -> None:
    names = {}
    for kind, each in (('rows', self.rows), ('tasks', self.tasks)):
      names[kind] = _unique(kind, [one.name for one in each])
    for run in self.runs:
      settings.choose('row of a run', run.row, names['rows'])
      settings.choose('task of a run', run.task, names['tasks'])
    _unique('runs', [run.key for run in self.runs])
    _numbers('planned', self.planned)
    for part in self.planned:
      settings.choose('part', part, PARTS)
    if not all(isinstance(text, str) for text in self.versions.values()):
      raise ConfigError('A version is no text.', where='versions', got=repr(self.versions))

  def of(self, part: str) -> list[Run]:
    """The runs of one part, failed ones as well."""
    return [run for run in self.runs if run.part == part]


def parse(values: Any, where: str = 'records') -> Records:
  """Records of plain JSON values; raises ConfigError with the place of what is wrong."""
  if not isinstance(values, Mapping):
    got = type(values).__name__
    raise ConfigError('These are no records.', where=where, expected='an object', got=got)
  values = dict(values)
  for name, cls in zip(LISTS, (Row, Task, Run)):
    if isinstance(values.get(name), list | tuple):
      places = enumerate(values[name])
      values[name] = [_built(cls, one, f'{where}.{name}[{i}]') for i, one in places]
  if 'base' in values:
    values['base'] = _built(Base, values['base'], f'{where}.base')
  return _built(Records, values, where)


def read(path: Path) -> Records:
  """The records in a file; raises DataError that says what is wrong with it, and where."""
  try:
    values = json.loads(path.read_text(encoding='utf-8'), object_pairs_hook=_object)
  except OSError as error:
    raise DataError('The records cannot be read.', where=str(path), got=str(error)) from error
  except (ValueError, RecursionError) as error:
    raise DataError('The records are damaged.', where=str(path), got=str(error)[:300]) from error
  try:
    return parse(values)
  except ConfigError as error:
    raise DataError(
      f'The records are wrong: {error.what}',
      where=f'{path}: {error.where}',
      expected=error.expected,
      got=error.got,
      fix=error.fix,
    ) from error


def write(path: Path, records: Records) -> None:
  """Writes the file, all of it or nothing; raises ConfigError for what `read` would refuse."""
  values = json.loads(json.dumps(dataclasses.asdict(parse(dataclasses.asdict(records)))))
  line = lambda value: json.dumps(value, ensure_ascii=False)
  parts = []
  for name, value in values.items():
    text = line(value)
    if name in LISTS and value:
      text = '[\n' + ',\n'.join(f'  {line(each)}' for each in value) + '\n ]'
    parts.append(f' "{name}": {text}')
  with tensor_file.atomic(path) as file:
    file.write(('{\n' + ',\n'.join(parts) + '\n}\n').encode())


def fingerprint(records: Records) -> str:
  """Of all values, whatever the layout of the file."""
  text = json.dumps(dataclasses.asdict(records), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _built(cls: type, values: Any, where: str) -> Any:
  if not isinstance(values, Mapping):
    got = type(values).__name__
    raise ConfigError('This is no object.', where=where, expected=cls.__name__, got=got)
  try:
    return settings.build(cls, values, where)
  except ConfigError as error:
    if error.where.startswith(where):
      raise
    inner = f'{where}.{error.where}' if error.where else where
    parts = {'expected': error.expected, 'got': error.got, 'fix': error.fix}
    raise ConfigError(error.what, where=inner, **parts) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object whose keys differ; of two equal ones Python would drop the first."""
  _unique('keys', [key for key, _ in pairs])
  return dict(pairs)


def _unique(kind: str, names: list[Any]) -> list[Any]:
  if twice := [name for name, times in collections.Counter(names).items() if times > 1]:
    got = str(twice[0])
    raise ConfigError(f'Two of the {kind} are the same.', where=kind, expected='one', got=got)
  return names


def _numbers(where: str, values: dict) -> None:
  for name, value in values.items():
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not math.isfinite(value):
      raise ConfigError('This is no number.', where=f'{where}.{name}', got=repr(value))
