"""Which runs a suite is made of, as far as the results so far tell."""

import dataclasses
import hashlib
import itertools
import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from compacter_jax import settings, t5
from experiments import schema
from experiments.comparison import fitted
from experiments.report.records import FINAL, LOW, OPTIONS, RANDOM, RANDOM_SEARCH, SEARCH
from experiments.suite.definition import Suite

LOW_EVALUATIONS = 5  # of a run on few rows, whose epochs are short

Results = dict[str, Any]
T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Run:
  """One training run.

  Attributes:
    part: what it is for, one of PARTS. method, task: names in the suite.
    changes: settings of its own by dotted name, beside the suite's.
  """

  part: str
  method: str
  task: str
  seed: int
  changes: tuple[tuple[str, Any], ...]

  def __str__(self) -> str:
    told = [f'{name.rpartition(".")[2]} {value:g}' for name, value in self.changes]
    return ', '.join([f'{self.part}: {self.method} on {self.task}', *told, f'seed {self.seed}'])


@dataclasses.dataclass(frozen=True)
class Place:
  """Where the rows and the T5 of a suite are; results do not depend on it."""

  model: str
  data_dir: str = ''
  cache: str = 'auto'


def job(suite: Suite, run: Run, place: Place) -> schema.Job:
  """The run as a job.  Raises ConfigError for a setting that there is not."""
  return schema.job(settings_of(suite, run, place))


def settings_of(suite: Suite, run: Run, place: Place) -> dict[str, Any]:
  """All settings of the run, nested as a config is.  Raises ConfigError as `job` does."""
  plain = suite.config(run.method)
  if suite.fitted:
    depth = t5.read_config(t5.resolve(place.model)).encoder_layers
    plain['method'] = fitted(plain['method'], depth, narrow=True)
  own = {'model': place.model, 'data.dir': place.data_dir, 'data.cache': place.cache}
  own |= {'data.task': run.task, 'seed': run.seed}
  shared = suite.settings | suite.method_settings.get(run.method, {})
  for name, value in (shared | suite.tasks[run.task] | own | dict(run.changes)).items():
    change(plain, name, value)
  return plain


def change(plain: dict[str, Any], name: str, value: Any) -> None:
  """Sets one setting by its dotted name.  Raises ConfigError if there is none of that name."""
  inner, keys = plain, name.split('.')
  for key in keys[:-1]:
    inner = inner.get(key) if isinstance(inner, Mapping) else None
  if not isinstance(inner, dict) or keys[-1] not in inner:
    known = inner if isinstance(inner, dict) else plain
    raise settings.unknown(f'A suite changes {name!r}, which is no setting.', keys[-1], known)
  inner[keys[-1]] = value


def digest(made: schema.Job) -> str:
  """A hash of the settings that a result depends on."""
  told = schema.as_config(made)
  told['data'] = {k: v for k, v in told['data'].items() if k not in ('dir', 'cache')}
  # The suite's, whose fingerprint is checked; and what changes no result.
  if not told['start_from']:  # results are older than this setting
    del told['start_from']
  del told['model'], told['mesh'], told['watchdog'], told['nonfinite'], told['leap']
  return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


def folder(workdir: Path, run: Run, made: schema.Job) -> Path:
  """Where the run is.  Equal jobs share a folder: a search may have made what counts later."""
  label = f'rate-{made.optim.rate:g}-seed-{made.seed}-{digest(made)}'
  return workdir / 'runs' / run.method / run.task / label


