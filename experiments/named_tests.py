"""Runs tests by their names in a process of their own, and tells how each of them went."""

import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from experiments.console import duration

STOPPED = -1  # exit code of a process that took too long


@dataclass(frozen=True)
class Outcome:
  """How one test went, with all its parameters.

  Attributes:
    cases: how many there were. failed: whose claim did not hold. errors: that did not come to it.
    skipped: left out, or known not to hold. seconds: of all of them, with what was made for them.
  """

  cases: int
  failed: int = 0
  errors: int = 0
  skipped: int = 0
  seconds: float = 0.0

  @property
  def kind(self) -> str:
    """'failed', 'skipped' where no case ran, or 'passed'."""
    if self.failed or self.errors:
      return 'failed'
    return 'passed' if self.cases > self.skipped else 'skipped'


def run(
  names: Sequence[str], root: Path, seconds: float | None = None, shown: bool = True
) -> tuple[int, dict[str, Outcome]]:
  """The exit code of pytest, and the outcome of each test that it came to.

  names: FILE::NAME from the folder `tests` of `root`; all parameters, or those of FILE::NAME[...].
  seconds: how long it may take at most, else the code is STOPPED. shown: whether its output is.
  """
  with tempfile.TemporaryDirectory() as folder:
    report = Path(folder) / 'report.xml'
    command = [sys.executable, '-m', 'pytest', '-m', '', '-p', 'no:cacheprovider']
    command += [f'--junitxml={report}', *(f'tests/{name}' for name in names)]
    # Without files of bytecode, which would be taken for those of a source changed since then.
    env = {**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'}
    told = None if shown else subprocess.DEVNULL
    process = subprocess.Popen(
      command, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=told, start_new_session=True
    )
    try:
      code = process.wait(seconds)
    except subprocess.TimeoutExpired:
      code = STOPPED
    finally:
      if process.poll() is None:  # with all that it started
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return code, outcomes(ElementTree.parse(report).getroot()) if report.exists() else {}


def outcomes(report: ElementTree.Element) -> dict[str, Outcome]:
  """FILE::NAME -> its outcome, of a report in JUnit's format."""
  cases = defaultdict(list)
  for case in report.iter('testcase'):
    file = case.get('classname', '').removeprefix('tests.').replace('.', '/')
    cases[f'{file}.py::{function(case.get("name", ""))}'].append(case)
  return {name: _summed(found) for name, found in cases.items()}


def function(name: str) -> str:
  """The name of a test without its parameters."""
  return name.partition('[')[0]


def spent(seconds: float) -> str:
  """Seconds in words: 3.1 s, 12 min 5 s."""
  if seconds < 0.05:
    return 'under 0.1 s'
  return f'{seconds:.1f} s' if seconds < 60 else duration(seconds)


def told(found: Iterable[Outcome]) -> str:
  """Tests that passed, in words: 12 cases, 3.1 s."""
  found = list(found)
  skipped = sum(each.skipped for each in found)
  cases = sum(each.cases for each in found) - skipped
  more = f', {skipped} skipped' if skipped else ''
  return f'{cases:,} {"case" if cases == 1 else "cases"}{more}, {spent(took(found))}'


def took(found: Iterable[Outcome]) -> float:
  """Seconds of all of them."""
  return sum(each.seconds for each in found)


def plain(found: Mapping[str, Outcome]) -> dict[str, dict[str, Any]]:
  """Outcomes as JSON has them."""
  return {name: {'outcome': each.kind, **asdict(each)} for name, each in found.items()}


def read(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Outcome]:
  """Outcomes that `plain` made plain."""
  numbers = lambda row: {name: value for name, value in row.items() if name != 'outcome'}
  return {name: Outcome(**numbers(row)) for name, row in rows.items()}


def _summed(cases: Sequence[ElementTree.Element]) -> Outcome:
  # A case may fail and then err as it is taken down: it counts once.
  kinds = [
    next((k for k in ('failure', 'error', 'skipped') if c.find(k) is not None), '') for c in cases
  ]
  seconds = sum(float(case.get('time', 0)) for case in cases)
  count = kinds.count
  return Outcome(len(cases), count('failure'), count('error'), count('skipped'), round(seconds, 2))
