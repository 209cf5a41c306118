"""The folder of a pretraining run, which a later start of the same run goes on with."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from compacter_jax import tensor_file
from compacter_jax.errors import InUseError, StorageError
from experiments import folders
from experiments.folders import write_json
from experiments.pretraining_job import PretrainJob

STATE = 'state.safetensors'
VOCABULARY = Path('model', 'spiece.model')


def begun(job: PretrainJob, folder: Path) -> bool:
  """Whether the folder holds this run already.  Raises StorageError if it holds another one."""
  return folders.begun(folder, _plain(job))


def results(job: PretrainJob, folder: Path) -> dict[str, Any] | None:
  """What this run reached if it has ended.  Raises StorageError if the folder holds another one."""
  return folders.ended(folder, _plain(job))


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
    raise InUseError('A run is going on in this folder.', where=str(folder), fix=fix) from error
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
