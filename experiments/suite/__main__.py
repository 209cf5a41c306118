"""The paper's experiment: methods x tasks x seeds, each rate chosen on validation rows.

    python -m experiments.suite --suite=glue_nano --workdir=W --data.dir=DIR
    python -m experiments.suite --suite=glue_paper --dry_run

A suite is a file in `experiments/suites`. Each run has a folder in W with its settings, log,
results and adapter; what is finished is not made again, so the command may be stopped at any time.
Runs of a method share their compiled programs. W/records.json holds what is there so far and
W/page the page and pictures that `experiments.report` makes of it.
--known takes records.json of other folders or machines, whose runs are not made again.
--dry_run makes nothing: it tells how many runs there are, what they compute and how much memory
a step takes.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

from compacter_jax.settings import choose, within
from experiments.guard import guarded
from experiments.suite.definition import Suite
from experiments.suite.plan import Run

COST = 'cost'
PARTS = 'search', 'options', 'final', 'low_resource', 'random_search', 'random_base', COST


def main(argv: list[str]) -> None:
  """Makes what is missing, then the records and the page."""
  flags = _flags(argv)
  from experiments import suites

  suite = suites.read_suite(flags.suite)
  if flags.model:
    suite = dataclasses.replace(suite, model=flags.model)
  wanted = chosen(suite, flags)
  if flags.dry_run:
    from experiments.suite import budget

    print(budget.text(suite, flags.sustained))
    return
  from experiments.report import page, records
  from experiments.suite import collect, costs
  from experiments.suite.plan import Place
  from experiments.suite.runs import Runner

  place = Place(suite.model, flags.data_dir, flags.cache)
  runner = Runner(suite, place, flags.workdir, flags.known)
  runner.begin(wanted if flags.limit != 0 else lambda run: False)
  runner.work(wanted, flags.limit)
  if COST in flags.only:
    costs.measure(suite, place, flags.workdir, runner.known)
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
  add('--methods', nargs='*', help='whose runs to make now, by default all')
  add('--tasks', nargs='*', help='whose runs to make now, beside the search, by default all')
  add('--only', nargs='*', choices=PARTS, default=PARTS, help='what to make now')
  add('--limit', type=int, help='runs to make now at most')
  add('--known', nargs='*', type=Path, default=[], help='records of runs made elsewhere')
  add('--dry_run', action='store_true', help='tell what it takes')
  add('--sustained', type=float, help='TFLOP/s for --dry_run; by default measured here')
  flags = parser.parse_args(argv)
  if not flags.dry_run and flags.workdir is None:
    parser.error('--workdir is missing')
  if flags.limit is not None:
    within('--limit', flags.limit, 0)
  return flags


def chosen(suite: Suite, flags: argparse.Namespace) -> Callable[[Run], bool]:
  """Which runs to make now.  Raises ConfigError for a name that the suite does not have."""
  for field in 'methods', 'tasks':
    for name in getattr(flags, field) or ():
      choose(f'--{field}', name, getattr(suite, field))

  def wanted(run: Run) -> bool:
    searched = run.part == 'search' or not flags.tasks or run.task in flags.tasks
    return run.part in flags.only and searched and run.method in (flags.methods or suite.methods)

  return wanted


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