class Plan:
  """The runs of a suite; `result` gives what a run reached, or None while that is not known."""

  def __init__(self, suite: Suite, result: Callable[[Run], Results | None]):
    self._suite, self._result = suite, result

  def search(self) -> list[Run]:
    """Every rate for every method, with the first seed."""
    suite = self._suite
    return [
      Run(SEARCH, method, task, suite.seeds[0], (('optim.rate', rate),))
      for method in suite.methods
      for task in suite.search_tasks
      for rate in suite.rates
    ]

  def rate(self, method: str) -> float | None:
    """The method's rate; None while its search is not finished, or where every rate failed."""
    if not self._suite.rates:
      return float(self._suite.config(method)['optim']['rate'])
    scores: dict[float, list[float]] = {}
    for run in self.search():
      if run.method == method:
        if (result := self._result(run)) is None:
          return None
        scores.setdefault(dict(run.changes)['optim.rate'], []).append(average(result))
    return _best({rate: statistics.mean(each) for rate, each in scores.items()})

  def options(self, method: str) -> Iterator[Run]:
    """Every combination of the method's options for every task; none while its rate is unknown."""
    names = self._suite.options.get(method, {})
    rate = self.rate(method)
    if not names or rate is None:
      return
    for task in self._suite.tasks:
      for values in itertools.product(*names.values()):
        changes = ('optim.rate', rate), *zip(names, values)
        yield Run(OPTIONS, method, task, self._suite.seeds[0], changes)

  def chosen(self, method: str, task: str) -> tuple[tuple[str, Any], ...] | None:
    """The changes that a method takes on a task; None while that is not known."""
    if (rate := self.rate(method)) is None:
      return None
    tried = [run for run in self.options(method) if run.task == task]
    if not tried:
      return (('optim.rate', rate),)
    results = [self._result(run) for run in tried]
    if any(result is None for result in results):
      return None
    scores = [average(result) for result in results if result is not None]
    return tried[scores.index(max(scores))].changes

  def final(self, method: str) -> Iterator[Run]:
    """What counts: every task with every seed, as far as the method's choices are made."""
    for task in self._suite.tasks:
      if (changes := self.chosen(method, task)) is not None:
        for seed in self._suite.seeds:
          yield Run(FINAL, method, task, seed, changes)

  def low_resource(self, method: str) -> Iterator[Run]:
    """The runs on few rows."""
    few = self._suite.few
    if few is None or method not in few.methods:
      return
    for task in few.tasks:
      if (changes := self.chosen(method, task)) is not None:
        for rows in few.rows:
          own = ('steps', few.steps), ('eval_every', max(few.steps // LOW_EVALUATIONS, 1))
          for seed in self._suite.seeds:
            drawn = (('data.sample_seed', seed),) if few.redraw else ()
            few_rows = *changes, ('data.max_train', rows), *own, *drawn
            yield Run(LOW, method, task, seed, few_rows)

  def random_search(self, method: str) -> Iterator[Run]:
    """Every rate on random weights, with the first seed."""
    random = self._suite.random
    if random and method in random.methods:
      for task in random.tasks:
        for rate in self._suite.rates or (self.rate(method),):
          changes = ('optim.rate', rate), ('random_base', True)
          yield Run(RANDOM_SEARCH, method, task, self._suite.seeds[0], changes)

  def random(self, method: str) -> Iterator[Run]:
    """On random weights with every seed, each task at its best rate."""
    searched = list(self.random_search(method))
    for task in dict.fromkeys(run.task for run in searched):
      mine = [run for run in searched if run.task == task]
      results = [self._result(run) for run in mine]
      if all(result is not None for result in results):
        scores = {run: average(r) for run, r in zip(mine, results) if r is not None}
        if best := _best(scores):
          for seed in self._suite.seeds:
            yield dataclasses.replace(best, part=RANDOM, seed=seed)

  def runs(self) -> list[Run]:
    """All that are known by now, in the order in which they are made."""
    out = self.search()
    for part in self.options, self.final, self.low_resource, self.random_search, self.random:
      out += [run for method in self._suite.methods for run in part(method)]
    return out

  def planned(self) -> dict[str, int]:
    """How many runs each part will have."""
    suite, few = self._suite, self._suite.few
    options = 0
    for values in suite.options.values():
      options += len(suite.tasks) * len(list(itertools.product(*values.values())))
    low = len(few.methods) * len(few.tasks) * len(few.rows) * len(suite.seeds) if few else 0
    final = len(suite.methods) * len(suite.tasks) * len(suite.seeds)
    random = len(suite.random.methods) * len(suite.random.tasks) if suite.random else 0
    return {
      SEARCH: len(self.search()),
      OPTIONS: options,
      FINAL: final,
      LOW: low,
      RANDOM_SEARCH: random * max(len(suite.rates), 1),
      RANDOM: random * len(suite.seeds),
    }


def _best(scores: dict[T, float]) -> T | None:
  """Of the highest score; None where all failed."""
  best = max(scores, key=lambda each: scores[each])
  return best if scores[best] > float('-inf') else None


def average(result: Results) -> float:
  """The average on validation rows; of a run that failed, less than any."""
  return float('-inf') if 'failed' in result else result['validation']['average']
