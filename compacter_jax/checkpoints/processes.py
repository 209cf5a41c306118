"""One program on several hosts: the first one decides, and all fail together.

Everything here is called by all processes at the same point of the program, from their main thread.
"""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from compacter_jax import errors
from compacter_jax.errors import CompacterError, StorageError


def several() -> bool:
  """Whether there are other processes."""
  return jax.process_count() > 1


def is_first() -> bool:
  """Whether this process is the one that writes names, manifests and locks."""
  return jax.process_index() == 0


def first_says(action: Callable[[], Any]) -> Any:
  """What `action` returns in the first process, as JSON has it, in all of them.

  It runs in that one alone. An error that it raises there is raised in all, elsewhere as a
  CompacterError with the same words.
  """
  if not several():
    return action()
  from jax.experimental import multihost_utils

  told, error = b'', None
  if is_first():
    try:
      told = json.dumps({'value': action()}).encode()
    except Exception as caught:
      told, error = json.dumps(_told(caught)).encode(), caught
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))
  padded = np.frombuffer(told.ljust(size), np.uint8)[:size]
  said = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))))
  if error is not None:
    raise error
  if 'error' in said:
    raise getattr(errors, said.pop('error'))(said.pop('what'), **said)
  return said['value']


def all_say(value: Any) -> list[Any]:
  """What every process says, as JSON has it, by its index."""
  if not several():
    return [value]
  from jax.experimental import multihost_utils

  told = np.frombuffer(json.dumps(value).encode(), np.uint8)
  sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(told))))
  padded = np.zeros(sizes.max(), np.uint8)
  padded[: len(told)] = told
  lines = np.asarray(multihost_utils.process_allgather(padded))
  return [json.loads(bytes(line[:size])) for line, size in zip(lines, sizes)]


def any_busy(error: BaseException | None, busy: bool = False) -> bool:
  """Whether any process is busy. Raises in all if any has an error: its own, or which has one."""
  failed, working = [0] if error else [], busy
  if several():
    from jax.experimental import multihost_utils

    flags = np.array([error is not None, busy], np.int32)
    errors_, busy_ = np.asarray(multihost_utils.process_allgather(flags)).T
    failed, working = [int(i) for i in np.flatnonzero(errors_)], bool(busy_.any())
  if error is not None:
    raise error
  if failed:
    told = ', '.join(map(str, failed))
    raise StorageError('Another process failed to write a checkpoint.', where=f'process {told}')
  return working


def _told(error: Exception) -> dict[str, str]:
  """An error in words, with the nearest class that every process knows by name."""
  if not isinstance(error, CompacterError):
    return {'error': 'CompacterError', 'what': f'{type(error).__name__}: {error}'}
  kind = next(kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
  parts = {part: getattr(error, part) for part in ('what', 'where', 'expected', 'got', 'fix')}
  return {'error': kind, **parts}
