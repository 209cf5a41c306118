"""From the folders of a suite's runs to records, which the page is made of."""

import statistics
from pathlib import Path
from typing import Any

import jax

import compacter_jax as cj
from compacter_jax import t5
from compacter_jax.data import task_named
from compacter_jax.model import Model
from experiments.machine import versions
from experiments.report import records
from experiments.suite import costs, plan, setup
from experiments.suite.definition import Suite
from experiments.suite.known import joined
from experiments.suite.plan import FINAL, Place, Run
from experiments.suite.runs import Runner

TITLES = {
  'cola': 'CoLA',
  'sst2': 'SST-2',
  'mrpc': 'MRPC',
  'qqp': 'QQP',
  'stsb': 'STS-B',
  'mnli': 'MNLI',
  'qnli': 'QNLI',
  'rte': 'RTE',
  'boolq': 'BoolQ',
  'copa': 'COPA',
  'multirc': 'MultiRC',
}


def collect(suite: Suite, place: Place, runner: Runner, workdir: Path) -> records.Records:
  """Everything that is there by now."""
  cfg, frozen = t5.load(place.model, 'float32')
  runs = runner.plan.runs()
  others = runner.known
  found = [(run, result) for run in runs if (result := runner.result(run)) is not None]
  own = [result for _, result in found if 'versions' in result]  # not of others
  # this machine stands on the page only where it made a run, or nobody has yet
  made = [*others.versions, *(result['versions'] for result in own)] or [versions()]
  devices = [*others.devices, *(result['device'] for result in own)]
  names = dict.fromkeys(name for each in made for name in each)
  tasks = [_task(name, [r for run, r in found if run.task == name]) for name in suite.tasks]
  return records.Records(
    suite=suite.name,
    model=suite.model,
    base=records.Base(t5.count(cfg), cj.fingerprint(frozen)),
    command=f'python -m experiments.suite --suite={suite.name} --workdir=W --data.dir=DIR',
    device=joined(devices or [jax.devices()[0].device_kind]),
    versions={name: joined(each[name] for each in made if name in each) for name in names},
    rows=tuple(_row(suite, place, runner, workdir, cfg, name) for name in suite.methods),
    tasks=tuple(task for task in tasks if task is not None),
    runs=tuple(_run(runner, run, result) for run, result in found),
    planned=runner.plan.planned(),
    seeds=suite.seeds,
    step=costs.shape(suite, place),
    setup=setup.of(suite, place),
    absent=tuple(_title(name) for name, task in zip(suite.tasks, tasks) if task is None),
    few=_few(suite),
  )


def _title(task: str) -> str:
  return TITLES.get(task) or task


def _few(suite: Suite) -> str:
  if not (few := suite.few):
    return ''
  rows = 'draws rows of its own' if few.redraw else 'has the same rows'
  return f'Each run takes {few.steps:,} steps, and each seed {rows}.'


def _row(
  suite: Suite, place: Place, runner: Runner, workdir: Path, cfg: t5.Config, name: str
) -> records.Row:
  chosen = {task: runner.plan.chosen(name, task) or () for task in suite.tasks}
  counts = [
    Model(
      cfg, plan.job(suite, Run(FINAL, name, task, suite.seeds[0], changes), place).method
    ).count()
    for task, changes in chosen.items()
  ]
  trained = round(statistics.mean(counts))
  cost = costs.read(suite, place, workdir, name, runner.known)
  results = [runner.result(run) for run in runner.plan.final(name)]
  sizes = [r['adapter_bytes'] for r in results if r is not None and 'adapter_bytes' in r]
  return records.Row(
    name=name,
    title=suite.methods[name],
    trained=trained,
    percent=100 * trained / t5.count(cfg),
    file_bytes=round(statistics.mean(sizes)) if sizes else None,
    rate=runner.plan.rate(name),
    time=cost.get('time'),
    memory=cost.get('memory'),
    options={task: told for task, changes in chosen.items() if (told := _picked(changes))},
  )


def _picked(changes: tuple[tuple[str, Any], ...]) -> str:
  """'reduction 16', of all changes but the rate."""
  own = {key.rpartition('.')[2]: value for key, value in changes if key != 'optim.rate'}
  return ', '.join(f'{key} {value}' for key, value in own.items())


def _task(name: str, results: list[dict[str, Any]]) -> records.Task | None:
  """The task as the runs with all their rows had it."""
  whole = [result for result in results if 'rows' in result]
  if not whole:
    return None
  largest = max(whole, key=lambda result: result['rows']['train'])
  validation = (result['constant'].get('validation') for result in whole)
  return records.Task(
    name=name,
    title=_title(name),
    metric=', '.join(metric.__name__ for metric in task_named(name, 'compacter').metrics),
    **largest['rows'],
    constant=largest['constant']['test'],
    constant_validation=next((each for each in validation if each is not None), None),
  )


def _run(runner: Runner, run: Run, result: dict[str, Any]) -> records.Run:
  job = runner.job(run)
  about = {
    'part': run.part,
    'row': run.method,
    'task': run.task,
    'seed': run.seed,
    'rate': job.optim.rate,
    'job': plan.digest(job),
  }
  if 'failed' in result:
    return records.Run(
      **about,
      train_rows=result['rows']['train'],
      steps=result['steps'],
      validation=None,
      test=None,
      failed=result['failed'],
    )
  test = dict(result['test'])
  average, invalid = test.pop('average'), int(test.pop('invalid'))
  return records.Run(
    **about,
    train_rows=result['rows']['train'],
    steps=result['steps'],
    validation=result['validation']['average'],
    test=average,
    scores=test,
    invalid=invalid,
    seconds=_seconds(result),
    curve=runner.curve(run),
    code=result.get('code'),
  )


def _seconds(result: dict[str, Any]) -> float | None:
  """Of the whole run; a run that was gone on with tells those of its last start alone."""
  if result.get('since_step') or result['seconds'] is None:
    return None
  return sum(result['seconds'].values())
