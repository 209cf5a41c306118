"""Work that never ends ends the process: a step, or a batch of an evaluation, that hangs."""

import contextlib
import statistics
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator

import jax

from compacter_jax.errors import PeerError
from compacter_jax.train import Step
from experiments import guard

TIMES = 10  # as long as usual is too long
FEW = 5  # durations from which on it is known what is usual
UNKNOWN = 3600.0  # seconds for work of which that is not known; most may be for a compiler
RECENT = 100  # durations that are looked at
AHEAD = 2  # steps that may wait for the device: else nothing is known of their durations


class Watchdog:
  """Ends the process with a PeerError, and all stacks on stderr, where work takes too long.

  That is longer than 10 times the median and than some seconds. Work of a new shape, which is
  compiled first, the first few, and what is waited for may take an hour.
  """

  def __init__(self, seconds: float):
    """seconds: no work that takes less is ended; 0 for none at all."""
    self._seconds = seconds
    self._durations: dict[str, deque[float]] = {}
    self._seen: set[Hashable] = set()
    self._lock = threading.Lock()
    self._kind: str | None = None
    self._limited, self._elapsed = False, 0.0
    self._stopped = threading.Event()

  @contextlib.contextmanager
  def watching(self) -> Iterator['Watchdog']:
    """Watches in a thread of its own."""
    if self._seconds:
      threading.Thread(target=self._watch, name='watchdog', daemon=True).start()
    try:
      yield self
    finally:
      self._stopped.set()

  def begin(self, kind: str, shape: Hashable) -> None:
    """Work begins, and what began before it has ended.

    kind: what it is. shape: work of the same kind and shape is compiled once.
    """
    with self._lock:
      self._start(kind)
      known = len(self._durations.setdefault(kind, deque(maxlen=RECENT))) >= FEW
      self._limited = known and (kind, shape) in self._seen
      self._counted = (kind, shape) in self._seen
      self._seen.add((kind, shape))

  def wait(self, kind: str) -> None:
    """As `begin`, for what has no usual duration: rows that are made, a disk that is slow."""
    with self._lock:
      self._start(kind)
      self._limited = self._counted = False

  def rest(self) -> None:
    """What began has ended, and nothing is waited for."""
    with self._lock:
      self._finish()

  def steps(self, step: Step) -> Step:
    """The same step, watched."""
    running: deque[jax.Array] = deque()

    def watched(state, frozen, batch):
      self.begin('step', tuple(sorted((name, a.shape) for name, a in batch.items())))
      state, metrics = step(state, frozen, batch)
      running.append(metrics['loss'])
      if len(running) > AHEAD:
        running.popleft().block_until_ready()
      return state, metrics

    return watched

  def _start(self, kind: str) -> None:
    self._finish()
    self._kind, self._begun = kind, time.monotonic()

  def _finish(self) -> None:
    if self._kind is not None and self._counted:
      self._durations[self._kind].append(time.monotonic() - self._begun)
    self._kind, self._elapsed = None, 0.0

  def _watch(self) -> None:
    period, before = min(1.0, self._seconds / 4), time.monotonic()
    while not self._stopped.wait(period):
      now = time.monotonic()
      with self._lock:
        # Time in which this process itself was stopped does not count.
        self._elapsed += min(now - before, 2 * period)
        late = self._late()
      before = now
      if late:
        guard.end(late, stacks=True)

  def _late(self) -> PeerError | None:
    if self._kind is None:
      return None
    limit, usual = max(self._seconds, UNKNOWN), 'not known'
    if self._limited:
      median = statistics.median(self._durations[self._kind])
      limit, usual = max(self._seconds, TIMES * median), f'{median:.3g} s'
    if self._elapsed <= limit:
      return None
    return PeerError(
      f'A {self._kind} does not end.',
      where='the stacks of all threads are above',
      expected=f'{limit:.3g} s at most; usual: {usual}',
      got=f'more than {self._elapsed:.3g} s',
      fix='start the same command again: it goes on from the last checkpoint; '
      'or raise config.watchdog, 0 for no limit',
    )
