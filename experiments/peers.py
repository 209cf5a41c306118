"""Signs of life of the processes of a run: whoever is lost is named, and the others end."""

import atexit
import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax

from compacter_jax.errors import CompacterError, PeerError
from experiments import guard

FOLDER = 'compacter_jax/alive/'
PERIOD = 0.5  # seconds between signs of life
GRACE = 2.0  # seconds in which all may come to the same error, before one has failed alone


class Peers:
  """Watches the other processes of a run through the coordinator's store.

  JAX has heartbeats as well, but aborts, and does not tell a process that waits in a collective
  operation why another one has ended.
  """

  def __init__(self, seconds: float):
    """seconds: without a sign of life after which a process is lost.  JAX must be connected."""
    from jax._src import distributed  # it has no public name; Orbax takes it from there as well

    self._seconds: float = seconds
    self._client: Any = distributed.global_state.client
    self._coordinator = distributed.global_state.coordinator_address or ''
    self._me, self._count = jax.process_index(), jax.process_count()
    self._beats, self._left = 0, None
    self._known: dict[int, dict[str, Any]] = {}
    # Seconds of silence. Time in which this process itself was stopped does not count.
    self._silent = dict.fromkeys(range(self._count), 0.0)
    self._unheard = 0.0
    self._stopped, self._hurry = threading.Event(), threading.Event()

  @contextlib.contextmanager
  def watched(self) -> Iterator[None]:
    """Ends this process with a PeerError if another one is lost or fails meanwhile.

    An error of this one is told to the others.
    """
    for work in self._beat, self._judge:
      threading.Thread(target=work, name='peers', daemon=True).start()
    try:
      yield
    except BaseException as error:
      if not isinstance(error, CompacterError):
        time.sleep(self._seconds + GRACE)  # it may be because another one is lost: see who
      told = str(error).partition('\n')[0]
      heard = self._leave(f'{type(error).__name__}: {told}')
      if isinstance(error, CompacterError) and _kept():
        guard.end(error)
      if not heard:
        # Else JAX waits for those that will not come, and aborts.
        atexit.register(_end, getattr(error, 'exit_code', 1))
      raise
    else:
      self._leave('')
    finally:
      self._stopped.set()

  def _leave(self, why: str) -> bool:
    """Tells the others, and waits for them to leave too; whether all did.  why: '' at the end."""
    begin, self._left = time.monotonic(), why
    self._hurry.set()
    while not all('left' in self._known.get(k, {}) for k in self._others()):
      alone = self._unheard > GRACE or time.monotonic() - begin > 2 * GRACE
      if why and alone:
        return False
      time.sleep(PERIOD / 10)
    return True

  def _others(self) -> list[int]:
    return [k for k in range(self._count) if k != self._me]

  def _beat(self) -> None:
    """Gives signs and hears those of the others.  Each call may take long, or for ever."""
    while not self._stopped.is_set():
      self._beats += 1
      mine = {'host': socket.gethostname(), 'pid': os.getpid(), 'beat': self._beats}
      mine |= {} if self._left is None else {'left': self._left}
      with contextlib.suppress(Exception):  # the judge sees that nothing was heard
        self._client.key_value_set(f'{FOLDER}{self._me}', json.dumps(mine), allow_overwrite=True)
        for name, text in self._client.key_value_dir_get(FOLDER):
          self._hear(int(name.removeprefix(FOLDER)), json.loads(text))
        self._unheard = 0.0
      self._hurry.wait(PERIOD)
      self._hurry.clear()

  def _hear(self, process: int, says: dict[str, Any]) -> None:
    if says['beat'] != self._known.get(process, {}).get('beat'):
      self._known[process], self._silent[process] = says, 0.0

  def _judge(self) -> None:
    """Looks for who is lost.  A thread of its own, for nothing here waits for others."""
    before, failed = time.monotonic(), 0.0
    while not self._stopped.wait(PERIOD):
      now = time.monotonic()
      passed, before = min(now - before, 2 * PERIOD), now
      self._unheard += passed
      for process in self._others():
        self._silent[process] += passed
      failed += passed if self._failures() else 0.0
      if self._left is None and (error := self._lost(failed > GRACE)):
        # One that failed by itself has told why; else it shows where this one waited.
        guard.end(error, stacks=failed <= GRACE)

  def _lost(self, failed: bool) -> PeerError | None:
    """What is told of those that are lost."""
    if failed:
      return self._error('Another process of the run failed.', self._failures())
    if self._me and self._unheard > 2 * PERIOD and _refuses(self._coordinator):
      return self._error('Another process of the run has ended.', {0: 'nobody listens there'})
    # Of no one anything is heard where the first process, which has the store, does not answer.
    silence = {0: self._unheard} if self._me and self._unheard > self._seconds else self._silent
    gone = {k: f'no sign of life for {s:.0f} s' for k, s in silence.items() if s > self._seconds}
    gone = {k: told for k, told in gone.items() if k != self._me and not self._ended(k)}
    return self._error('Another process of the run is lost.', gone) if gone else None

  def _failures(self) -> dict[int, str]:
    return {k: known['left'] for k, known in self._known.items() if known.get('left')}

  def _ended(self, process: int) -> bool:
    return self._known.get(process, {}).get('left') == ''

  def _error(self, what: str, which: dict[int, str]) -> PeerError:
    return PeerError(
      what,
      where=', '.join(self._name(process) for process in which),
      got='; '.join(which.values()),
      fix='start all processes again: they go on from the last checkpoint',
    )

  def _name(self, process: int) -> str:
    known = self._known.get(process)
    return f'process {process}' + (f' ({known["host"]}, pid {known["pid"]})' if known else '')


def _kept() -> bool:
  """Whether threads keep this process, as where a checkpoint waits for one that failed."""
  main = threading.main_thread()
  return any(not each.daemon for each in threading.enumerate() if each is not main)


def _refuses(address: str) -> bool:
  """Whether a host says that nobody listens on its port."""
  host, _, port = address.rpartition(':')
  try:
    socket.create_connection((host.strip('[]'), int(port)), timeout=PERIOD).close()
  except ConnectionRefusedError:
    return True
  except OSError:
    return False
  return False


def _end(code: int) -> None:
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
