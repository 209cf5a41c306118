"""How every command of this package ends when a user's mistake ends it."""

import os
import sys
from collections.abc import Callable

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
    print(f'\n{type(error).__name__}: {error}', file=sys.stderr)
    sys.exit(error.exit_code)
  except BrokenPipeError:  # `| head` has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(BROKEN_PIPE)
