"""The folder of a pretraining run, which a later start of the same run goes on with."""

from pathlib import Path
from typing import Any

from compacter_jax import tensor_file
from compacter_jax.errors import StorageError
from experiments import folders
from experiments.pretraining_job import FREE, PretrainJob, plain

VOCABULARY = Path('model', 'spiece.model')


def begun(job: PretrainJob, folder: Path) -> bool:
  """Whether the folder holds this run already.  Raises ConfigError if it holds another one."""
  return folders.begun(folder, plain(job), FREE)


def results(job: PretrainJob, folder: Path) -> dict[str, Any] | None:
  """What this run reached if it has ended.  Raises ConfigError if the folder holds another one."""
  return folders.ended(folder, plain(job), FREE)


def begin(job: PretrainJob, folder: Path, vocabulary: bytes) -> None:
  """The folder with the settings and the vocabulary in it.  Raises StorageError if it cannot be."""
  try:
    (folder / VOCABULARY).parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise StorageError('There can be no such folder.', where=str(folder), got=str(error)) from error
  if not begun(job, folder):
    folders.write_json(folder / folders.CONFIG, plain(job))
  folders.clear_drafts(folder, folder / VOCABULARY.parent)
  with tensor_file.atomic(folder / VOCABULARY) as file:
    file.write(vocabulary)
