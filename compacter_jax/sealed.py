"""JSON files that hold the SHA-256 of all else in them, so that one bit that flipped is seen."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compacter_jax import tensor_file
from compacter_jax.errors import WeightsError

KEY = 'sha256'
MOST = 64 * 2**20  # bytes of a file that are read


def write(path: str | Path, fields: Mapping[str, Any]) -> dict[str, Any]:
  """Writes an object with its hash as the last field, all of it or nothing; what was written."""
  whole = _with_hash(fields)
  with tensor_file.atomic(path) as file:
    file.write(_text(whole))
  return whole


def read(path: str | Path) -> dict[str, Any]:
  """The object in a file, with `KEY` if it has a hash, which is then the right one.

  Raises WeightsError for what is no regular file, no JSON object, or not what was written.
  """
  with tensor_file.reading(path) as file:
    text = file.read(MOST + 1)
  try:
    if len(text) > MOST:
      raise ValueError(f'more than {MOST:,} bytes')
    fields = json.loads(text)
    if not isinstance(fields, dict):
      raise ValueError(f'no JSON object but a {type(fields).__name__}')
    # Written again it must be the same bytes: no space and no doubled key goes unseen either.
    if KEY in fields and _text(_with_hash(fields)) != text:
      raise ValueError('its SHA-256 is another')
  except (ValueError, RecursionError) as error:
    raise WeightsError(
      'This file is damaged.',
      where=str(path),
      expected='the JSON that was written',
      got=str(error)[:500],
      fix='bring back a copy of it',
    ) from error
  return fields


def _with_hash(fields: Mapping[str, Any]) -> dict[str, Any]:
  rest = {name: value for name, value in fields.items() if name != KEY}
  return rest | {KEY: hashlib.sha256(_text(rest)).hexdigest()}


def _text(fields: Mapping[str, Any]) -> bytes:
  return (json.dumps(fields, indent=1) + '\n').encode()
