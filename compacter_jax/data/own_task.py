"""A task of one's own: a task.json that says where rows are, what is asked, and what is right.

docs/your_own_data.md shows one of each kind. The file is read strictly: whatever it does not know,
lacks or cannot be is an error before any row is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compacter_jax import generation_metrics, settings
from compacter_jax.data import formats, wording
from compacter_jax.data.formats import Malformed
from compacter_jax.data.own_kinds import KINDS, Kind
from compacter_jax.data.sound_rows import BadRows, sound_rows
from compacter_jax.data.tables import read_table
from compacter_jax.data.tasks import Row, Task
from compacter_jax.data.template import Template
from compacter_jax.errors import CompacterError, ConfigError

FILE = 'task.json'


@dataclass(frozen=True, kw_only=True)
class OwnTask(Task):
  """A task that brings its files, by official split; `kind` is its task.json."""

  kind: Kind
  files: Mapping[str, Path]


class OwnFiles:
  """The files of a task of one's own, as a `Source`."""

  def __init__(self, task: OwnTask, bad: BadRows | None = None):
    self.task, self.bad = task, bad

  def rows(self, split: str) -> list[dict[str, Any]]:
    """All rows of the file, in its order, with the texts of the template and what is right.

    Raises DataError if the file cannot be read, lacks a column, has no rows, or has rows that are
    unfit; up to 20 of those are listed by line and column.
    """
    task, path = self.task, self.task.files[split]
    lines = read_table(path, [*task.columns, task.kind.label])
    return sound_rows(path, task, map(self._read, lines), self.bad)

  def _read(self, line: formats.Line) -> formats.Line:
    return with_texts(self.task, line, self.task.kind.answer)


def with_texts(
  task: Task, line: formats.Line, answer: Callable[[Row], dict[str, Any]] = lambda cells: {}
) -> formats.Line:
  """The row with each column's cell as text, and what is right by `answer`; or its problem."""
  if line.problem:
    return line
  try:
    texts = {column: _text(line.row, column) for column in task.columns}
    return line._replace(row=texts | answer(line.row))
  except Malformed as error:
    return line._replace(problem=str(error))


def is_own(name: str) -> bool:
  """Whether the name of a task is a path: of a task.json, or of a folder with one."""
  return '/' in name or name.endswith('.json') or (Path(name) / FILE).is_file()


def own_task(path: str | Path) -> OwnTask:
  """The task of that task.json, or of that folder's.

  Raises ConfigError, with the place in the file, for all that it should not hold.
  """
  file = Path(path).expanduser()
  file = file / FILE if file.is_dir() else file
  if not file.is_file():
    raise ConfigError(
      'There is no such task.',
      where=str(file),
      expected=f'a {FILE}, or a folder that holds one',
      got='no such file',
    )
  try:
    return _task(_kind(formats.parse_json(formats.text_of(file))), file.parent)
  except CompacterError as error:
    where = f'{file}: {error.where}' if error.where and str(file) not in error.where else str(file)
    raise ConfigError(
      error.what, where=where, expected=error.expected, got=error.got, fix=error.fix
    ) from error
  except (ValueError, RecursionError) as error:
    raise ConfigError('The file is not JSON.', where=str(file), got=str(error)) from error


def _kind(values: Any) -> Kind:
  if not isinstance(values, dict):
    raise ConfigError('The file is not a task.', expected='an object', got=type(values).__name__)
  values = dict(values)
  name = values.pop('kind', None)
  settings.choose('kind', name, KINDS)
  return settings.build(KINDS[name], values)


def _task(kind: Kind, folder: Path) -> OwnTask:
  template = Template(kind.template)
  split: Any = 'given' if 'test' in kind.files else kind.split or 'small'
  names = kind.metrics or tuple(kind.METRICS)[: kind.DEFAULTS]
  generation_metrics.check_installed(names)
  return OwnTask(
    name=kind.name,
    prefix=kind.name,
    columns=dict.fromkeys(template.columns, str),
    pieces=lambda row: [template.filled(row)],
    split=split,
    metrics=tuple(kind.METRICS[name] for name in names),
    may_be_empty=kind.may_be_empty,
    target=kind.target,
    shared=wording.column(kind.shared) if kind.shared else None,
    kind=kind,
    files={part: folder / path for part, path in kind.files.items()},
    **kind.asked(),
  )


def _text(cells: Row, column: str) -> str:
  """The cell as text. A float is none: how many of its digits are meant is not known."""
  value = formats.cell(cells, column)
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)
  if not isinstance(value, str):
    raise Malformed(f'{column}: expected a text or a whole number, got {type(value).__name__}')
  return value
