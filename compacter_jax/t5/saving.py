"""T5 weights into a folder of Hugging Face's format, which is one model at any moment, or none."""

import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from compacter_jax import tensor_file
from compacter_jax.errors import StorageError
from compacter_jax.t5.config import Config, shapes, to_hf
from compacter_jax.t5.files import CONFIG, DRAFT, INDEX, SINGLE
from compacter_jax.t5.names import Name, compare, names

Shards = dict[str, dict[str, tensor_file.Lazy]]  # tensors by file


def save(
  directory: str | Path,
  cfg: Config,
  frozen: Mapping[str, jax.Array],
  max_shard_bytes: int = 5 * 10**9,
) -> None:
  """Writes config.json and model.safetensors, in shards with an index above `max_shard_bytes`.

  All of it is written and on the disk before anything of an earlier model goes, so the folder
  needs room for both. Cut off at any moment, it holds the earlier model, or this one, or it has no
  config.json, which `load` refuses. Raises WeightsError where `frozen` is not all of this T5,
  StorageError where the folder cannot be written.
  """
  directory = Path(directory)
  compare(shapes(cfg), {path: array.shape for path, array in frozen.items()}, 'the arrays')
  tensors = {name.hf: _lazy(name, frozen[name.path]) for name in names(cfg)}
  shards = _shards(tensors, max_shard_bytes)
  try:
    draft = _fresh(directory)
  except OSError as error:
    told = {'where': str(directory), 'got': str(error)}
    raise StorageError('This folder cannot be made.', **told) from error
  try:
    _write(draft, cfg, shards)
  except BaseException:
    shutil.rmtree(draft, ignore_errors=True)
    raise
  try:
    _publish(draft, directory)
  except OSError as error:
    told = {'where': str(directory), 'got': str(error), 'fix': 'save the model again'}
    raise StorageError('This model cannot be put in its place.', **told) from error


def _fresh(directory: Path) -> Path:
  """The folder of the draft, empty: that of a save that was cut off goes."""
  draft = directory / DRAFT
  draft.mkdir(parents=True, exist_ok=True)
  shutil.rmtree(draft)
  draft.mkdir()
  return draft


def _write(draft: Path, cfg: Config, shards: Shards) -> None:
  """Every file of the model, each on the disk when it is written."""
  for file, members in shards.items():
    # transformers refuses a file that does not say for which framework it was written.
    tensor_file.write(draft / file, members, {'format': 'pt'})
  if SINGLE not in shards:
    total = sum(_bytes(tensor) for members in shards.values() for tensor in members.values())
    where = {name: file for file, members in shards.items() for name in members}
    _write_json(draft / INDEX, {'metadata': {'total_size': total}, 'weight_map': where})
  _write_json(draft / CONFIG, to_hf(cfg))


def _publish(draft: Path, directory: Path) -> None:
  """Moves a complete model to its place; without its config it is none until all is there."""
  # Each wait keeps the order of these changes through a power cut.
  (directory / CONFIG).unlink(missing_ok=True)
  tensor_file.sync(directory)
  written = {path.name for path in draft.iterdir()} - {CONFIG}
  for name in written:
    os.replace(draft / name, directory / name)
  # What an earlier save left would be read instead of this, or for nothing.
  for old in directory.glob('model*.safetensors*'):
    ours = old.name == INDEX or re.fullmatch(r'model(-\d{5}-of-\d{5})?\.safetensors', old.name)
    if ours and old.name not in written:
      old.unlink()
  tensor_file.sync(directory)
  os.replace(draft / CONFIG, directory / CONFIG)
  tensor_file.sync(directory)
  draft.rmdir()


def _lazy(name: Name, array: jax.Array) -> tensor_file.Lazy:
  """One tensor of the file, taken out of its stack when it is written."""

  def make() -> np.ndarray:
    if name.layer is None:
      whole = np.asarray(array)
    else:
      whole = np.asarray(jax.lax.dynamic_index_in_dim(array, name.layer, keepdims=False))
    return whole.T if name.transpose else whole

  return tensor_file.Lazy(np.dtype(array.dtype), name.shape, make)


def _bytes(tensor: tensor_file.Lazy) -> int:
  return math.prod(tensor.shape) * tensor.dtype.itemsize


def _shards(tensors: Mapping[str, tensor_file.Lazy], limit: int) -> Shards:
  """Tensors by file, in order, no file above `limit` bytes unless one tensor is."""
  shards: list[dict[str, tensor_file.Lazy]] = []
  room = -1
  for name, tensor in tensors.items():
    if _bytes(tensor) > room:
      shards.append({})
      room = limit
    shards[-1][name] = tensor
    room -= _bytes(tensor)
  if len(shards) == 1:
    return {SINGLE: shards[0]}
  total = len(shards)
  return {f'model-{i + 1:05}-of-{total:05}.safetensors': shard for i, shard in enumerate(shards)}


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
  """Writes a JSON object atomically, in a form that is the same every time."""
  with tensor_file.atomic(path) as file:
    file.write((json.dumps(fields, indent=2, sort_keys=True) + '\n').encode())
