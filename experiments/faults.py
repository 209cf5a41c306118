"""Writes docs/reliability.md: what can go wrong, what must hold then, and the tests of that.

    python -m experiments.faults
    python -m experiments.faults --run --rows F1 F17

Takes experiments/faults.toml; experiments/faults.json, of --run; experiments/guards.json of
`experiments.guards`, and experiments/soak.json of `experiments.soak`.

--run first runs the tests that the table names, or those of some rows, and adds how they went to
the record. It ends with exit code 1 if one of them fails, and names it.
"""

import argparse
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from compacter_jax import tensor_file
from compacter_jax.errors import CompacterError
from compacter_jax.settings import choose
from experiments import faults_record, guards, named_tests
from experiments.faults_record import Run
from experiments.guard import guarded
from experiments.named_tests import Outcome
from experiments.soak.tally import Tally

TABLE = Path(__file__).with_name('faults.toml')
RECORD = Path(__file__).with_name('faults.json')
SOAK = Path(__file__).with_name('soak.json')
PAGE = Path(__file__).parents[1] / 'docs' / 'reliability.md'

GROUPS = {
  'Processes and storage': range(1, 17),
  'Checkpoints': range(17, 32),
  'Numbers': range(32, 39),
  'Data': range(39, 47),
  'Settings and hosts': range(47, 54),
  'Hostile files': range(54, 63),
}

HEAD = """# Reliability

What can go wrong, what must hold then, and the tests that hold the program to it, from the folder
`tests`; some run by `pytest -m soak` or `-m processes` alone. This page is made by
`python -m experiments.faults` of `experiments/faults.toml` and of what
`python -m experiments.faults --run` recorded, which runs these tests; a test keeps them equal. A
test with several parameters is as many cases.

Whether a folder is what was written, `python -m experiments.verify PATH` tells: a run, ended or
not, an adapter or a T5, file by file, with what is wrong and what to do; it changes nothing.
Weights of T5 in Hugging Face's format have no hash: a bit of a number that flips is not seen.

A step whose loss or gradient is not finite changes nothing. `config.nonfinite` says whether the run
stops there, or leaves out so many and notes the rows of each in metrics.jsonl. `config.leap=5`
notes those of steps whose loss is over five times the median of the 50 before it, and changes
nothing.

| exit code | |
|---:|---|
| 0 | done |
| 2 | settings or flags that cannot be; a folder with another run |
| 3 | data |
| 4 | weights, a tokenizer, an adapter or checkpoints that are damaged or of another model |
| 5 | a loss or gradient that is not finite |
| 6 | a folder or file that cannot be written |
| 7 | a folder in which another process is at work |
| 8 | another process is lost, hangs, or is about to do something else |
| 75 | asked to end (SIGTERM, SIGINT), and all is saved: the same command goes on |
| 130 | asked twice |
| 1 | anything else |
"""


CI = """
## In CI

`.ci/run` has all tests but those marked `soak`, two at a time, and 25 SIGKILLs at random moments of
runs by `python -m experiments.soak --kills=25 --methods compacter`. Of the tests these are the
least that must be shown at every change; one after the other they took {took}.
"""

SOAKED = """
## Soak

`python -m experiments.soak --minutes=30 --record=experiments/soak.json`: small runs whose process
is ended at random moments, or whose disk is full or broken from some call on, and whose newest
checkpoint is now and then damaged, are started again until they end; some are runs of two hosts, of
which one is ended or stopped. They must then equal undisturbed ones to the bit, each start must end
with its exit code, and soon. Two shared cores, two runs at a time:

"""


class Fault(NamedTuple):
  """One fault.

  Attributes:
    number: from 1.
    what: goes wrong. holds: what must hold then.
    tests: of that, as FILE::NAME from the folder `tests`.
    note: what is not held yet, or why it cannot happen here; '' where the tests are all of it.
  """

  number: int
  what: str
  holds: str
  tests: tuple[str, ...] = ()
  note: str = ''

  @property
  def state(self) -> str:
    """'tested', 'in part', 'not yet' or 'does not apply'."""
    if self.tests:
      return 'in part' if self.note else 'tested'
    return 'does not apply' if self.note.startswith('does not apply') else 'not yet'


def read() -> list[Fault]:
  """All faults by their numbers."""
  rows = {name: row for name, row in _table().items() if name != 'ci'}
  made = [
    Fault(
      int(name[1:]), row['what'], row['holds'], tuple(row.get('tests', ())), row.get('note', '')
    )
    for name, row in rows.items()
  ]
  return sorted(made)


def in_ci() -> dict[str, list[str]]:
  """What CI shows in any case -> the tests of it."""
  return _table()['ci']


def _table() -> dict[str, Any]:
  return tomllib.loads(TABLE.read_text())


def named(faults: Iterable[Fault]) -> list[str]:
  """Their tests, each once."""
  return list(dict.fromkeys(test for fault in faults for test in fault.tests))


