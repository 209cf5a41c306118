"""Whether the disk has room for what a run will save."""

import math
import shutil
from pathlib import Path
from typing import Any

import jax

from compacter_jax.checkpoints import layout
from compacter_jax.errors import StorageError

SPARE = 2  # steps beside those that are kept: one that is written, one on its way out


def free(folder: Path) -> int | None:
  """Bytes that are free; None where that is not known, as of a folder that is not there."""
  try:
    return shutil.disk_usage(folder).free
  except OSError:
    return None


def check(folder: Path, like: Any, kept: int) -> None:
  """Raises StorageError unless `kept` steps of such arrays fit, and those that come and go.

  What is there already counts; arrays are written uncompressed at worst.
  """
  one = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
  there = min(len(layout.look(folder).steps), kept)
  needed, found = (kept + SPARE - there) * one, free(folder)
  if found is not None and found < needed:
    raise StorageError(
      'The disk has too little room for checkpoints.',
      where=str(folder),
      expected=f'{needed:,} bytes: {kept + SPARE - there} steps of {one:,}',
      got=f'{found:,} bytes are free',
      fix='make room, or take a folder on another disk',
    )
