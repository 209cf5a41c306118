"""The folder of a pretraining run, which a later start of the same run goes on with."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from compacter_jax import tensor_file
from compacter_jax.errors import StorageError
from experiments.folders import write_json
from experiments.pretraining_job import PretrainJob

STATE = 'state.safetensors'
VOCABULARY = Path('model', 'spiece.model')


def begun(job: PretrainJob, folder: Path) -> bool:
  """Whether the folder holds this run already.  Raises StorageError if it holds another one."""
  path = folder / 'config.json'
  if not path.exists():
    return False
  try:
    found = json.loads(path.read_bytes())
  except (OSError, ValueError) as error:
    raise StorageError('These settings cannot be read.', where=str(path), got=str(error)) from error
  given, found = dict(_flat(_plain(job))), dict(_flat(found))
  if given.keys() != found.keys():
    raise StorageError(
      'This folder holds a run of another command or version.',
      where=str(path),
      fix='take another --workdir',
    )
  if other := [name for name in given if given[name] != found[name]]:
    told = lambda values: ', '.join(f'{name}={values[name]!r}' for name in other)
    raise StorageError(
      'This folder holds a run with other settings.',
      where=str(path),
      expected=told(found),
      got=told(given),
      fix='take another --workdir, or the settings of that run to go on with it',
    )
  return True


def results(job: PretrainJob, folder: Path) -> dict[str, Any] | None:
  """What this run reached if it has ended.  Raises StorageError if the folder holds another one."""
  path = folder / 'results.json'
  return json.loads(path.read_bytes()) if begun(job, folder) and path.exists() else None


@contextlib.contextmanager
def claimed(job: PretrainJob, folder: Path, vocabulary: bytes) -> Iterator[None]:
  """The folder made, for this process alone, with the settings and the vocabulary in it.

  Raises StorageError where that cannot be, or another process has it.
  """
  try:
    (folder / VOCABULARY).parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / '.lock', timeout=0)
    lock.acquire()
  except filelock.Timeout as error:
    fix = 'wait for it, or take another --workdir'
    raise StorageError('A run is going on in this folder.', where=str(folder), fix=fix) from error
  except OSError as error:
    raise StorageError('There can be no such folder.', where=str(folder), got=str(error)) from error
  with lock:
    if not begun(job, folder):
      write_json(folder / 'config.json', _plain(job))
    for draft in (*folder.glob('.*.tmp'), *folder.glob('model/.*.tmp')):  # of a run that was killed
      draft.unlink()
    with tensor_file.atomic(folder / VOCABULARY) as file:
      file.write(vocabulary)
    yield


def _plain(job: PretrainJob) -> dict[str, Any]:
  return json.loads(json.dumps(dataclasses.asdict(job)))


def _flat(values: Any, name: str = '') -> Iterator[tuple[str, Any]]:
  """Settings by their whole names: 'optim.rate'."""
  if not isinstance(values, Mapping):
    yield name, values
    return
  for key, value in values.items():
    yield from _flat(value, f'{name}.{key}' if name else key)
