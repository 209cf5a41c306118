"""The parts of the page that say what was run, and what is missing of it."""

import collections
import math
from typing import Any

from experiments.report import skill, summary
from experiments.report.markdown import NONE, listed, many, table
from experiments.report.records import (
  FINAL,
  LOW,
  OPTIONS,
  RANDOM,
  RANDOM_SEARCH,
  SEARCH,
  TOLD,
  Records,
  fingerprint,
)

CONSTANT = 'best single answer'
NAMES = {
  SEARCH: 'search of rates',
  FINAL: 'final',
  LOW: 'few training rows',
  RANDOM: 'random weights',
  OPTIONS: 'choice of options',
  RANDOM_SEARCH: 'search of rates on random weights',
}


def how_to_read(records: Records) -> list[str]:
  """What was run, on what, and what a cell says."""
  once = {run.job or run.key: run.seconds or 0 for run in records.runs}
  hours = math.fsum(once.values()) / 3600
  least = 'at least ' if any(run.seconds is None for run in records.runs) else ''
  codes = {run.code for run in records.of(FINAL)}
  picked = {SEARCH: 'rates', OPTIONS: 'options'}
  chosen = [what for part, what in picked.items() if records.of(part)]
  made = ', '.join(f'{name} {text}' for name, text in records.versions.items())
  return [
    '## How to read this page',
    '',
    f'{many(len(records.rows), "method")} on {tasks_of(records)}, all from the same '
    f'pretrained `{records.model}` ({records.base.parameters:,} parameters, fingerprint '
    f'`{records.base.fingerprint}`). The runs took {least}{hours:,.1f} hours on {records.device}'
    f'{f" with {made}" if made else ""}:',
    '',
    '```bash',
    records.command,
    'python -m experiments.report --records records.json --write .',
    '```',
    '',
    'The second command makes this page and its pictures of what the first has recorded '
    f'(fingerprint `{fingerprint(records)}`); no measured number was typed by hand.'
    + (f' Runs that count were made by {len(codes)} states of the code.' if len(codes) > 1 else ''),
    '',
    *_runs(records),
    '',
    *_tasks(records),
    '',
    "Scores are in percent, of test rows; a task's score is the mean of its metrics. A cell is the "
    'mean over seeds ± the standard deviation between seeds (n - 1); divided by the root of the '
    'number of seeds that is the standard error of the mean. It tells how far another seed may '
    'be off, but not what other test rows would change: that is the last column above, the '
    'standard error of an accuracy of 50 %, or of a correlation of 0. `(2 of 3)` is a cell of '
    f'fewer seeds than there should be, `{NONE}` one without any. The {CONSTANT} is what a model '
    'reaches that gives all test rows the same answer, whichever scores best.',
    '',
    'An average is made within each seed that has all tasks, and then over seeds, so all averages '
    'are of the same tasks.'
    + (f' Chosen on validation rows, never on test rows: {listed(chosen)}.' if chosen else '')
    + ' Of each run that step counts which was best on validation rows.',
    '',
    *_setup(records),
    *_missing(records),
  ]


def _setup(records: Records) -> list[str]:
  if not records.setup:
    return []
  rows = [[f'`{name}`', *values] for name, values in records.setup.items()]
  head = 'What these runs have otherwise than the paper (its settings for SuperGLUE are recalled):'
  return [head, '', *table(['setting', 'here', 'in the paper'], rows, 3), '']


def tasks_of(records: Records) -> str:
  """'5 of 6 tasks', where one has no run yet."""
  there = len(records.tasks)
  if not records.absent:
    return many(there, 'task')
  return f'{there} of {many(there + len(records.absent), "task")}'


def _runs(records: Records) -> list[str]:
  rows = []
  for part in TOLD:
    runs = records.of(part)
    numbers = ', '.join(map(str, summary.seeds(records, part)))
    steps = sorted({run.steps for run in runs})
    span = f'{steps[0]:,} to {steps[-1]:,}' if len(steps) > 1 else ''.join(map(str, steps))
    planned = f'{records.planned[part]:,}' if part in records.planned else NONE
    failed = sum(bool(run.failed) for run in runs)
    rows.append(
      [NAMES[part], numbers or NONE, span or NONE, planned, f'{len(runs):,}', f'{failed:,}']
    )
  return table(['runs', 'seeds', 'steps', 'planned', 'there', 'of these failed'], rows, 2)


def _tasks(records: Records) -> list[str]:
  rows = [
    [
      f'{task.title} (`{task.name}`)',
      task.metric,
      f'{task.train:,}',
      f'{task.validation:,}',
      f'{task.test:,}',
      f'{task.constant:.1f}',
      f'{skill.error(task):.1f}',
    ]
    for task in records.tasks
  ]
  head = ['task', 'metric', 'training rows', 'validation', 'test', CONSTANT]
  return table([*head, 'standard error'], rows, 2)


def _missing(records: Records) -> list[str]:
  """What is not there, or that nothing is missing as far as can be told."""
  lines = ['### What is missing', '']
  lines += [f'- {title}: there is no run, and no average has it.' for title in records.absent]
  titles = {row.name: row.title for row in records.rows}
  for part in TOLD:
    keys: dict[str, list[tuple[Any, ...]]] = collections.defaultdict(list)
    for key in summary.missing(records, part):
      keys[key[1]].append(key)
    planned, there = records.planned.get(part), len(records.of(part))
    if planned == there == 0:
      continue
    if not there:
      lines.append(f'- {NAMES[part]}: there is no run.')
    elif planned is not None and there != planned:
      lines.append(f'- {NAMES[part]}: {there:,} of {planned:,} planned runs are there.')
    for row, absent in keys.items():
      lines.append(f'- {NAMES[part]}, {titles[row]}: {_absent(records, absent)}.')
  for run in summary.failed(records):
    task = next(task.title for task in records.tasks if task.name == run.task)
    why = ' '.join((run.failed or '').split())
    lines.append(
      f'- failed ({NAMES[run.part]}): {titles[run.row]}, {task}, seed {run.seed}, rate '
      f'{run.rate:g}, {many(run.train_rows, "row")}: {why}'
    )
  if len(lines) > 2:
    lines += [
      '',
      'Means are of what is there. A method whose failed runs are left out looks better and '
      'steadier than it is.',
    ]
  else:
    lines.append('Nothing: every method has the runs of all others, and none failed.')
  return [*lines, '']


def _absent(records: Records, keys: list[tuple[Any, ...]]) -> str:
  """'RTE (seeds 1, 2), CoLA at 0.01 (seed 42)'."""
  titles = {task.name: task.title for task in records.tasks}
  groups: dict[tuple[Any, ...], list[int]] = collections.defaultdict(list)
  for part, _, task, seed, *own in keys:
    groups[(part, task, *own)].append(seed)
  texts = []
  for (part, task, *own), numbers in groups.items():
    where = ''
    if part == SEARCH:
      where = ' at any rate' if own[0] is None else f' at {own[0]:g}'
    elif part == LOW:
      where = f' of {own[0]:,} rows'
    name = 'seed' if len(numbers) == 1 else 'seeds'
    texts.append(f'{titles[task]}{where} ({name} {", ".join(map(str, numbers))})')
  return listed(texts)
