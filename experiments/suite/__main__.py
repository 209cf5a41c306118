"""The paper's experiment: methods x tasks x seeds, each rate chosen on validation rows.

    python -m experiments.suite --suite=glue_nano --workdir=W --data.dir=DIR
    python -m experiments.suite --suite=glue_paper --dry_run

A suite is a file in `experiments/suites`. Each run has a folder in W with its settings, log,
results and adapter; what is finished is not made again, so the command may be stopped at any time.
Runs of a method on a task share one compiled program. W/records.json holds what is there so far and
W/page the page and pictures that `experiments.report` makes of it.
--dry_run makes nothing: it tells how many runs there are, what they compute and how much memory
a step takes.
"""

import argparse
import sys
from pathlib import Path

from compacter_jax.settings import choose, within
from experiments.guard import guarded
from experiments.suite.definition import Suite

COST = 'cost'
PARTS = 'search', 'options', 'final', 'low_resource', COST


def main(argv: list[str]) -> None:
  """Makes what is missing, then the records and the page."""
  flags = _flags(argv)
  from experiments import suites

  suite = narrowed(suites.read_suite(flags.suite), flags)
  if flags.dry_run:
    from experiments.suite import budget

    print(budget.text(suite, flags.sustained))
    return
  from experiments.report import page, records
  from experiments.suite import collect, costs
  from experiments.suite.plan import Place
  from experiments.suite.runs import Runner

  place = Place(suite.model, flags.data_dir, flags.cache)
  runner = Runner(suite, place, flags.workdir)
  runner.begin()
  runner.work(set(flags.only) - {COST}, flags.limit)
  if COST in flags.only:
    costs.measure(suite, place, flags.workdir)
  found = collect.collect(suite, place, runner, flags.workdir)
  records.write(flags.workdir / 'records.json', found)
  page.write(flags.workdir / 'page', found)
  print(f'{flags.workdir}/records.json, {flags.workdir}/page/results.md')


def _flags(argv: list[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m experiments.suite',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--suite', required=True, help='a file in experiments/suites, without its ending')
  add('--workdir', type=Path, help='where the runs are and will be')
  add('--data.dir', dest='data_dir', default='', help='the folder of the rows')
  add('--data.cache', dest='cache', default='auto', help='the folder of the ids')
  add('--model', help="another T5 than the suite's: a folder or a name")
  add('--methods', nargs='*', help="these of the suite's, by default all")
  add('--tasks', nargs='*', help="these of the suite's, by default all")
  add('--seeds', nargs='*', type=int, help="instead of the suite's")
  add('--only', nargs='*', choices=PARTS, default=PARTS, help='what to make now')
  add('--limit', type=int, help='runs to make now at most')
  add('--dry_run', action='store_true', help='tell what it takes')
  add('--sustained', type=float, help='TFLOP/s for --dry_run; by default measured here')
  flags = parser.parse_args(argv)
  if not flags.dry_run and flags.workdir is None:
    parser.error('--workdir is missing')
  if flags.limit is not None:
    within('--limit', flags.limit, 0)
  return flags


def narrowed(suite: Suite, flags: argparse.Namespace) -> Suite:
  """The suite with what the flags leave of it.  Raises ConfigError for what it does not have."""
  import dataclasses

  changes = {}
  for field in 'methods', 'tasks':
    if names := getattr(flags, field):
      for name in names:
        choose(f'--{field}', name, getattr(suite, field))
      changes[field] = {k: v for k, v in getattr(suite, field).items() if k in names}
  if flags.seeds:
    changes['seeds'] = tuple(flags.seeds)
  if flags.model:
    changes['model'] = flags.model
  few = suite.low_resource
  kept = {**{f: getattr(suite, f) for f in ('methods', 'tasks')}, **changes}
  if few:
    methods = tuple(name for name in few.methods if name in kept['methods'])
    tasks = tuple(name for name in few.tasks if name in kept['tasks'])
    changes['low_resource'] = dataclasses.replace(few, methods=methods, tasks=tasks)
  changes['options'] = {k: v for k, v in suite.options.items() if k in kept['methods']}
  return dataclasses.replace(suite, **changes)


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
