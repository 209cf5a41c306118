"""Scores of the runs by seed, their averages over tasks, and what is missing."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from experiments.report.records import FINAL, LOW, RANDOM, SEARCH, Records, Run
from experiments.report.statistics import Spread

Seeds = dict[int, float]  # score by seed


def scores(records: Records, row: str, task: str, size: int | None = None, part: str = '') -> Seeds:
  """Test scores of a method on a task; runs that failed have none.

  size: with so many training rows, of the low-resource runs. part: of the runs of another part.
  """
  return {
    run.seed: run.test
    for run in records.of(part or (FINAL if size is None else LOW))
    if (run.row, run.task) == (row, task) and size in (None, run.train_rows)
    if run.test is not None
  }


def averages(records: Records, row: str, tasks: Sequence[str], size: int | None = None) -> Seeds:
  """Means over the tasks, of the seeds that have them all: others would be of other tasks."""
  each = [scores(records, row, task, size) for task in tasks]
  seeds = sorted(set.intersection(*map(set, each))) if each else []
  return {seed: math.fsum(found[seed] for found in each) / len(each) for seed in seeds}


def spread(found: Seeds) -> Spread | None:
  """Of all seeds; None where there is none."""
  return Spread(tuple(found[seed] for seed in sorted(found))) if found else None


def average(records: Records, row: str, tasks: Sequence[str] | None = None) -> Spread | None:
  """Of a method over tasks, by default over all of the records."""
  names = [task.name for task in records.tasks] if tasks is None else tasks
  return spread(averages(records, row, names))


def seeds(records: Records, part: str) -> list[int]:
  """Those that any run of the part has."""
  return sorted({run.seed for run in records.of(part)})


def expected(records: Records, part: str) -> int:
  """How many seeds a cell should have: those of the suite, or else those that were seen."""
  return len(records.seeds or seeds(records, part))


def low_rows(records: Records) -> list[str]:
  """The methods that are trained on few rows, in the order of all methods."""
  return _order([row.name for row in records.rows], (run.row for run in records.of(LOW)))


def low_tasks(records: Records) -> list[str]:
  """The tasks of which few rows are taken, in the order of all tasks."""
  return _order([task.name for task in records.tasks], (run.task for run in records.of(LOW)))


def sizes(records: Records, task: str | None = None) -> list[int]:
  """Numbers of training rows of the low-resource runs, of one task or of any."""
  return sorted({run.train_rows for run in records.of(LOW) if task in (None, run.task)})


def searched(records: Records, row: str, rate: float) -> tuple[float | None, int, int]:
  """Of a rate: its validation average, its runs that have a score, and the runs it should have.

  The average is over tasks and seeds of the search, and is there only where none is missing.
  """
  runs = [run for run in records.of(SEARCH) if (run.row, run.rate) == (row, rate)]
  found = [run.validation for run in runs if run.validation is not None]
  needed = len({(run.task, run.seed) for run in records.of(SEARCH)})
  whole = len(found) == needed
  return (math.fsum(found) / needed if whole else None), len(found), needed


def rates(records: Records, row: str | None = None) -> list[float]:
  """The rates that were tried, of one method or of any."""
  return sorted({run.rate for run in records.of(SEARCH) if row in (None, run.row)})


def failed(records: Records) -> list[Run]:
  """Runs that ended without a score."""
  return [run for run in records.runs if run.failed]


def missing(records: Records, part: str) -> list[tuple[Any, ...]]:
  """Keys (as of `Run.key`) of runs that the part should have and has not, judged by the others.

  A method that has no rate yet in a search lacks its runs at the rate None. Of a part without any
  run nothing can be said.
  """
  there = {run.key for run in records.of(part)}
  return [key for key in _expected(records, part) if key not in there]


def _expected(records: Records, part: str) -> Iterator[tuple[Any, ...]]:
  runs = records.of(part)
  rows = [row.name for row in records.rows]
  counted = records.seeds if part != SEARCH and runs and records.seeds else seeds(records, part)
  if part in (LOW, RANDOM):
    rows = _order(rows, (run.row for run in runs))
  tasks = [task.name for task in records.tasks]
  if part != FINAL:
    tasks = _order(tasks, (run.task for run in runs))
  for row, task, seed in itertools.product(rows, tasks, counted):
    own: list[tuple[Any, ...]] = [()]
    if part == SEARCH:
      own = [(rate,) for rate in rates(records, row) or [None]]
    elif part == LOW:
      own = [(size,) for size in sizes(records, task)]
    yield from ((part, row, task, seed, *each) for each in own)


def _order(names: Sequence[str], wanted: Iterable[str]) -> list[str]:
  kept = set(wanted)
  return [name for name in names if name in kept]
