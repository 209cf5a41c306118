"""What pretraining is worth: the same method on frozen weights drawn at random."""

from experiments.report import summary
from experiments.report.markdown import spread, table
from experiments.report.records import RANDOM, Records
from experiments.report.statistics import certainty, difference


def worth(records: Records) -> list[str]:
  """The section: each method and task that was run on random weights."""
  runs = records.of(RANDOM)
  head = '## What pretraining is worth'
  if not runs:
    return [head, '', 'Missing: there is no run on random weights.', '']
  titles = {each.name: each.title for each in (*records.rows, *records.tasks)}
  seeds, rows, lines = summary.expected(records, RANDOM), [], []
  pairs = [(row.name, task.name) for task in records.tasks for row in records.rows]
  for row, task in pairs:
    random = summary.spread(summary.scores(records, row, task, part=RANDOM))
    if not any((run.row, run.task) == (row, task) for run in runs):
      continue
    ours = summary.spread(summary.scores(records, row, task))
    rows.append([titles[task], titles[row], spread(ours, seeds), spread(random, seeds)])
    if ours and random:
      gap, margin = difference(ours, random)
      name = f'{titles[row]} on {titles[task]}: pretrained weights are {abs(gap):.1f} points'
      side = 'above' if gap > 0 else 'below'
      lines.append(f'- {name} {side} random ones, {certainty(gap, margin)}.')
  about = (
    'All else is equal, but rates were searched anew for random weights. What a method reaches on '
    'them it has learned from the training rows alone.'
  )
  return [
    head, '', about, '', *table(['task', 'method', 'pretrained', 'random'], rows, 2), '', *lines, ''
  ]  # fmt: skip
