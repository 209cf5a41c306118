"""The tables of what was measured: scores and costs, rates, few training rows."""

from statistics import fmean

from experiments.report import skill, summary
from experiments.report.about import CONSTANT, tasks_of
from experiments.report.markdown import NONE, listed, many, megabytes, number, spread, table
from experiments.report.records import FINAL, LOW, SEARCH, Records, Row
from experiments.report.statistics import Spread, certainty, difference


def scores(records: Records) -> list[str]:
  """A line for each method: its scores, what it trains and what it costs."""
  tasks, expected = records.tasks, summary.expected(records, FINAL)
  rows = [_constant(records)]
  for row in records.rows:
    cells = [
      spread(summary.spread(summary.scores(records, row.name, t.name)), expected) for t in tasks
    ]
    rows.append(
      [row.title, spread(summary.average(records, row.name), expected), *cells, *_costs(row)]
    )
  average = f'average of {tasks_of(records)}' if records.absent else 'average'
  head = ['method', average, *(task.title for task in tasks)]
  head += ['trained', 'share', 'file', 'rate', 'step time', 'memory']
  return [
    '## Scores and costs',
    '',
    *table(head, rows),
    '',
    'Share is of all parameters. File is what is stored for one task. Step time and memory are of '
    f'one training step{f" of {records.step}" if records.step else ""}, as parts of full '
    "fine-tuning's.",
    '',
    *_options(records),
    *_notes(records),
  ]


def _constant(records: Records) -> list[str]:
  each = [task.constant for task in records.tasks]
  mean = f'{fmean(each):.1f}' if each else NONE
  return [f'*{CONSTANT}*', mean, *(f'{score:.1f}' for score in each), *[NONE] * 6]


def _costs(row: Row) -> list[str]:
  return [
    f'{row.trained:,}',
    f'{row.percent:.3f} %',
    megabytes(row.file_bytes),
    number(row.rate, '{:g}'),
    number(row.time, '{:.2f}'),
    number(row.memory, '{:.2f}'),
  ]


def _options(records: Records) -> list[str]:
  """What was picked for each task on validation rows."""
  if not any(row.options for row in records.rows):
    return []
  rows = [
    [row.title, *(row.options.get(task.name, NONE) for task in records.tasks)]
    for row in records.rows
    if row.options
  ]
  return [
    'Picked for each task on its validation rows; trained, share and file are means over tasks:',
    '',
    *table(['method', *(task.title for task in records.tasks)], rows),
    '',
  ]


def _notes(records: Records) -> list[str]:
  """What the table does not show of the runs behind it."""
  lines = []
  for row in records.rows:
    runs = [run for run in records.of(FINAL) if run.row == row.name and not run.failed]
    if others := sorted({run.rate for run in runs} - {row.rate}):
      told = listed([f'{rate:g}' for rate in others])
      lines.append(f'- {row.title}: final runs have the rate {told}, not the chosen one.')
    for task in records.tasks:
      sizes = {run.train_rows for run in runs if run.task == task.name} - {task.train}
      if sizes:
        told = listed([f'{size:,}' for size in sorted(sizes)])
        lines.append(f'- {row.title}: final runs on {task.title} trained on {told} rows.')
    invalid = sum(run.invalid or 0 for run in runs)
    if invalid:
      lines.append(
        f'- {row.title}: {many(invalid, "output")} on test rows, over all tasks and seeds, '
        f'{"is" if invalid == 1 else "are"} no answer and so wrong.'
      )
  return [*lines, ''] if lines else []


def rates(records: Records) -> list[str]:
  """The search: validation averages for each rate; the chosen one stands out."""
  head = '## Learning rates'
  tried = summary.rates(records)
  if not tried:
    return [head, '', 'Missing: there is no run of a search.', '']
  runs = records.of(SEARCH)
  names = [task.title for task in records.tasks if any(run.task == task.name for run in runs)]
  rows, notes = [], []
  for row in records.rows:
    rows.append([row.title, *(_rate(records, row, rate) for rate in tried)])
    notes += _chosen(records, row)
  notes += _at_the_edge(records)
  return [
    head,
    '',
    f'Validation average over {listed(names)}, seed '
    f'{listed([str(seed) for seed in summary.seeds(records, SEARCH)])}, for each rate that was '
    'tried; bold is the chosen one.',
    '',
    *table(['method', *(f'{rate:g}' for rate in tried)], rows),
    '',
    *notes,
    *([''] if notes else []),
  ]


