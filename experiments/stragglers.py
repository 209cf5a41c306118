"""Which of several hosts holds up the others.

All take a step together, so that every one of them sees the time of the slowest. What differs is a
host's own part: making batches, laying them out, looking whether the run is to end.
"""

import socket
import statistics
import time

from compacter_jax.checkpoints import processes

TIMES = 2.0  # the others' median, of a part that is told
SHARE = 0.1  # of all time, below which nobody is held up


class Stragglers:
  """Compares the hosts' own parts whenever they meet; called by all at the same points."""

  def __init__(self) -> None:
    self._clock, self._step, self._own = time.perf_counter(), 0, 0.0

  def begin(self, step: int) -> None:
    """Time counts from here, behind so many steps."""
    self._clock, self._step, self._own = time.perf_counter(), step, 0.0

  def own(self, seconds: float) -> None:
    """Of this host's own part, since `begin`."""
    self._own += seconds

  def found(self, step: int) -> str:
    """The slowest host in words, behind so many steps; '' if none holds up the others."""
    taken, seconds = step - self._step, time.perf_counter() - self._clock
    if not processes.several() or taken < 1:
      return ''
    mine = [socket.gethostname(), self._own / taken, seconds / taken]
    return told(processes.all_say(mine))


def told(hosts: list[tuple[str, float, float]]) -> str:
  """hosts: of each process its name, its own seconds in a step, and the seconds of a step."""
  slowest = max(range(len(hosts)), key=lambda i: hosts[i][1])
  name, own, step = hosts[slowest]
  median = statistics.median(each[1] for i, each in enumerate(hosts) if i != slowest)
  if own <= TIMES * median or own - median <= SHARE * step:
    return ''
  return (
    f'process {slowest} ({name}) is slow: its own part of a step takes {own:.3g} s of '
    f'{step:.3g} s, that of the others {median:.3g} s'
  )
