"""The checkpoints of a run that has ended, which nothing needs any more."""

import contextlib
import shutil
from pathlib import Path

from compacter_jax.checkpoints import Checkpoints, processes
from compacter_jax.errors import StorageError


def clear(folder: Path) -> None:
  """Removes checkpoints; what cannot be removed does no harm."""
  processes.first_says(lambda: shutil.rmtree(folder, ignore_errors=True))


def clear_after_death(folder: Path) -> None:
  """Removes them where the start that ended the run did not come to it, and is gone."""
  if processes.first_says(folder.exists):
    with contextlib.suppress(StorageError):  # it is not gone, or the disk is read-only
      with Checkpoints(folder, {}).claim():
        pass
      clear(folder)
