"""How every command of this package ends when a user's mistake ends it."""

import contextlib
import faulthandler
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from compacter_jax.errors import CompacterError

BROKEN_PIPE = 141  # as a shell has it: 128 and the signal's number


def guarded(work: Callable[[], None]) -> None:
  """Calls `work`; a CompacterError is told without a traceback and gives the exit code."""
  try:
    try:
      work()
    finally:  # absl ends the program by itself
      sys.stdout.flush()
  except CompacterError as error:
    _tell(error)
    sys.exit(error.exit_code)
  except BrokenPipeError:  # `| head` has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(BROKEN_PIPE)


def end(error: CompacterError, stacks: bool = False) -> NoReturn:
  """Ends the process at once, from any thread, whatever the others wait for.

  stacks: tells first what that is: those of all threads, on stderr.
  """
  if stacks:
    with contextlib.suppress(Exception):  # a stderr that is no file, as that of a notebook
      faulthandler.dump_traceback(sys.stderr, all_threads=True)
  _tell(error)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(error.exit_code)


def _tell(error: CompacterError) -> None:
  print(f'\n{type(error).__name__}: {error}', file=sys.stderr)
