"""What a plan tells of memory is what the process of a run takes, by the kernel's account."""

import pytest

from experiments.benchmarks import plan_memory

WITHIN = 0.15


@pytest.mark.soak
@pytest.mark.skipif(not plan_memory.CLEAR.exists(), reason='the kernel of Linux is asked')
def test_a_step_takes_the_memory_that_was_planned(monkeypatch):
  """Planned by the command, taken in a process of its own, both compiled as for a run."""
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  taken = plan_memory.compared('compacter', [])['training step']
  assert taken['arguments'] == pytest.approx(taken['held'], rel=0.02), taken
  assert taken['peak'] == pytest.approx(taken['plan'], rel=WITHIN), taken
