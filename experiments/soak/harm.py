"""What is done to a run: its process is ended at a random moment, its checkpoint damaged."""

import random
import signal
from pathlib import Path

from compacter_jax.checkpoints import layout, verifying
from experiments.soak.runs import Start

ASKED = 0.25  # share of the ends that are by SIGTERM
DAMAGED = 0.25  # share of the ends behind which the newest checkpoint is damaged
SOON = 10.0  # seconds in which a process that was asked to end should be gone, else it is told
PATIENCE = 300.0  # and in which it must be


def end(start: Start, draw: random.Random) -> tuple[int, int, float]:
  """Ends a process by a signal: the signal, the exit code, and the seconds that it took."""
  number = signal.SIGTERM if draw.random() < ASKED else signal.SIGKILL
  asked = start.since()
  start.process.send_signal(number)
  code = start.within(PATIENCE)
  if code is None:
    start.process.kill()
    code = start.process.wait()
  return number, code, start.since() - asked


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
