"""Guards that are removed on purpose: their lines and their tests are still there."""

import ast
import json

import pytest

from compacter_jax.errors import CompacterError, ConfigError
from experiments import faults, guards, named_tests
from experiments.guards import Guard
from experiments.named_tests import Outcome

GUARDS = guards.read()
ROWS = {f'F{fault.number}': fault.tests for fault in faults.read()}


@pytest.mark.parametrize('guard', GUARDS, ids=lambda guard: guard.what.replace(' ', '-'))
def test_every_guard_is_where_the_table_says(guard):
  source = (guards.ROOT / guard.file).read_text()
  without = guard.without(source)
  assert without != source
  ast.parse(without)  # else its test would fail for that alone
  # Whose tests are there, as tests/test_faults.py sees.
  assert named_tests.function(guard.test) in ROWS[guard.row]


def test_each_has_a_name_of_its_own_and_there_are_many():
  assert len({guard.what for guard in GUARDS}) == len(GUARDS)
  assert len({guard.row for guard in GUARDS}) >= 15


def test_the_record_is_of_these_guards_and_all_tests_failed_without_them():
  found = guards.recorded()
  assert list(found) == [guard.what for guard in GUARDS], 'run python -m experiments.guards'
  for guard in GUARDS:
    assert found[guard.what]['digest'] == guard.digest, f'run it again: {guard.what}'
    assert found[guard.what]['failed'] and found[guard.what]['code'] == 1


def test_a_guard_that_moved_is_told():
  guard = Guard('a guard', 'F1', 'x.py', 'if a:', 'if False:', 'test_x.py::test_x')
  assert guard.without('if a:\n  pass') == 'if False:\n  pass'
  for source, times in ('', '0 times'), ('if a:\nif a:', '2 times'):
    with pytest.raises(ConfigError, match=times):
      guard.without(source)


PROGRAM = 'def checked(x):\n  if x < 0:\n    raise ValueError\n  return x\n'
TESTS = """
import pytest
from program import checked
def test_negative():
  with pytest.raises(ValueError):
    checked(-1)
def test_positive():
  assert checked(1) == 1
def test_wrong():
  assert checked(1) == 2
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
  """A program with one guard, in place of the whole."""
  root = tmp_path / 'root'
  (root / 'tests').mkdir(parents=True)
  (root / 'program.py').write_text(PROGRAM)
  (root / 'tests/test_program.py').write_text(TESTS)
  (root / 'pytest.ini').write_text('[pytest]\npythonpath = .\n')
  monkeypatch.setattr(guards, 'ROOT', root)
  monkeypatch.setattr(guards, 'PARTS', ('program.py', 'tests', 'pytest.ini'))
  monkeypatch.setattr(guards, 'RECORD', tmp_path / 'record.json')
  return root


def of(test, removed='if False:'):
  told = json.dumps(f'test_program.py::test_{test}')
  return f"""
[[guard]]
what = "{test}"
row = "F1"
file = "program.py"
text = "if x < 0:"
removed = "{removed}"
test = {told}
"""


def test_a_test_fails_without_its_guard_or_is_told(tree, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(guards, 'TABLE', tmp_path / 'guards.toml')
  (tmp_path / 'guards.toml').write_text(of('negative'))
  guards.main([])
  assert guards.recorded()['negative']['failed']
  assert '1 of 1 failed' in guards.markdown() and '| fails |' in guards.markdown()
  assert (tree / 'program.py').read_text() == PROGRAM

  (tmp_path / 'guards.toml').write_text(of('negative') + of('positive'))
  assert '1 of 2 failed' in guards.markdown() and '| not run |' in guards.markdown()
  with pytest.raises(SystemExit) as caught:
    guards.main(['--only', 'positive'])
  assert caught.value.code == 1
  assert '**does not fail**, exit code 0' in guards.markdown()
  assert list(guards.recorded()) == ['negative', 'positive']

  (tmp_path / 'guards.toml').write_text(of('negative', 'if None:'))
  assert '| not run |' in guards.markdown()  # it is not what was recorded
  (tmp_path / 'guards.toml').write_text(of('negative', 'if !'))
  with pytest.raises(SystemExit):
    guards.main([])
  assert 'exit code 4' in guards.markdown()  # an error, of which a test says nothing

  (tmp_path / 'guards.toml').write_text(of('wrong'))
  with pytest.raises(CompacterError, match='must pass before'):
    guards.main([])
  with pytest.raises(ConfigError, match='absent'):
    guards.main(['--only', 'absent'])


def test_an_error_before_the_test_is_no_failure():
  assert guards.red(1, {'a': Outcome(1, failed=1)})
  assert not guards.red(1, {'a': Outcome(1, errors=1)})
  assert not guards.red(2, {'a': Outcome(1, failed=1)})
  assert not guards.red(1, {})
