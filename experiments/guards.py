"""Removes guards on purpose, one at a time, and sees that a test fails without each.

    python -m experiments.guards
    python -m experiments.guards --only 'a lock of the folder'

experiments/guards.toml lists them. In a copy of the program, in a temporary folder, all their tests
must pass; then each guard is removed by itself, its test must fail, and it is put back. What was
found goes to experiments/guards.json, of which `experiments.faults` makes a part of
docs/reliability.md. Exits with 1 if a test passes without its guard.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compacter_jax.errors import CompacterError, ConfigError
from compacter_jax.settings import choose
from experiments import folders, named_tests
from experiments.guard import guarded
from experiments.named_tests import Outcome

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_name('guards.toml')
RECORD = Path(__file__).with_name('guards.json')
# Of the program's folder, what tests need: others may be large, and are not the program.
PARTS = 'compacter_jax', 'experiments', 'tests', 'docs', 'pyproject.toml', 'README.md'
TOO_LONG = 600.0  # seconds of one test

REMOVED = """
## Guards removed on purpose

`python -m experiments.guards`: in a copy of the program each of these guards was removed by itself
(`experiments/guards.toml` has the lines), and the test that is named, which passes with it, was
run. {} of {} failed, as they must:

| | guard | of | test | without it |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Guard:
  """One guard, and the test that must fail without it.

  Attributes:
    what: it is, in words. row: of the faults, as F17.
    file: from the program's folder. text: of that file, once. removed: stands there instead.
    test: FILE::NAME from the folder `tests`; all parameters, or those of FILE::NAME[...].
  """

  what: str
  row: str
  file: str
  text: str
  removed: str
  test: str

  @property
  def digest(self) -> str:
    """Of all that decides whether the test fails without it, and is in the table."""
    told = self.file, self.text, self.removed, self.test
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]

  def without(self, source: str) -> str:
    """The file without the guard.  Raises ConfigError unless its text is there once."""
    if source.count(self.text) != 1:
      raise ConfigError(
        'This guard is not where its table says.',
        where=f'{self.what}, {self.file}',
        expected='the text once',
        got=f'{source.count(self.text)} times',
        fix=f'bring {TABLE.name} up to date',
      )
    return source.replace(self.text, self.removed)


def read() -> list[Guard]:
  """All guards, by the rows of their faults."""
  rows = tomllib.loads(TABLE.read_text())['guard']
  return sorted((Guard(**row) for row in rows), key=lambda each: int(each.row[1:]))


def recorded() -> dict[str, Any]:
  """What is recorded: guard -> how its test went without it."""
  return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def markdown() -> str:
  """The part of the page about them."""
  guards, found = read(), recorded()
  told = {each.what: _told(each, found.get(each.what)) for each in guards}
  lines = [
    f'| {each.row} | {each.what} | `{each.file}` | `{each.test}` | {told[each.what]} |'
    for each in guards
  ]
  failed = sum(text == 'fails' for text in told.values())
  return REMOVED.format(failed, len(guards)) + '\n'.join(lines) + '\n'


def red(code: int, found: Mapping[str, Outcome]) -> bool:
  """Whether a test failed: it was found and ran, and what it claims did not hold."""
  return code == 1 and any(each.failed for each in found.values())


def check(guards: Sequence[Guard], tree: Path) -> None:
  """Raises CompacterError unless the tests of all guards pass as things are."""
  tests = list(dict.fromkeys(each.test for each in guards))
  code, found = named_tests.run(tests, tree)
  wrong = [
    test
    for test in tests
    if (how := found.get(named_tests.function(test))) is None or how.kind != 'passed'
  ]
  if code or wrong:
    raise CompacterError(
      'These tests must pass before a guard is removed.',
      where=', '.join(wrong),
      got=f'exit code {code} of pytest',
    )


def remove(guard: Guard, tree: Path) -> dict[str, Any]:
  """Removes a guard, runs its test, and puts it back; what is recorded of it."""
  path = tree / guard.file
  source = path.read_text()
  path.write_text(guard.without(source))
  try:
    code, found = named_tests.run([guard.test], tree, TOO_LONG, shown=False)
  finally:
    path.write_text(source)
  seconds = round(named_tests.took(found.values()), 2)
  return {'digest': guard.digest, 'failed': red(code, found), 'code': code, 'seconds': seconds}


def copied(folder: Path) -> Path:
  """A copy of the program in a folder."""
  for name in PARTS:
    if (ROOT / name).is_dir():
      ignore = shutil.ignore_patterns('__pycache__')
      shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    else:
      shutil.copy(ROOT / name, folder / name)
  return folder


def main(argv: list[str]) -> None:
  """Removes guards and records what their tests said."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.guards',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--only', nargs='+', help='these guards, by what they are; by default all')
  flags = parser.parse_args(argv)
  guards = read()
  for what in flags.only or ():
    choose('only', what, [each.what for each in guards])
  chosen = [each for each in guards if not flags.only or each.what in flags.only]
  right = True
  with tempfile.TemporaryDirectory(prefix='guards-') as folder:
    tree = copied(Path(folder))
    check(chosen, tree)
    for each in chosen:
      found = remove(each, tree)
      known = recorded() | {each.what: found}
      order = [every.what for every in guards if every.what in known]
      folders.write_json(RECORD, {what: known[what] for what in order})
      seconds = named_tests.spent(found['seconds'])
      print(f'{each.row} {each.what}: {_told(each, found)}, {seconds}', flush=True)
      right &= found['failed']
  if not right:
    sys.exit(1)


def _told(guard: Guard, found: Mapping[str, Any] | None) -> str:
  if found is None or found['digest'] != guard.digest:
    return 'not run'
  if found['failed']:
    return 'fails'
  return f'**does not fail**, exit code {found["code"]}'


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
