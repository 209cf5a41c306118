"""docs/reliability.md is that of its table, whose tests are there."""

import ast
from pathlib import Path

import pytest

from experiments import faults

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
  assert faults.PAGE.read_text() == faults.page(FAULTS), 'run python -m experiments.faults'


def test_the_command_writes_the_page(tmp_path, monkeypatch):
  monkeypatch.setattr(faults, 'PAGE', tmp_path / 'page.md')
  faults.main([])
  assert (tmp_path / 'page.md').read_text().count('\n| F') == 62
