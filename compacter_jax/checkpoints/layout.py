"""The folder of a run's checkpoints: what each name in it means.

  1200/                      a step: arrays/ and manifest.json
  quarantine-1100-reason/    a step that failed its check, kept for whoever wants to look at it
  aside-1000-a1b2c3d4        what had the name of a step and was none, moved out of its way
  .writing-1300-a1b2c3d4/    a step that is not yet whole
  .trash-900-a1b2c3d4/       a step on its way out
  .lock, .holder.json        who is at work in the folder

Anything else is ignored, and links are never followed: neither read through nor deleted through.
"""

import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from compacter_jax.tensor_file import sync

ARRAYS = 'arrays'
LOCK, HOLDER = '.lock', '.holder.json'

# One way to write a number: no sign, no leading zero, no digits of other scripts.
STEP = re.compile(r'0|[1-9][0-9]{0,14}')
_PASSING = re.compile(r'\.(writing|trash)-[0-9]{1,15}-[0-9a-f]{8}')
_QUARANTINE = re.compile(r'quarantine-[0-9]{1,15}-[a-z0-9-]+')


@dataclass(frozen=True)
class Contents:
  """What a folder holds.

  Attributes:
    steps: by rising number.
    quarantined: names of steps that failed a check before.
    passing: names of unfinished and of deleted steps.
    ignored: names that mean nothing here, and those of a step that are a link, a file or empty.
  """

  steps: tuple[int, ...]
  quarantined: tuple[str, ...]
  passing: tuple[str, ...]
  ignored: tuple[str, ...]


def look(folder: Path) -> Contents:
  """The contents of a folder, which need not exist."""
  steps, quarantined, passing, ignored = [], [], [], []
  try:
    with os.scandir(folder) as entries:
      found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
  except FileNotFoundError:
    found = []
  for name, is_folder in found:
    if STEP.fullmatch(name) and is_folder and os.listdir(folder / name):
      steps.append(int(name))
    elif _QUARANTINE.fullmatch(name) and is_folder:
      quarantined.append(name)
    elif _PASSING.fullmatch(name):
      passing.append(name)
    elif not name.startswith('.'):
      ignored.append(name)
  return Contents(tuple(sorted(steps)), tuple(quarantined), tuple(passing), tuple(ignored))


def unfinished(folder: Path, step: int) -> Path:
  """A name that nothing has yet, for a step that is being written."""
  return folder / f'.writing-{step}-{secrets.token_hex(4)}'


def quarantine(folder: Path, step: int, reason: str) -> str:
  """Renames a step so that nothing takes it for one; its new name."""
  name, count = f'quarantine-{step}-{reason}', 1
  while os.path.lexists(folder / name):
    count += 1
    name = f'quarantine-{step}-{reason}-{count}'
  os.rename(folder / str(step), folder / name)
  sync(folder)
  return name


def put_aside(folder: Path, step: int) -> str:
  """Renames what is in a step's place and is no step; its new name."""
  name = f'aside-{step}-{secrets.token_hex(4)}'
  os.rename(folder / str(step), folder / name)
  return name


def delete(folder: Path, step: int) -> None:
  """Removes a step: at no moment is there one that lacks a file."""
  trash = folder / f'.trash-{step}-{secrets.token_hex(4)}'
  os.rename(folder / str(step), trash)
  sync(folder)  # else a power cut may bring back the name of a step that is half removed
  remove(trash)


def remove(path: Path) -> None:
  """Removes a file, a link, or a folder with what is in it; nothing a link points to."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)
