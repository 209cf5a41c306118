"""The folder of a run, which a later start of the same run goes on with."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from compacter_jax import sealed, tensor_file
from compacter_jax.checkpoints import files
from compacter_jax.errors import ConfigError, StorageError, WeightsError

CONFIG, RESULTS, CHECKPOINTS = 'config.json', 'results.json', 'checkpoints'
ADAPTER = 'adapter'  # the folder, in that of a run
FILES = 'files'  # of the results: file of the run -> size and SHA-256


def begun(folder: Path, plain: Mapping[str, Any], free: Collection[str] = ()) -> bool:
  """Whether the folder holds this run already.

  plain: its settings as JSON has them. free: whole names of settings that may differ.

  Raises ConfigError if it holds another one, with the settings that differ, and WeightsError for
  settings that are damaged.
  """
  path = folder / CONFIG
  if not path.exists():
    return False
  given, found = (dict(flat(each)) for each in (json.loads(json.dumps(plain)), sealed.read(path)))
  if given.keys() - set(free) != found.keys() - set(free):
    raise ConfigError(
      'This folder holds a run of another command or version.',
      where=str(path),
      fix='take another --workdir',
    )
  if other := [name for name in given if name not in free and given[name] != found[name]]:
    told = lambda values: ', '.join(f'{name}={values[name]!r}' for name in other)
    raise ConfigError(
      'This folder holds a run with other settings.',
      where=str(path),
      expected=told(found),
      got=told(given),
      fix='take another --workdir, or the settings of that run to go on with it',
    )
  return True


def ended(folder: Path, plain: Mapping[str, Any], free: Collection[str] = ()) -> Any:
  """What the run reached, if it has ended, else None.  Raises as `begun` does."""
  if not begun(folder, plain, free) or not (folder / RESULTS).exists():
    return None
  return results(folder)


def clear_drafts(*folders: Path) -> None:
  """Removes files that a run was writing when it was killed.  Raises StorageError if it cannot."""
  for draft in [draft for folder in folders for draft in folder.glob('.*.tmp')]:
    with tensor_file.writing(draft):
      draft.unlink()


def write_results(folder: Path, found: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
  """Ends a run: results.json, with checksums of these files and its own; what it holds."""
  with tensor_file.writing(folder / RESULTS):
    sums = {name: files.checksum(folder / name) for name in names}
  return sealed.write(folder / RESULTS, {**found, FILES: sums})


def results(folder: Path) -> dict[str, Any]:
  """What results.json holds.  Raises WeightsError if it is damaged."""
  found = sealed.read(folder / RESULTS)
  if FILES in found and sealed.KEY not in found:
    raise WeightsError('These results have lost their hash.', where=str(folder / RESULTS))
  return found


def settings_hash(plain: Mapping[str, Any], free: Collection[str]) -> str:
  """Of all settings that are not free."""
  settled = {name: value for name, value in flat(plain) if name not in free}
  told = json.dumps(settled, sort_keys=True, default=str)
  return hashlib.sha256(told.encode()).hexdigest()[:16]


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
