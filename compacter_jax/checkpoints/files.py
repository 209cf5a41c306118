"""The files of one step: their sizes and SHA-256, and whether the disk has them."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import TypedDict

from compacter_jax.tensor_file import sync


class Sum(TypedDict):
  """What tells whether a file is the one that was written."""

  bytes: int
  sha256: str


def walk(folder: Path) -> Iterator[tuple[str, os.DirEntry]]:
  """All that is below a folder except folders, with its path from there; links are not followed."""
  with os.scandir(folder) as entries:
    for entry in sorted(entries, key=lambda entry: entry.name):
      if entry.is_dir(follow_symlinks=False):
        yield from ((f'{entry.name}/{rest}', inner) for rest, inner in walk(Path(entry.path)))
      else:
        yield entry.name, entry


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[BufferedReader]:
  """A regular file to read. Raises OSError for links, for others, and for what cannot be read."""
  # Opening a pipe would wait for its writer for ever.
  handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
  with open(handle, 'rb') as file:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
      raise OSError(f'{path} is not a regular file')
    yield file


def checksum(path: str | Path) -> Sum:
  """Of a regular file; raises OSError as `opened` does."""
  with opened(path) as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return {'bytes': file.tell(), 'sha256': digest}


def seal(folder: Path) -> dict[str, Sum]:
  """Checksums of all files below a folder, once they and their names are on the disk."""
  sums = {}
  for name, entry in walk(folder):
    sync(Path(entry.path))
    sums[name] = checksum(entry.path)
  for inner, _, _ in os.walk(folder, topdown=False):
    sync(Path(inner))
  return sums
