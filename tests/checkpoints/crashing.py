"""Saves that are cut off at one call of the file system after the other, with crashfs.so loaded.

python -m tests.checkpoints.crashing FOLDER MODE CALL [CALL ...]
MODE is kill, first, enospc, eio, short or trace. Each call has a process of its own, forked when
all is imported and no thread is running yet. It finds what the one before it left, checks that,
saves a step as any program does, and then another one with which the fault comes, while an older
one goes. `first` kills the first save of a run, in a folder for each call, and starts that run
again; `short` lets writes take half of what they are given, which is no error. Prints a line of
JSON for each process. The calls of a save that was not cut off are counted in FOLDER.calls, and
written to FOLDER.trace if asked.
"""

import ctypes
import errno
import json
import os
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint  # noqa: F401  (before the forks, which would each import it)

from compacter_jax.checkpoints import Checkpoints, layout, verify
from compacter_jax.errors import CompacterError
from experiments.soak import disk

ERRORS = {'trace': 0, 'kill': 0, 'enospc': errno.ENOSPC, 'eio': errno.EIO, 'short': -1}
LONGEST = 10.0  # seconds in which a process must end
SHIM = ctypes.CDLL(None)


def state(step):
  """Arrays whose every bit follows from the step."""
  rng = np.random.default_rng(step)
  halves = rng.integers(0, 2**16, 33, np.uint16).view(jnp.bfloat16)
  words = rng.integers(0, 2**32, (40, 50), np.uint32)
  return {
    'a': jnp.asarray(words.view(np.float32)),
    'b': [jnp.asarray(halves), ()],
    'step': jnp.int32(step),
  }


def bits(tree):
  return [(a.dtype, a.shape, np.asarray(a).tobytes()) for a in jax.tree.leaves(tree)]


def disarm():
  disk.fail('', 0, 0)


def goes_on(folder, done, mode, call):
  """One start of a run, whose last save meets the fault; done: notes the steps that were saved."""
  complete = int(done.read_text()) if done.exists() else 0
  with Checkpoints(folder, {'run': 1}, keep_last=2, keep_best=0).claim() as checkpoints:
    left = layout.look(folder)
    assert not left.passing and not left.quarantined, left
    assert all(not finding.reason for finding in verify(folder)), verify(folder)
    found = checkpoints.restore(jax.eval_shape(lambda: state(0)))
    step = found.step if found else 0
    assert step >= complete, (step, complete)
    assert found is None or bits(found.state) == bits(state(step)), step
    assert found is None or found.about == {'at': step}, found.about
    for more in (1, 0) if left.steps else (2, 1, 0):
      step += 1
      if not more:  # two steps are there: now one is written and one goes
        done.write_text(str(step - 1))
        if mode == 'trace':
          SHIM.crashfs_trace(os.open(f'{folder}.trace', os.O_WRONLY | os.O_CREAT, 0o600))
        disk.fail(folder, call, ERRORS[mode])
        break
      checkpoints.save(step, state(step), {'at': step})
      checkpoints.wait()
    try:
      checkpoints.save(step, state(step), {'at': step})
      checkpoints.wait()
    except CompacterError:
      disarm()
      if mode == 'enospc':
        raise
      checkpoints.save(step, state(step), {'at': step})
      checkpoints.wait()
    Path(f'{folder}.calls').write_text(str(disk.calls()))
    assert (mode == 'short') == bool(SHIM.crashfs_halved())
    disarm()
    done.write_text(str(step))
    assert layout.look(folder).steps == (step - 1, step), layout.look(folder)


def begins(folder, call):
  """The first save of a run, which is killed; then the start of a run that finds what is left."""
  with Checkpoints(folder, {'run': 1}).claim() as checkpoints:
    assert layout.look(folder).passing == ()
    found = checkpoints.restore(jax.eval_shape(lambda: state(0)))
    assert found is None or bits(found.state) == bits(state(1))
    if call:
      disk.fail(folder, call, 0)
    checkpoints.save(2 if found else 1, state(1))
    checkpoints.wait()
    disarm()


def ended(child, started):
  """The exit status of a child, which is killed if it takes too long."""
  while not (found := os.waitpid(child, os.WNOHANG))[0]:
    if time.monotonic() - started > 2 * LONGEST:
      os.kill(child, 9)
    time.sleep(0.005)
  return os.waitstatus_to_exitcode(found[1])


def main(folder, mode, *calls):
  folder, done = Path(folder), Path(f'{folder}.done')
  warnings.filterwarnings('ignore', message='os.fork')
  work = list(map(int, calls))
  if mode == 'first':
    work = [number for call in work for number in (call, -call)]
  for call in work:
    started = time.monotonic()
    child = os.fork()
    if not child:  # ends as any program does, so that what keeps it from ending is seen
      try:
        if mode == 'first':
          begins(folder / f'at-{abs(call)}', max(call, 0))
        else:
          goes_on(folder, done, mode, call)
      except CompacterError as error:
        sys.exit(error.exit_code)
      return
    code = ended(child, started)
    told = {'call': call, 'code': code, 'seconds': time.monotonic() - started}
    print(json.dumps(told), flush=True)


if __name__ == '__main__':
  main(*sys.argv[1:])
