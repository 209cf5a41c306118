"""What the runs of a suite have otherwise than the paper."""

from collections.abc import Mapping
from typing import Any

from experiments.report.markdown import listed
from experiments.suite import plan
from experiments.suite.definition import Suite
from experiments.suite.plan import FINAL, Place, Run
from experiments.suite.published import PUBLISHED

# Of each run its own, of no influence on a result, or told elsewhere.
OWN = 'seed', 'steps', 'eval_every', 'optim.rate', 'data.task', 'data.dir', 'data.cache', 'model'
OWN += 'data.source', 'unroll'

Pair = tuple[str, str]


def of(suite: Suite, place: Place) -> dict[str, list[str]]:
  """By setting: its value in these runs, and the published one."""
  here: dict[str, dict[Pair, Any]] = {}
  published: dict[str, dict[Pair, Any]] = {}
  for method in suite.methods:
    config = _flat(suite.config(method))
    for task in suite.tasks:
      run = Run(FINAL, method, task, suite.seeds[0], ())
      made = _flat(plan.settings_of(suite, run, place))
      for name, value in made.items():  # a suite changes settings and adds none
        here.setdefault(name, {})[method, task] = value
        its = PUBLISHED.get(task, {}).get(name, config[name])  # configs have those for all tasks
        published.setdefault(name, {})[method, task] = its
  names = [name for name in here if name not in OWN and here[name] != published[name]]
  return {name: [_told(here[name]), _told(published[name])] for name in sorted(names)}


def _told(values: Mapping[Pair, Any]) -> str:
  """'100', or '25 (copa), 100 (all others)' by tasks, methods or both."""
  groups: dict[str, list[Pair]] = {}
  for pair, value in values.items():
    groups.setdefault(_text(value), []).append(pair)
  if len(groups) == 1:
    return next(iter(groups))
  for side in 0, 1:  # whether the value depends on the method alone, or on the task
    names = {text: {pair[side] for pair in pairs} for text, pairs in groups.items()}
    if sum(map(len, names.values())) == len({pair[side] for pair in values}):
      break
  else:
    names = {text: {f'{method} on {task}' for method, task in p} for text, p in groups.items()}
  order = sorted(names, key=lambda text: len(names[text]))
  parts = [f'{text} ({listed(sorted(names[text]))})' for text in order[:-1]]
  return ', '.join([*parts, f'{order[-1]} (all others)'])


def _flat(plain: Mapping[str, Any], lead: str = '') -> dict[str, Any]:
  out: dict[str, Any] = {}
  for name, value in plain.items():
    out |= _flat(value, f'{lead}{name}.') if isinstance(value, Mapping) else {lead + name: value}
  return out


def _text(value: Any) -> str:
  if value is None:
    return '-'
  return f'{value:g}' if isinstance(value, float) else str(value)
