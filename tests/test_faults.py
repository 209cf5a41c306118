"""docs/reliability.md is that of its table, whose tests are there, and of what is recorded."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from compacter_jax.errors import CompacterError, ConfigError
from experiments import faults, faults_record, named_tests
from experiments.faults import Fault
from experiments.named_tests import Outcome

TESTS = Path(__file__).parent
FAULTS = faults.read()


def names(file):
  """The tests in a file, without running it."""
  found = ast.walk(ast.parse(file.read_text()))
  return {node.name for node in found if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize('fault', FAULTS, ids=lambda fault: f'F{fault.number}')
def test_every_test_that_is_named_is_there(fault):
  for test in fault.tests:
    file, _, name = test.partition('::')
    assert name.startswith('test_') and name in names(TESTS / file), test


def test_every_fault_has_its_row_and_says_what_is_missing():
  assert [fault.number for fault in FAULTS] == list(range(1, 63))
  assert [number for group in faults.GROUPS.values() for number in group] == list(range(1, 63))
  for fault in FAULTS:
    assert fault.what and fault.holds
    if not fault.tests:
      assert fault.note.startswith(('not yet', 'does not apply')), fault.number
    if fault.state == 'in part':
      assert 'not yet' in fault.note or 'no release' in fault.note, fault.number


def test_the_page_is_up_to_date():
  assert faults.PAGE.read_text() == faults.made(), 'run python -m experiments.faults'


def test_the_record_is_of_tests_that_are_named():
  runs = faults_record.read(faults.RECORD)
  tests = [test for run in runs for test in run.tests]
  assert len(set(tests)) == len(tests) and set(tests) <= set(faults.named(FAULTS))


def test_what_ci_shows_is_of_the_faults_and_runs_there():
  for test in [test for tests in faults.in_ci().values() for test in tests]:
    assert test in faults.named(FAULTS), test
    file, _, name = test.partition('::')
    found = ast.walk(ast.parse((TESTS / file).read_text()))
    made = next(node for node in found if getattr(node, 'name', '') == name)
    assert 'soak' not in ''.join(map(ast.unparse, made.decorator_list))


def test_what_ci_shows_is_told_with_its_time():
  found = {'t.py::a': Outcome(1, seconds=1.0), 't.py::b': Outcome(3, seconds=0.5)}
  told = faults.shown({'kills': ['t.py::a', 't.py::x'], 'bits': ['t.py::b']}, found)
  assert 'they took 1.5 s.' in told
  assert told.splitlines()[-2:] == [
    '| kills | `t.py::a`<br>`t.py::x` | passed, 1 case, 1.0 s<br>`x` not run |',
    '| bits | `t.py::b` | passed, 3 cases, 0.5 s |',
  ]


@pytest.mark.parametrize(
  'record', sorted(faults.RECORD.parent.glob('*.json')), ids=lambda path: path.name
)
def test_no_record_names_a_folder_of_a_machine(record):
  assert not re.findall(r'"/\w+/[^"]*|(?<=[ :])/\w+/[^"]*', record.read_text())


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """Page and record of their own; the record as it is."""
  if faults.RECORD.exists():
    shutil.copy(faults.RECORD, tmp_path / 'record.json')
  monkeypatch.setattr(faults, 'RECORD', tmp_path / 'record.json')
  monkeypatch.setattr(faults, 'PAGE', tmp_path / 'page.md')
  return tmp_path


def test_the_command_writes_the_page(elsewhere):
  faults.main([])
  assert (elsewhere / 'page.md').read_text().count('\n| F') >= 62
  assert (elsewhere / 'page.md').read_text() == faults.made()


@pytest.mark.parametrize(
  ('tests', 'told'),
  [
    ('ab', 'passed, 4 cases, 3.5 s'),
    ('a', 'passed, 1 case, 1.0 s'),
    ('p', 'passed, 2 cases, 1 skipped, 0.1 s'),
    ('afx', 'passed, 1 case, 1.0 s<br>**`test_f` failed**, 2 of 5<br>`test_x` not run'),
    ('se', '`test_s` skipped<br>**`test_e` failed**, 1 of 1'),
    ('xy', 'not run'),
    ('', ''),
  ],
)
def test_results_are_told(tests, told):
  found = {
    'a': Outcome(1, seconds=1.0),
    'b': Outcome(3, seconds=2.5),
    'p': Outcome(3, skipped=1, seconds=0.1),
    'f': Outcome(5, failed=1, errors=1),
    's': Outcome(2, skipped=2),
    'e': Outcome(1, errors=1),
  }
  name = lambda letter: f'test.py::test_{letter}'
  assert faults.result([name(t) for t in tests], {name(t): how for t, how in found.items()}) == told


def test_the_sum_is_told():
  rows = [Fault(1, 'x', 'y', ('a', 'b')), Fault(2, 'x', 'y', ('b', 'c'))]
  assert faults.summary(rows, []) == 'Of 3 tests: 3 not run.'
  runs = [
    faults_record.now({'a': Outcome(2, seconds=70.0), 'b': Outcome(1, failed=1, seconds=5.0)})
  ]
  told = 'Of 3 tests: 1 passed, 1 failed, 1 not run. Those that ran are 3 cases and took 1 min 15 s'
  assert faults.summary(rows, runs).startswith(told)
  assert f'- 2 tests: {runs[0].date}, ' in faults.summary(rows, runs)


def test_runs_are_merged(tmp_path):
  old = faults_record.now({'a': Outcome(1), 'b': Outcome(2), 'gone': Outcome(1)})
  yesterday = old.__class__('2001-01-01', old.cores, old.versions, old.tests | {'c': Outcome(5)})
  new = faults_record.now({'b': Outcome(3)})
  merged = faults_record.merged([yesterday], new, 'abc')
  assert [run.tests for run in merged] == [{'a': Outcome(1), 'c': Outcome(5)}, new.tests]
  merged = faults_record.merged([old], new, 'abc')
  assert [run.tests for run in merged] == [{'a': Outcome(1), 'b': Outcome(3)}]
  again = faults_record.merged([yesterday], faults_record.now(dict(yesterday.tests)), 'abc')
  assert [sorted(run.tests) for run in again] == [['a', 'b', 'c']]
  faults_record.save(tmp_path / 'x', merged)
  assert faults_record.read(tmp_path / 'x') == merged
  assert faults_record.read(tmp_path / 'absent') == []


def test_rows_are_run_once_and_added(elsewhere, monkeypatch, capfd):
  asked, code = [], 0

  def run(tests, root):
    asked.append(tests)
    return code, {test: Outcome(1, failed=code, seconds=0.5) for test in tests}

  monkeypatch.setattr(named_tests, 'run', run)
  faults.RECORD.unlink(missing_ok=True)
  faults.main(['--run', '--rows', 'F8', 'F9', 'F34'])
  mine = [fault for fault in FAULTS if fault.number in (8, 9, 34)]
  assert asked == [faults.named(mine[:2]), list(mine[2].tests)]
  assert set(faults_record.outcomes(faults_record.read(faults.RECORD))) == set(faults.named(mine))
  assert '| passed, 1 case, 0.5 s |' in faults.PAGE.read_text()
  code = 1
  with pytest.raises(CompacterError, match='Tests failed') as caught:
    faults.main(['--run', '--rows', 'F34'])
  assert caught.value.got == mine[2].tests[0]
  found = faults_record.outcomes(faults_record.read(faults.RECORD))
  assert found[mine[2].tests[0]].failed and not found[mine[0].tests[0]].failed
  assert 'failed**, 1 of 1' in faults.PAGE.read_text()
  with pytest.raises(ConfigError, match='F63'):
    faults.main(['--run', '--rows', 'F63'])
  monkeypatch.setattr(named_tests, 'run', lambda tests, root: (2, {}))
  with pytest.raises(CompacterError, match='did not come to an end'):
    faults.main(['--run', '--rows', 'F34'])
  # What did not come to an end is not told as what it was before.
  assert mine[2].tests[0] not in faults_record.outcomes(faults_record.read(faults.RECORD))
  assert faults.PAGE.read_text() == faults.made()
