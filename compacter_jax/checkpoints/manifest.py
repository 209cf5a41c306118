"""manifest.json: what a step holds, written last. A step without one that is right is no step."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compacter_jax.checkpoints import files
from compacter_jax.checkpoints.files import Sum
from compacter_jax.errors import WeightsError

NAME = 'manifest.json'
FORMAT = 1
MOST = 64 * 2**20  # bytes; a manifest takes 0.2 KB per array

Tree = list[tuple[str, list[int], str]]


@dataclass(frozen=True)
class Manifest:
  """A step, in words.

  Attributes:
    step: how many steps were taken.
    score: of this step, higher is better; None where there is none.
    about: what else the run needs to go on, as it was given.
    identity: what must be the same for a run to go on with this step.
    tree: path, shape and dtype of each array, in the order in which they are stored.
    files: path from the step's folder -> checksum, of all files but this one.
    run: of the process that wrote it; differs with each start.
    versions: library -> version.
    topology: the devices it was written on.
  """

  step: int
  score: float | None
  about: Any
  identity: dict[str, Any]
  tree: Tree
  files: dict[str, Sum]
  run: str
  versions: dict[str, str]
  topology: dict[str, Any]


def encode(manifest: Manifest) -> bytes:
  """The file: canonical JSON in which a SHA-256 stands for the rest."""
  fields = {'format': FORMAT, **dataclasses.asdict(manifest)}
  return _canonical(fields)


def read(path: Path) -> Manifest:
  """The manifest in that file.

  Raises ValueError if a bit of it is wrong, OSError if it cannot be read, and WeightsError if a
  later version of this program wrote it.
  """
  with files.opened(path) as file:
    text = file.read(MOST + 1)
  if len(text) > MOST:
    raise ValueError(f'more than {MOST:,} bytes')
  try:
    fields = json.loads(text)['manifest']
    # Written again it must be the same bytes: thus no space and no doubled key goes unseen either.
    same = _canonical(fields) == text
  except (ValueError, TypeError, KeyError, RecursionError) as error:
    raise ValueError(f'not the JSON that was written: {error}') from error
  if not same:
    raise ValueError('its SHA-256 is another')
  if fields.pop('format') != FORMAT:
    raise WeightsError(
      'This checkpoint was written by another version of this program.',
      where=str(path),
      expected=f'format {FORMAT}',
      fix='go on with that version, or take another folder',
    )
  try:
    fields['tree'] = [(path, shape, dtype) for path, shape, dtype in fields['tree']]
    return Manifest(**fields)
  except (TypeError, ValueError) as error:
    raise ValueError(f'other fields than it should have: {error}') from error


def plain(what: str, value: Any) -> Any:
  """A value as JSON gives it back. Raises ValueError where it cannot be JSON; NaN cannot."""
  try:
    return json.loads(json.dumps(value, allow_nan=False))
  except (TypeError, ValueError) as error:
    raise ValueError(f'{what} cannot be kept as JSON: {error}') from error


def comparable(score: float | None) -> float | None:
  """A score that can be ranked, or None: what is not finite never wins."""
  return None if score is None or not math.isfinite(score) else float(score)


def _canonical(fields: dict[str, Any]) -> bytes:
  dump = lambda value: json.dumps(value, sort_keys=True, indent=1, allow_nan=False)
  digest = hashlib.sha256(dump(fields).encode()).hexdigest()
  return dump({'manifest': fields, 'sha256': digest}).encode() + b'\n'
