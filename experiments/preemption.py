"""Being asked to end: SIGTERM and SIGINT become a flag that a run looks at between steps."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax

from experiments import c_signals

SIGNALS = signal.SIGTERM, signal.SIGINT
AT_ONCE = 130  # exit code of the second signal, as a shell has it for an interrupt


class Asked(Exception):
  """The run was asked to end while it was evaluated."""


class Preemption:
  """Whether the run was asked to end.

  The first signal sets a flag, and whoever looks at it saves and ends. The second one ends the
  process at once: what was saved before is intact.

  On several hosts JAX is told, on whichever host the signal comes, and all of them end at the same
  look; at the second one that host ends, and the others as for one that is lost.
  """

  def __init__(self):
    self._asked, self._looks = False, 0
    self._tell_all: Callable[[], None] = lambda: None

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
    if threading.current_thread() is not threading.main_thread():
      yield self  # say of a notebook's server: its signals are its own
      return
    with contextlib.ExitStack() as stack:
      if jax.distributed.is_initialized():
        self._tell_all = stack.enter_context(_handler_of_jax())
      before = {each: signal.signal(each, self._ask) for each in SIGNALS}
      try:
        yield self
      finally:
        for each, handler in before.items():
          signal.signal(each, handler or signal.SIG_DFL)

  def _ask(self, number: int, frame: object) -> None:
    if self._asked:
      os._exit(AT_ONCE)
    self._asked = True
    self._tell_all()


@contextlib.contextmanager
def _handler_of_jax() -> Iterator[Callable[[], None]]:
  """What tells all hosts: the handler of SIGTERM, one of C++, that JAX set as it was connected."""
  handler = c_signals.handle(signal.SIGTERM, None)
  try:
    yield lambda: c_signals.call(handler, signal.SIGTERM) if handler else None
  finally:
    c_signals.handle(signal.SIGTERM, handler)
