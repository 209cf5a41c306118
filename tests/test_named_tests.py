"""Tests that are run by their names, and what is told of them."""

import pytest

from experiments import named_tests
from experiments.named_tests import Outcome

TESTS = """
import pytest, time
@pytest.mark.parametrize('x', [1, 2, 3])
def test_parameters(x): assert x != 2
@pytest.fixture
def broken(): raise OSError('no')
def test_fixture(broken): pass
@pytest.mark.soak
def test_long(): pass
def test_left_out(): pytest.skip('for a reason')
def test_hangs(): time.sleep(600)
def test_other(): assert False
"""
INI = """
[pytest]
addopts = -m 'not soak'
markers = soak: long
"""


@pytest.fixture
def root(tmp_path):
  (tmp_path / 'tests/inner').mkdir(parents=True)
  (tmp_path / 'tests/inner/test_some.py').write_text(TESTS)
  (tmp_path / 'pytest.ini').write_text(INI)
  return tmp_path


def test_outcomes_are_those_of_the_named_tests(root):
  names = ['parameters', 'fixture', 'long', 'left_out']
  names = [f'inner/test_some.py::test_{name}' for name in names]
  code, found = named_tests.run(names, root, shown=False)
  assert code == 1 and list(found) == names
  told = [
    (each.kind, each.cases, each.failed, each.errors, each.skipped) for each in found.values()
  ]
  assert told[0] == ('failed', 3, 1, 0, 0)
  assert told[1] == ('failed', 1, 0, 1, 0)
  assert told[2] == ('passed', 1, 0, 0, 0)
  assert told[3] == ('skipped', 1, 0, 0, 1)
  assert not list(root.rglob('__pycache__'))
  code, found = named_tests.run([f'{names[0]}[3]'], root, shown=False)
  assert (code, [each.cases for each in found.values()]) == (0, [1])


def test_what_cannot_be_run_has_no_outcome(root):
  code, found = named_tests.run(['inner/test_some.py::test_absent'], root, shown=False)
  assert code not in (0, 1, named_tests.STOPPED) and not found
  code, found = named_tests.run(['inner/test_some.py::test_hangs'], root, 3, shown=False)
  assert (code, found) == (named_tests.STOPPED, {})


def test_outcomes_in_words():
  assert named_tests.told([Outcome(1, seconds=0.26)]) == '1 case, 0.3 s'
  assert (
    named_tests.told([Outcome(1_000), Outcome(9, skipped=4)])
    == '1,005 cases, 4 skipped, under 0.1 s'
  )
  assert named_tests.spent(0.05) == '0.1 s' and named_tests.spent(61) == '1 min 1 s'


def test_outcomes_go_to_json_and_back():
  found = {'a': Outcome(3, failed=1, seconds=2.5), 'b': Outcome(1)}
  assert named_tests.plain(found)['a']['outcome'] == 'failed'
  assert named_tests.read(named_tests.plain(found)) == found
