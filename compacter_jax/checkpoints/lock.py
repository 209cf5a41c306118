"""A folder for one process alone, that tells any other who has it."""

import contextlib
import datetime
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compacter_jax import tensor_file
from compacter_jax.checkpoints.layout import HOLDER, LOCK
from compacter_jax.errors import InUseError, StorageError


@contextlib.contextmanager
def held(folder: Path, run: str, say: Callable[[str], None], force: bool = False) -> Iterator[None]:
  """The folder, made if need be, for this process alone.

  The system lets go of the lock when a process ends in any way. A note of a process that ended
  without giving the folder up is replaced if it ran on this host. If it ran on another one, whose
  locks may not be seen from here, it takes `force`.

  Raises InUseError that names the holder; StorageError where there can be no such folder.
  """
  import filelock

  try:
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
      lock.acquire()
    except (filelock.Timeout, RuntimeError) as error:  # RuntimeError: this very process has it
      raise _in_use(folder, _note_of_another(folder)) from error
  except InUseError:
    raise
  except OSError as error:
    got = f'{error}; this is user {os.getuid()}'
    fix = 'take another folder, or make it writable'
    raise StorageError(
      'There can be no such folder.', where=str(folder), got=got, fix=fix
    ) from error
  try:
    if (before := _note(folder)) is not None:
      if before.get('host', socket.gethostname()) != socket.gethostname() and not force:
        raise _in_use(folder, before)
      say(f'{folder}: {_told(before)} ended without giving it up; taking over')
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
    note = {'host': socket.gethostname(), 'pid': os.getpid(), 'run': run, 'since': now}
    with tensor_file.atomic(folder / HOLDER) as file:
      file.write(json.dumps(note).encode())
    try:
      yield
    finally:
      with contextlib.suppress(OSError):  # what stays is replaced by the next one here
        (folder / HOLDER).unlink()
  finally:
    lock.release()


def told(folder: Path) -> str:
  """Who says that it has the folder, and whether it is at work; nothing is taken or written."""
  if (note := _note(folder)) is None:
    return 'nobody is at work here'
  if note.get('host') != socket.gethostname():
    return f'{_told(note)}, another host, may be at work here'
  if _alive(note.get('pid')):
    return f'{_told(note)} is at work here'
  return f'{_told(note)} ended without giving the folder up; the next start takes over'


def _note(folder: Path) -> dict[str, Any] | None:
  """What the holder of a folder says of itself; None if there is none."""
  try:
    note = json.loads((folder / HOLDER).read_bytes())
    return note if isinstance(note, dict) else {}
  except FileNotFoundError:
    return None
  except (OSError, ValueError):
    return {}


def _note_of_another(folder: Path) -> dict[str, Any] | None:
  """The same where another process has the lock, which may be about to write its note."""
  for _ in range(20):
    if (note := _note(folder)) is not None:
      return note
    time.sleep(0.05)
  return None


def _in_use(folder: Path, note: dict[str, Any] | None) -> InUseError:
  fix = 'wait until it ends, or take another folder'
  if note and note.get('host') != socket.gethostname():
    fix += '; if it has ended, claim with force=True, which is --force_unlock'
  elif note and not _alive(note.get('pid')):
    fix = 'it has ended, but a process that it started has not: end that one'
  return InUseError(
    'Another process is at work in this folder.', where=str(folder), got=_told(note or {}), fix=fix
  )


def _told(note: dict[str, Any]) -> str:
  parts = {'process': 'pid', 'on': 'host', 'run': 'run', 'since': 'since'}
  return ' '.join(f'{word} {note.get(key, "unknown")}' for word, key in parts.items())


def _alive(pid: Any) -> bool:
  try:
    os.kill(int(pid), 0)
  except (ProcessLookupError, TypeError, ValueError):
    return False
  except OSError:
    return True
  return True
