"""How every command of this package ends when a user's mistake ends it."""

import sys
from collections.abc import Callable

from compacter_jax.errors import CompacterError


def guarded(work: Callable[[], None]) -> None:
  """Calls `work`; a CompacterError is told without a traceback and gives the exit code."""
  try:
    work()
  except CompacterError as error:
    print(f'\n{type(error).__name__}: {error}', file=sys.stderr)
    sys.exit(error.exit_code)
