"""The folder of a run."""

import json
from pathlib import Path
from typing import Any

from compacter_jax import tensor_file
from compacter_jax.errors import StorageError


def claim(workdir: str | Path) -> Path:
  """Makes the folder of a run.  Raises StorageError if it holds a run already."""
  path = Path(workdir)
  if (path / 'config.json').exists():
    raise StorageError(
      'This folder holds another run.',
      where=str(path),
      expected='an empty or a new folder',
      got='a config.json',
      fix='take another --workdir, or remove that run yourself',
    )
  return make_folder(path)


def make_folder(path: Path) -> Path:
  """Makes a folder where there is none.  Raises StorageError if there can be none."""
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise StorageError('There can be no such folder.', where=str(path), got=str(error)) from error
  return path


def write_json(path: Path, content: Any) -> None:
  """Writes a JSON file, all of it or nothing."""
  with tensor_file.atomic(path) as file:
    file.write((json.dumps(content, indent=1) + '\n').encode())