def result(tests: Sequence[str], found: Mapping[str, Outcome]) -> str:
  """How the tests of a fault went: those that passed together, each of the others by its name."""
  passed = [found[test] for test in tests if test in found and found[test].kind == 'passed']
  told = [f'passed, {named_tests.told(passed)}'] if passed else []
  missing = [test for test in tests if test not in found]
  for test in tests:
    name, how = test.partition('::')[2], found.get(test)
    if how is None:
      told += [f'`{name}` not run'] * (missing != list(tests))
    elif how.kind == 'skipped':
      told.append(f'`{name}` skipped')
    elif how.kind == 'failed':
      told.append(f'**`{name}` failed**, {how.failed + how.errors} of {how.cases}')
  return '<br>'.join(told) or 'not run' * bool(tests)


def summary(faults: Sequence[Fault], runs: Sequence[Run]) -> str:
  """How all the tests went, and when and where they ran."""
  tests, found = named(faults), faults_record.outcomes(runs)
  ran = [found[test] for test in tests if test in found]
  kinds = [each.kind for each in ran]
  counts = [f'{kinds.count(kind)} {kind}' for kind in ('passed', 'failed', 'skipped')]
  counts.append(f'{len(tests) - len(ran)} not run')
  told = ', '.join(each for each in counts if not each.startswith('0 '))
  lines = [f'Of {len(tests)} tests: {told}.']
  if ran:
    cases = sum(each.cases for each in ran)
    took = named_tests.spent(named_tests.took(ran))
    lines[0] += f' Those that ran are {cases:,} cases and took {took}, one after the other.'
  return '\n'.join([*lines, '', *(f'- {len(run.tests)} tests: {run.told}' for run in runs)]).strip()


def page(faults: list[Fault], runs: Sequence[Run], removed: str) -> str:
  """The page, in Markdown.  removed: what it says of guards that were removed on purpose."""
  states = 'tested', 'in part', 'not yet', 'does not apply'
  counts = [f'{sum(each.state == state for each in faults)} {state}' for state in states]
  lines = [HEAD, f'Of {len(faults)} faults: {", ".join(counts)}.', '', summary(faults, runs)]
  found = faults_record.outcomes(runs)
  for title, numbers in GROUPS.items():
    lines += ['', f'## {title}', '', '| | fault | what must hold | tests | result |']
    lines.append('|---|---|---|---|---|')
    for each in faults:
      if each.number in numbers:
        told = [f'`{test}`' for test in each.tests] + [each.note] * bool(each.note)
        cells = each.what, each.holds, '<br>'.join(told), result(each.tests, found)
        lines.append(f'| F{each.number} | {" | ".join(cells)} |')
  soaked = SOAKED + Tally.read(SOAK).markdown() + '\n'
  return '\n'.join(lines) + '\n' + shown(in_ci(), found) + removed + soaked


def shown(tests: Mapping[str, Sequence[str]], found: Mapping[str, Outcome]) -> str:
  """The section of what CI shows.  tests: by what they show."""
  ran = [found[test] for each in tests.values() for test in each if test in found]
  took = named_tests.spent(named_tests.took(ran))
  lines = [CI.format(took=took), '| | tests | result |', '|---|---|---|']
  for what, each in tests.items():
    cells = what, '<br>'.join(f'`{test}`' for test in each), result(each, found)
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines) + '\n'


def made() -> str:
  """The page of what is recorded."""
  return page(read(), faults_record.read(RECORD), guards.markdown())


def run(rows: Collection[str]) -> list[str]:
  """Runs the tests of these rows and adds them to the record; those that did not pass.

  A group of rows is one process, and what it found is kept before the next one begins. A test that
  several rows have runs once; one that a process did not come to is in the record no more.
  """
  faults, done, wrong = read(), set[str](), []
  for title, numbers in GROUPS.items():
    mine = [each for each in faults if each.number in numbers and f'F{each.number}' in rows]
    tests = [test for test in named(mine) if test not in done]
    if not tests:
      continue
    print(f'{title}: {len(tests)} tests', flush=True)
    _, found = named_tests.run(tests, TABLE.parents[1])
    found = {test: found[test] for test in tests if test in found}
    done |= set(tests)
    wrong += [test for test in tests if test not in found or found[test].kind == 'failed']
    left = set(named(faults)) - (set(tests) - found.keys())
    new = faults_record.now(found)
    faults_record.save(RECORD, faults_record.merged(faults_record.read(RECORD), new, left))
  return wrong


def main(argv: list[str]) -> None:
  """Writes the page."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.faults',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--run', action='store_true', help='run the tests first, and record them')
  parser.add_argument('--rows', nargs='+', metavar='F', help='of these rows; by default of all')
  flags = parser.parse_args(argv)
  known = [f'F{fault.number}' for fault in read()]
  for row in flags.rows or ():
    choose('rows', row, known)
  wrong = run(flags.rows or known) if flags.run else []
  with tensor_file.atomic(PAGE) as file:
    file.write(made().encode())
  if wrong:
    raise CompacterError('Tests failed or did not come to an end.', got=', '.join(wrong))


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
