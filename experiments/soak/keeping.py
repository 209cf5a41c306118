"""`experiments.run` whose checkpoints stay when it has ended, so that its last state is there.

python -m experiments.soak.keeping --config=... --workdir=W

It says when it begins, which is when it has found the others. Where SOAK_DISK has a call and an
error, the disk fails from that call on, and it says when that is; without, calls are counted.
"""

import json
import os
import threading
import time
from pathlib import Path

from experiments import commandline, run
from experiments.soak import disk

DISK = 'SOAK_DISK'  # in the environment: [call, error], as JSON
BEGINS, FAILS, CALLS = 'soak: begins', 'soak: the disk fails at', 'soak: calls:'


def main(job, workdir: str, **kwargs) -> None:
  """As `run.main`."""
  from experiments import leftovers

  leftovers.clear = lambda folder: None
  print(BEGINS, flush=True)
  harmed = DISK in os.environ
  if harmed:
    call, error = json.loads(os.environ[DISK])
    disk.fail(Path(workdir), call, error)
    threading.Thread(target=_watch, args=[call], daemon=True).start() if call else None
  run.main(job, workdir, **kwargs)
  if harmed:
    print(CALLS, disk.calls(), flush=True)


def _watch(call: int) -> None:
  while disk.calls() < call:
    time.sleep(0.02)
  print(FAILS, time.monotonic(), flush=True)  # one clock for all processes


if __name__ == '__main__':
  commandline.start(main, run.__doc__, several=True)
