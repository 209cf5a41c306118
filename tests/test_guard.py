"""How commands end."""

import subprocess
import sys

import pytest

from compacter_jax.errors import DataError
from experiments.guard import guarded

ENDS = 'print("x" * 10**6)', 'print("x" * 10**6); sys.exit(0)'


@pytest.mark.parametrize('work', ENDS)
def test_a_reader_that_has_seen_enough_gets_no_traceback(work):
  code = f'import sys\nfrom experiments.guard import guarded\ndef f():\n  {work}\nguarded(f)'
  pipe = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
  with subprocess.Popen([sys.executable, '-c', code], **pipe) as process:
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b''
  assert process.returncode == 141


def test_an_error_is_told_and_gives_its_exit_code(capsys):
  def work():
    raise DataError('No rows.', fix='add some')

  with pytest.raises(SystemExit) as ended:
    guarded(work)
  assert ended.value.code == 3
  assert capsys.readouterr().err == '\nDataError: No rows.\n  fix: add some\n'
