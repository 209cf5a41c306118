"""Being asked to end: SIGTERM and SIGINT become a flag that a run looks at between steps."""

import contextlib
import os
import signal
from collections.abc import Iterator

import jax

SIGNALS = signal.SIGTERM, signal.SIGINT
AT_ONCE = 130  # exit code of the second signal, as a shell has it for an interrupt


class Asked(Exception):
  """The run was asked to end while it was evaluated."""


class Preemption:
  """Whether the run was asked to end.

  The first signal sets a flag, and whoever looks at it saves and ends. The second one ends the
  process at once: what was saved before is intact.

  On several hosts JAX listens to SIGTERM, on whichever host it comes, and all of them end at the
  same look. Its handler is not ours to replace, so a second SIGTERM does nothing there.
  """

  def __init__(self):
    self._asked, self._looks = False, 0

  def __call__(self, step: int) -> bool:
    """Whether to end after so many steps; the same on all hosts, which look equally often."""
    if not jax.distributed.is_initialized():
      return self._asked
    from jax.experimental import multihost_utils

    self._looks += 1
    return multihost_utils.reached_preemption_sync_point(self._looks)

  @contextlib.contextmanager
  def listening(self) -> Iterator['Preemption']:
    """Signals mean this for a while, then what they meant before.  Main thread only."""
    mine = SIGNALS[1:] if jax.distributed.is_initialized() else SIGNALS
    try:
      before = {each: signal.signal(each, self._ask) for each in mine}
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
    if jax.distributed.is_initialized():
      os.kill(os.getpid(), signal.SIGTERM)  # for all hosts