def _rate(records: Records, row: Row, rate: float) -> str:
  if rate not in summary.rates(records, row.name):
    return ''
  score, found, needed = summary.searched(records, row.name, rate)
  if score is None:
    runs = [run for run in records.of(SEARCH) if (run.row, run.rate) == (row.name, rate)]
    failed = sum(bool(run.failed) for run in runs)
    return f'{failed} of {needed} failed' if failed else f'{found} of {needed} runs'
  return f'**{score:.1f}**' if rate == row.rate else f'{score:.1f}'


def _chosen(records: Records, row: Row) -> list[str]:
  """What is to be said unless the chosen rate is the best that was tried."""
  tried = summary.rates(records, row.name)
  found = {rate: summary.searched(records, row.name, rate)[0] for rate in tried}
  known = {rate: score for rate, score in found.items() if score is not None}
  if row.rate is None:
    return [f'- {row.title}: no rate is chosen yet.']
  if row.rate not in known:
    return [f'- {row.title}: the chosen rate {row.rate:g} has no whole search.']
  best = max(known, key=known.__getitem__)
  if row.name in skill.untuned(records):
    return [f'- {row.title}: no rate is better than the {CONSTANT}, so that it was not tuned.']
  if known[row.rate] < known[best]:
    return [f'- {row.title}: {best:g} is better on validation rows than the chosen rate.']
  return []


def _at_the_edge(records: Records) -> list[str]:
  """Methods whose chosen rate has no worse one on one of its sides, so that the best may be out."""
  edges: dict[str, list[str]] = {'smallest': [], 'largest': []}
  for row in records.rows:
    tried = summary.rates(records, row.name)
    for side, rate in zip(edges, (tried[0], tried[-1]) if tried else ()):
      if row.rate == rate:
        edges[side].append(row.title)
  return [
    f'- The chosen rate is the {side} tried, so that better ones may lie beyond: {listed(names)}.'
    for side, names in edges.items()
    if names
  ]


def few_rows(records: Records) -> list[str]:
  """Scores from few training rows: averages, then each task."""
  head, tasks = '## Few training rows', summary.low_tasks(records)
  sizes, expected = summary.sizes(records), summary.expected(records, LOW)
  if not tasks:
    return [head, '', 'Missing: there is no run on few rows.', '']
  titles = {each.name: each.title for each in (*records.rows, *records.tasks)}
  methods = summary.low_rows(records)
  averages = {
    (row, size): summary.spread(summary.averages(records, row, tasks, size))
    for row in methods
    for size in sizes
  }
  likely = [task.constant for task in records.tasks if task.name in tasks]
  rows = [['average', f'*{CONSTANT}*', *[f'{fmean(likely):.1f}'] * len(sizes)]]
  rows += [
    ['average', titles[row], *(spread(averages[row, size], expected) for size in sizes)]
    for row in methods
  ]
  for task in tasks:
    for row in methods:
      found = [summary.spread(summary.scores(records, row, task, size)) for size in sizes]
      rows.append([titles[task], titles[row], *(spread(each, expected) for each in found)])
  lines = [head, '', *table(['task', 'method', *(f'{size:,} rows' for size in sizes)], rows, 2), '']
  lines += [f'- {records.few}'] if records.few else []
  lines += [f'- {each}' for each in compared(records)]
  if records.of(SEARCH):
    lines.append('- Rates are those that were chosen with more training rows.')
  return [*lines, '']


def compared(records: Records) -> list[str]:
  """A sentence for each number of rows and each method that was run beside full fine-tuning."""
  tasks, titles = summary.low_tasks(records), {row.name: row.title for row in records.rows}
  score = lambda row, size: summary.spread(summary.averages(records, row, tasks, size))
  expected = summary.expected(records, LOW)
  return [
    _compared(f'With {size:,} rows {titles[row]} is', one, other, expected)
    for size in summary.sizes(records)
    for row in summary.low_rows(records)
    if row != 'full' and (one := score(row, size)) and (other := score('full', size))
  ]


def _compared(start: str, one: Spread, other: Spread, expected: int) -> str:
  gap, margin = difference(one, other)
  side = 'above' if gap > 0 else 'below'
  few = ''
  if min(one.count, other.count) < expected:
    few = f' ({one.count} and {other.count} of {expected} seeds)'
  return f'{start} {abs(gap):.1f} points {side} full fine-tuning{few}, {certainty(gap, margin)}.'
