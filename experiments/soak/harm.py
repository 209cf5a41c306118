"""What is done to a run: processes end at random moments, disks fail, a checkpoint is damaged."""

import errno
import random
import re
import signal
import time
from pathlib import Path

from compacter_jax.checkpoints import layout, verifying
from compacter_jax.errors import PeerError, PreemptedError, StorageError
from experiments.soak import keeping
from experiments.soak.ends import ASKED, FAILED, KILLED, STOPPED, End
from experiments.soak.starts import CONNECT, HEARTBEAT, Failing, Start

SIGNALS = {KILLED: signal.SIGKILL, ASKED: signal.SIGTERM, STOPPED: signal.SIGSTOP}
ODDS = {KILLED: 0.75, ASKED: 0.25}  # of the ends by a signal
OF_HOSTS = {KILLED: 0.5, ASKED: 0.25, STOPPED: 0.25}
FAILS = 0.15  # share of the starts whose disk fails
ERRORS = errno.ENOSPC, errno.EIO
DAMAGED = 0.25  # share of the ends behind which the newest checkpoint is damaged
SOON = 10.0  # seconds in which a process that was asked to end, or cannot write, should be gone
COMPILE = 10.0  # and besides on two hosts, which may be compiling a step first
LOST = HEARTBEAT + 5.0  # and in which the others should be
UNMET = CONNECT + 20.0  # where they had not found each other yet, and import
PATIENCE = 300.0  # and in which all must be


def end(start: Start, draw: random.Random) -> End:
  """Ends one of the processes by a signal."""
  odds = ODDS if len(start.processes) == 1 else OF_HOSTS
  how = draw.choices(list(odds), list(odds.values()))[0]
  hurt = draw.randrange(len(start.processes))
  met = all(keeping.BEGINS in start.told(i) for i in range(len(start.processes)))
  begin = time.monotonic()
  start.processes[hurt].send_signal(SIGNALS[how])
  start.within(PATIENCE, but=hurt if how == STOPPED else None)
  seconds = time.monotonic() - begin
  codes = start.kill()
  if len(codes) > 1 and not met:
    return End(how, codes, 0.0, _wrong(how, hurt, codes, seconds, UNMET))
  asked = SOON + COMPILE if len(codes) > 1 else SOON
  limit = asked if how == ASKED else LOST
  return End(how, codes, seconds, _wrong(how, hurt, codes, seconds, limit))


def failing(library: Path, calls: int, hosts: int, draw: random.Random) -> Failing:
  """A disk that is full or broken from some call on.  calls: of a run that nothing disturbed."""
  call, error = draw.randint(1, max(calls, 1)), draw.choice(ERRORS)
  return Failing(library, call, error, draw.randrange(hosts))


def failed(start: Start, failing: Failing, patience: float) -> End:
  """Waits for the end of a start whose disk fails."""
  start.within(patience)
  now, codes = time.monotonic(), start.kill()
  found = re.search(rf'{keeping.FAILS} (\d+\.\d+)', start.told(failing.process))
  if not found and not any(codes):  # it did not come to that call
    return End('', codes)
  seconds = now - float(found[1]) if found else 0.0
  return End(FAILED, codes, seconds, _wrong(FAILED, failing.process, codes, seconds, SOON))


def _wrong(how: str, hurt: int, codes: list[int], seconds: float, limit: float) -> str:
  """What should not be.  0 is of a process that had ended, or could do without its disk."""
  asked, full, lost = PreemptedError.exit_code, StorageError.exit_code, PeerError.exit_code
  # Python has not yet begun to listen while it imports.
  of_it = {KILLED: [-signal.SIGKILL], STOPPED: [-signal.SIGKILL], FAILED: [full]}
  of_it[ASKED] = [asked, -signal.SIGTERM]
  of_others = [lost, *{ASKED: [asked], FAILED: [full]}.get(how, [])]
  for process, code in enumerate(codes):
    if code not in [0, *(of_it[how] if process == hurt else of_others)]:
      return f'process {hurt} {how}: exit codes {codes}'
  if seconds > limit:
    return f'process {hurt} {how}: it took {seconds:.1f} s until all were gone'
  return ''


def damage(checkpoints: Path, draw: random.Random) -> int | None:
  """Flips a bit of the newest step, or cuts a file of it; the step, if this was done.

  It is done where an older step is whole: without one a run refuses to go on, as it should.
  """
  whole = [found.step for found in verifying.verify(checkpoints) if not found.reason]
  steps = layout.look(checkpoints).steps
  if draw.random() >= DAMAGED or len(whole) < 2 or whole[0] != steps[-1]:
    return None
  files = sorted(path for path in (checkpoints / str(whole[0])).rglob('*') if path.stat().st_size)
  path = draw.choice([path for path in files if path.is_file()])
  content = bytearray(path.read_bytes())
  at = draw.randrange(len(content))
  if draw.random() < 0.5:
    content[at] ^= 1 << draw.randrange(8)
  else:
    del content[at:]
  path.write_bytes(content)
  return whole[0]
