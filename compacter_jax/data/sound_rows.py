"""All rows of a file or an error: nothing that is unfit is left out unseen."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compacter_jax.data import formats
from compacter_jax.data.tasks import Task, fault, hidden
from compacter_jax.errors import DataError

SHOWN_ROWS = 20


@dataclasses.dataclass
class BadRows:
  """How many unusable rows of a file may be left out, and how many were, by the file's path."""

  allowed: int = 0
  left_out: dict[str, int] = dataclasses.field(default_factory=dict)


def sound_rows(
  path: Path,
  task: Task,
  lines: Iterable[formats.Line],
  bad: BadRows | None = None,
  labelled: bool = True,
) -> list[dict[str, Any]]:
  """The rows of the lines of a file, in its order.

  labelled: whether every row must have its answer. A row without one gets Hugging Face's label -1.

  Raises DataError if there are none, or more are unfit for the task than `bad` allows; up to 20 of
  those are listed by line and column.
  """
  bad = bad or BadRows()
  rows: list[dict[str, Any]] = []
  faults: list[tuple[int, str, str]] = []
  for line in lines:
    bare = not labelled and hidden(line.row)
    if problem := line.problem or fault(task, line.row, labelled=not bare):
      faults.append((line.number, problem, line.text))
    else:
      rows.append(line.row | {'label': -1} if bare else line.row)
  if len(faults) > bad.allowed:
    raise _unfit(path, task, faults, bad.allowed)
  if not rows:
    raise DataError('The file has no rows.', where=str(path), expected='at least 1', got='0')
  if faults:
    bad.left_out[str(path)] = len(faults)
  return rows


def _unfit(path: Path, task: Task, faults: list[tuple[int, str, str]], allowed: int) -> DataError:
  shown = [
    f'{path.name}:{number}: {problem}: {formats.excerpt(text)}'
    for number, problem, text in faults[:SHOWN_ROWS]
  ]
  more = [f'and {len(faults) - SHOWN_ROWS} more'] if len(faults) > SHOWN_ROWS else []
  return DataError(
    f'{len(faults)} {"row" if len(faults) == 1 else "rows"} of {task.name} cannot be used.',
    where=f'{path}:{faults[0][0]}',
    expected=f'at most {allowed}, as data.max_bad_rows says' if allowed else '',
    got='\n    '.join(['', *shown, *more]).lstrip(),
  )
