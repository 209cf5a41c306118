"""Making the runs of a suite: what is finished stays, what was interrupted goes on."""

import dataclasses
import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax

import compacter_jax as cj
from compacter_jax.errors import ConfigError, NumericsError, StorageError
from compacter_jax.optim import Optim
from experiments import finetune, folders, messages, rows, schema
from experiments.console import duration
from experiments.inputs import Inputs, read_inputs, read_model
from experiments.suite import plan
from experiments.suite.definition import Suite
from experiments.suite.known import Curve, Known, read
from experiments.suite.plan import Place, Plan, Results, Run

FIRST_PACE = 1e-4  # seconds that an id of a source takes, before any was measured


class Runner:
  """A suite in its folder.

  Attributes:
    plan: its runs, as far as they are known.
    known: of runs that were made elsewhere.
  """

  def __init__(self, suite: Suite, place: Place, workdir: Path, others: Iterable[Path] = ()):
    self._suite, self._place, self._workdir, self._others = suite, place, workdir, others
    self.known = Known()
    self._read: dict[Path, Results] = {}
    self._jobs: dict[Run, schema.Job] = {}
    self._pace: dict[str, list[float]] = {}
    self.plan = Plan(suite, self.result)

  def begin(self, wanted: Callable[[Run], bool] = lambda run: True) -> None:
    """Reads what others made, checks the runs that are wanted, and claims the folder.

    Raises:
      DataError: so are the records of others; or the rows of a task cannot be had.
      ConfigError: the folder is another suite's or on another T5; a method does not fit the T5.
    """
    _, frozen = cj.t5.load(self._place.model, 'float32')
    about = {'suite': self._suite.name, 'base': cj.fingerprint(frozen)}
    self.known = read(self._others, **about)
    path = self._workdir / 'suite.json'
    if path.exists() and (before := _read_json(path)) != about:
      wrong = [name for name in about if before.get(name) != about[name]]
      raise ConfigError(
        'This folder is of another suite.',
        where=f'{path}: {", ".join(wrong)}',
        expected=', '.join(about[name] for name in wrong),
        got=', '.join(str(before.get(name)) for name in wrong),
        fix='take another --workdir',
      )
    self._check(wanted)
    folders.make_folder(self._workdir)
    folders.write_json(path, about)

  def _check(self, wanted: Callable[[Run], bool]) -> None:
    """Fits each method and reads the rows of each task that is still to do, ahead of its turn."""
    suite, seen = self._suite, self.plan.runs()
    for method, task in itertools.product(suite.methods, suite.tasks):
      if self.plan.chosen(method, task) is None:  # its rate is not
        seen.append(Run(plan.FINAL, method, task, suite.seeds[0], ()))
    todo = [run for run in seen if wanted(run) and not self.result(run)]
    for run in {run.method: run for run in todo}.values():
      read_model(self.job(run))
    for run in {run.task: run for run in todo}.values():
      rows.read(self.job(run).data)

  def job(self, run: Run) -> schema.Job:
    """The run as a job."""
    if run not in self._jobs:
      self._jobs[run] = plan.job(self._suite, run, self._place)
    return self._jobs[run]

  def folder(self, run: Run) -> Path:
    """Where the run is or will be."""
    return plan.folder(self._workdir, run, self.job(run))

  def result(self, run: Run) -> Results | None:
    """What the run reached; 'failed' says why it reached nothing. None if it was not made."""
    path = self.folder(run)
    if path not in self._read:
      for name in 'results.json', 'failed.json':
        if (path / name).exists():
          self._read[path] = _read_json(path / name)
    return self._read.get(path) or self.known.results.get(plan.digest(self.job(run)))

  def curve(self, run: Run) -> Curve:
    """The average on validation rows by step, of the run that `result` is of."""
    if self.folder(run) not in self._read:
      return self.known.curves.get(plan.digest(self.job(run)), ())
    log = self.folder(run) / 'metrics.jsonl'
    notes = [json.loads(line) for line in log.read_text().splitlines()]
    return tuple((n['step'], n['validation']['average']) for n in notes if 'validation' in n)

  def work(self, wanted: Callable[[Run], bool] = lambda run: True, most: int | None = None) -> None:
    """Makes every run that is wanted and not there; at most so many."""
    made, method = 0, None
    while most is None or made < most:
      known = [run for run in self.plan.runs() if wanted(run)]
      todo = [run for run in known if self.result(run) is None]
      if not todo:
        return
      run = todo[0]
      if run.method != method:
        jax.clear_caches()  # programs are shared within a method only
        method = run.method
      left = sum(map(self._guess, todo))
      there = f'{len(known) - len(todo)} of {len(known)} known runs are there'
      print(f'{run}; {there}, {duration(left)} left for the others', flush=True)
      self._make(run)
      made += 1

  def _make(self, run: Run) -> None:
    job, path = self.job(run), self.folder(run)
    begin = time.perf_counter()
    inputs = _inputs(_shared(job))
    try:
      finetune.run(job, inputs, path, quiet=True)
    except NumericsError as error:  # at this rate; others may do well
      failed = {'failed': f'{error.where}: {error.got}'}
      folders.write_json(path / 'failed.json', failed | finetune.about(job, inputs))
    seconds = time.perf_counter() - begin
    result = self.result(run) or {}
    if not result.get('since_step'):  # else only a part of it was made now
      self._pace.setdefault(run.method, []).append(seconds / self._ids(run))
    print(f'  {messages.told(result["test"]) if "test" in result else result}', flush=True)

  def _ids(self, run: Run) -> float:
    """Ids of all sources of the run if none were shorter; what time is in proportion to."""
    job = self.job(run)
    rows = job.data.max_train or self._suite.train_rows.get(run.task, 1_000)
    examples = job.steps * job.batch_size or job.epochs * rows
    return examples * job.data.max_source

  def _guess(self, run: Run) -> float:
    """Seconds that the run may take, by those of its method, or else of all, so far."""
    paces = self._pace.get(run.method) or [p for paces in self._pace.values() for p in paces]
    return self._ids(run) * (statistics.median(paces) if paces else FIRST_PACE)


def _shared(job: schema.Job) -> schema.Job:
  """The job without what its inputs do not depend on."""
  seed = job.seed if job.random_base else 0
  return dataclasses.replace(job, optim=Optim(), seed=seed, steps=1, epochs=0.0, eval_every=0)


@functools.lru_cache(maxsize=2)
def _inputs(job: schema.Job) -> Inputs:
  """Rows and T5, which the rates and seeds of a method share."""
  return read_inputs(job)


def _read_json(path: Path) -> dict[str, Any]:
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise StorageError(
      'This file is damaged.', where=str(path), got=str(error), fix='remove it, or its folder'
    ) from error
