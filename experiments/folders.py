"""The folder of a run, which a later start of the same run goes on with."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from compacter_jax import tensor_file
from compacter_jax.errors import StorageError

CONFIG, RESULTS = 'config.json', 'results.json'


def begun(folder: Path, plain: Mapping[str, Any], free: Collection[str] = ()) -> bool:
  """Whether the folder holds this run already.

  plain: its settings as JSON has them. free: whole names of settings that may differ.

  Raises StorageError if it holds another one, with the settings that differ.
  """
  path = folder / CONFIG
  if not path.exists():
    return False
  try:
    found = json.loads(path.read_bytes())
  except (OSError, ValueError) as error:
    raise StorageError('These settings cannot be read.', where=str(path), got=str(error)) from error
  given, found = (dict(flat(json.loads(json.dumps(each)))) for each in (plain, found))
  if given.keys() - set(free) != found.keys() - set(free):
    raise StorageError(
      'This folder holds a run of another command or version.',
      where=str(path),
      fix='take another --workdir',
    )
  if other := [name for name in given if name not in free and given[name] != found[name]]:
    told = lambda values: ', '.join(f'{name}={values[name]!r}' for name in other)
    raise StorageError(
      'This folder holds a run with other settings.',
      where=str(path),
      expected=told(found),
      got=told(given),
      fix='take another --workdir, or the settings of that run to go on with it',
    )
  return True


def ended(folder: Path, plain: Mapping[str, Any], free: Collection[str] = ()) -> Any:
  """What the run reached, if it has ended, else None.  Raises as `begun` does."""
  path = folder / RESULTS
  if not begun(folder, plain, free) or not path.exists():
    return None
  try:
    return json.loads(path.read_bytes())
  except (OSError, ValueError) as error:
    raise StorageError(
      'These results are damaged.', where=str(path), got=str(error), fix='remove the file'
    ) from error


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


def flat(values: Any, name: str = '') -> Iterator[tuple[str, Any]]:
  """Settings by their whole names: 'optim.rate'."""
  if not isinstance(values, Mapping):
    yield name, values
    return
  for key, value in values.items():
    yield from flat(value, f'{name}.{key}' if name else key)
