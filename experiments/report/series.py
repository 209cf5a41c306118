"""What the pictures show, as plain numbers; empty where there is nothing to draw."""

from collections.abc import Sequence

from experiments.report import summary
from experiments.report.records import FINAL, Records
from experiments.report.statistics import Spread

# The methods whose learning curves are drawn: more than these cannot be told apart.
POINTS = 3
CURVES = 'full', 'adapter', 'compacter', 'compacter_pp', 'prompt', 'bitfit'

Points = dict[str, tuple[float, Spread]]  # cost and score by method
Lines = dict[str, list[tuple[int, Spread]]]  # by method: a score for each place on the x axis


def scored(records: Records, cost: str) -> Points:
  """Average score against a cost, `trained` or `time`, of the methods that have both."""
  found = {}
  for row in records.rows:
    value, score = getattr(row, cost), summary.average(records, row.name)
    if value and score:
      found[row.name] = float(value), score
  return found


def curves(records: Records, rows: Sequence[str] = CURVES) -> dict[str, Lines]:
  """By task: validation averages at the steps that all of a method's finished runs have.

  Tasks whose runs were evaluated fewer than POINTS times have no curve to speak of.
  """
  found: dict[str, Lines] = {}
  for task in records.tasks:
    for row in rows:
      runs = [
        {step: score for step, score in run.curve}
        for run in records.of(FINAL)
        if (run.row, run.task) == (row, task.name) and run.curve and not run.failed
      ]
      steps = sorted(set.intersection(*map(set, runs))) if runs else []
      if len(steps) >= POINTS:
        line = [(int(step), Spread(tuple(run[step] for run in runs))) for step in steps]
        found.setdefault(task.name, {})[row] = line
  return found


def few_rows(records: Records) -> Lines:
  """Averages over the low-resource tasks against training rows, where a seed has all tasks."""
  tasks = summary.low_tasks(records)
  found: Lines = {}
  for row in summary.low_rows(records):
    for size in summary.sizes(records):
      score = summary.spread(summary.averages(records, row, tasks, size))
      if score:
        found.setdefault(row, []).append((size, score))
  return found
