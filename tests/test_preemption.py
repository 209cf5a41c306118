"""Being asked to end, and asked again."""

import subprocess
import sys
from pathlib import Path

import pytest

TWICE = """
import os, signal
from experiments.preemption import Preemption
with Preemption().listening() as asked:
  os.kill(os.getpid(), signal.{first})
  print(asked(0), flush=True)
  os.kill(os.getpid(), signal.{second})
  print('still there', flush=True)
"""


@pytest.mark.parametrize('first', ['SIGTERM', 'SIGINT'])
@pytest.mark.parametrize('second', ['SIGTERM', 'SIGINT'])
def test_the_second_signal_ends_the_process_at_once(first, second):
  command = [sys.executable, '-c', TWICE.format(first=first, second=second)]
  done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
  assert (done.returncode, done.stdout) == (130, 'True\n'), done.stderr
