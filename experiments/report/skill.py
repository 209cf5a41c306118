"""Where a score is no skill: tasks that nobody learned, and methods that no rate made learn."""

import math
from statistics import fmean

from experiments.report import summary
from experiments.report.records import SEARCH, Records, Task

ERRORS = 3  # standard errors above one answer that are skill: the best of a dozen is luckier than 2
CORRELATIONS = {'matthews', 'pearson', 'spearman'}
ROUNDING = 0.05  # points


def error(task: Task) -> float:
  """The standard error of a score without skill on the test rows, in points.

  That of an accuracy of 50 %; a correlation, Matthews's too, has twice as much. It is rough for F1.
  """
  largest = 100 if CORRELATIONS.intersection(task.metric.split(', ')) else 50
  return largest / math.sqrt(max(task.test, 1))


def unlearnt(records: Records) -> list[Task]:
  """Tasks on which no method is surely better than the best single answer."""
  tasks = []
  for task in records.tasks:
    found = [
      spread.mean
      for row in records.rows
      if (spread := summary.spread(summary.scores(records, row.name, task.name)))
    ]
    if found and max(found) <= task.constant + ERRORS * error(task):
      tasks.append(task)
  return tasks


def untuned(records: Records) -> list[str]:
  """Methods of which no rate that was tried is better than the best single answer."""
  searched = {run.task for run in records.of(SEARCH)}
  constants = [task.constant_validation for task in records.tasks if task.name in searched]
  known = [constant for constant in constants if constant is not None]
  if not known or len(known) < len(searched):
    return []
  names = []
  for row in records.rows:
    tried = [
      summary.searched(records, row.name, rate)[0] for rate in summary.rates(records, row.name)
    ]
    scores = [score for score in tried if score is not None]
    if scores and max(scores) <= fmean(known) + ROUNDING:
      names.append(row.name)
  return names
