"""Being asked to end: SIGTERM and SIGINT become a flag that a run looks at between steps."""

import contextlib
import os
import signal
from collections.abc import Iterator

import jax

SIGNALS = signal.SIGTERM, signal.SIGINT
AT_ONCE = 130  # exit code of the second signal, as a shell has it for an interrupt


class Preemption:
  """Whether the run was asked to end.

  The first signal sets a flag, and whoever looks at it saves and ends. The second one ends the
  process at once: what was saved before is intact.
  """

  def __init__(self):
    self._asked = False

  def __call__(self, step: int) -> bool:
    """Whether to end before that step; the same on all hosts."""
    if jax.process_count() > 1:
      from jax.experimental import multihost_utils

      return multihost_utils.reached_preemption_sync_point(step)
    return self._asked

  @contextlib.contextmanager
  def listening(self) -> Iterator['Preemption']:
    """Signals mean this for a while, then what they meant before.  Main thread only."""
    try:
      before = {each: signal.signal(each, self._ask) for each in SIGNALS}
    except ValueError:  # not the main thread, say of a notebook's: its signals are its own
      yield self
      return
    try:
      yield self
    finally:
      for each, handler in before.items():
        signal.signal(each, handler)

  def _ask(self, number: int, frame: object) -> None:
    if self._asked:
      os._exit(AT_ONCE)
    self._asked = True
