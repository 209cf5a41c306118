"""experiments/faults.json: how the tests of the faults went, when, and on what."""

import dataclasses
import datetime
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import folders, machine, named_tests
from experiments.named_tests import Outcome


@dataclass(frozen=True)
class Run:
  """Tests that ran on one day under the same versions.

  Attributes:
    date: YYYY-MM-DD. cores: of the machine. versions: of Python and libraries.
    tests: FILE::NAME -> how it went.
  """

  date: str
  cores: int
  versions: dict[str, str]
  tests: dict[str, Outcome]

  @property
  def told(self) -> str:
    """Where it ran, in words."""
    versions = ', '.join(f'{name} {version}' for name, version in self.versions.items())
    return f'{self.date}, {self.cores} cores, {versions}'


def now(tests: dict[str, Outcome]) -> Run:
  """These outcomes with today and this machine."""
  today = datetime.datetime.now(datetime.UTC).date().isoformat()
  return Run(today, os.cpu_count() or 0, machine.versions(), tests)


def read(path: Path) -> list[Run]:
  """All runs of which something still counts; none where there is no such file."""
  if not path.exists():
    return []
  rows = json.loads(path.read_text())
  return [Run(**{**row, 'tests': named_tests.read(row['tests'])}) for row in rows]


def save(path: Path, runs: Sequence[Run]) -> None:
  """Writes the runs as JSON."""
  rows = [{**dataclasses.asdict(run), 'tests': named_tests.plain(run.tests)} for run in runs]
  folders.write_json(path, rows)


def merged(runs: Sequence[Run], new: Run, named: Collection[str]) -> list[Run]:
  """The runs with a new one: its outcomes replace those before; tests not `named` any more go."""
  left = [
    dataclasses.replace(run, tests=_only(run.tests, set(named) - new.tests.keys())) for run in runs
  ]
  same = [run for run in left if dataclasses.replace(run, tests=new.tests) == new]
  tests = {name: each for run in same for name, each in run.tests.items()} | new.tests
  new = dataclasses.replace(new, tests=dict(sorted(_only(tests, named).items())))
  return [run for run in [*(run for run in left if run not in same), new] if run.tests]


def outcomes(runs: Sequence[Run]) -> dict[str, Outcome]:
  """FILE::NAME -> how it went, of all runs."""
  return {name: each for run in runs for name, each in run.tests.items()}


def _only(tests: dict[str, Outcome], named: Collection[str]) -> dict[str, Outcome]:
  return {name: each for name, each in tests.items() if name in named}
