"""T5 weights out of Hugging Face's folders: config.json beside model*.safetensors."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from compacter_jax import tensor_file
from compacter_jax.errors import ConfigError, WeightsError
from compacter_jax.t5 import hub
from compacter_jax.t5.config import Config, from_hf, shapes
from compacter_jax.t5.names import EMBEDDING, STRAY, Name, compare, copies, listed, names

SINGLE, INDEX = 'model.safetensors', 'model.safetensors.index.json'
CONFIG = 'config.json'
DRAFT = '.saving'  # a folder in it, where `saving.save` writes
BLOCK = 8 * 2**20  # bytes read at a time: all that is ever held beside the model itself

_FLOAT32, _BFLOAT16 = np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)


class Stored(NamedTuple):
  """A tensor and the open file that it lies in."""

  file: BinaryIO
  entry: tensor_file.Entry


def load(
  name_or_dir: str | Path, dtype: Any = None, place: Callable[[str, np.ndarray], Any] | None = None
) -> tuple[Config, dict[str, Any]]:
  """A T5 from a folder or from the Hub: its Config and every array of `shapes` by path.

  `dtype` is float32 or bfloat16; by default bfloat16 where all of the file is, or float32. `place`
  is given each path and array, by rising path, and returns what is kept; by default it lies on the
  first device. Peak memory of the host is what is kept there, the largest array, and BLOCK bytes.

  Raises WeightsError for a folder or file that is incomplete, damaged or of another model, with all
  the faults at once, and ConfigError for a config or dtype that cannot be computed with.
  """
  want = _checked(dtype)
  folder = hub.resolve(name_or_dir)
  cfg = read_config(folder)
  # On a CPU what is put there is the array itself, not a copy.
  place, kept = place or (lambda _, array: jax.device_put(array)), {}
  for path, array in _arrays(folder, cfg, want):
    kept[path] = place(path, array)
    del array  # before the next one is made
  return cfg, {path: kept[path] for path in shapes(cfg)}


def check(folder: str | Path) -> Config:
  """Reads a folder as `load` does and keeps nothing.  Raises as `load`."""
  cfg = read_config(folder)
  for _ in _arrays(Path(folder), cfg, None):
    pass
  return cfg


def _arrays(folder: Path, cfg: Config, want: np.dtype | None) -> Iterator[tuple[str, np.ndarray]]:
  """Every array by path; WeightsError behind the last one if any of them is damaged."""
  with ExitStack() as stack:
    found = _open(folder, stack)
    source = next((name for name in (EMBEDDING, *copies(cfg)) if name in found), EMBEDDING)
    repeated = [name for name in copies(cfg) if name in found and name != source]
    _compare_shapes(cfg, found, source, repeated, folder)
    if want is None:
      dtypes = {stored.entry.dtype for stored in found.values()}
      want = _BFLOAT16 if dtypes == {_BFLOAT16} else _FLOAT32
    faults = [f'{n} differs from {source}' for n in repeated if _differ(found[n], found[source])]
    for path, group in groupby(sorted(names(cfg), key=lambda n: n.path), lambda n: n.path):
      out = _aligned(shapes(cfg)[path], want)
      for name in group:
        stored = found[source if name.hf == EMBEDDING else name.hf]
        if bad := _fill(stored, name, out):
          faults.append(f'{name.hf} has {bad:,} numbers that are not finite')
      yield path, out
      del out
  if faults:
    fix = 'for lm_head.weight: tie_word_embeddings in config.json is false if the head is not tied'
    differ = any('differs' in fault for fault in faults)
    raise WeightsError(
      'These weights are damaged.', where=str(folder), got=listed(faults), fix=fix if differ else ''
    )


def _checked(dtype: Any) -> np.dtype | None:
  """The dtype to load, which may be None. Raises ConfigError for one that T5 cannot live in."""
  if dtype is None:
    return None
  try:
    want = jnp.dtype(dtype)
  except TypeError:
    want = None
  if want not in (_FLOAT32, _BFLOAT16):
    half = want == np.float16
    fix = "T5's activations exceed 65,504, the largest float16: take bfloat16" if half else ''
    raise ConfigError('T5 is not loaded so.', expected='float32, bfloat16', got=f'{dtype}', fix=fix)
  return want


def read_config(name_or_dir: str | Path) -> Config:
  """The Config of a T5 in a folder or on the Hub; raises as `load`."""
  path = hub.resolve(name_or_dir, weights=False) / CONFIG
  if not path.exists() and (path.parent / DRAFT).exists():
    raise WeightsError(
      'A save into this folder was cut off.', where=str(path.parent), fix='save the model again'
    )
  fields = _read_json(path)
  try:
    return from_hf(fields)
  except ConfigError as error:
    told = {'expected': error.expected, 'got': error.got, 'fix': error.fix}
    raise ConfigError(error.what, where=str(path), **told) from error


def _open(folder: Path, stack: ExitStack) -> dict[str, Stored]:
  """Every tensor of the folder, save for the stray one, its file open until `stack` closes."""
  if (folder / SINGLE).exists():
    files = [SINGLE]
  elif (folder / INDEX).exists():
    shards = _read_json(folder / INDEX).get('weight_map')
    if not isinstance(shards, dict) or not all(map(_plain, shards.values())):
      raise WeightsError('This index names no files.', where=str(folder / INDEX))
    files = sorted(set(shards.values()))
  else:
    inside = sorted(child.name for child in folder.iterdir())
    pickled = [name for name in inside if re.fullmatch(r'pytorch_model.*\.bin', name)]
    raise WeightsError(
      'This folder has its weights only as pickles.' if pickled else 'This folder has no weights.',
      where=str(folder),
      expected=f'{SINGLE}, or {INDEX} and its shards',
      got=listed(inside) or 'nothing',
      fix=tensor_file.CONVERT if pickled else '',
    )
  out: dict[str, Stored] = {}
  for name in files:
    entries = tensor_file.header(folder / name)
    if twice := [tensor for tensor in entries if tensor in out]:
      raise WeightsError('Two shards hold the same tensors.', where=name, got=listed(twice))
    file = stack.enter_context(tensor_file.reading(folder / name))
    out |= {tensor: Stored(file, entry) for tensor, entry in entries.items()}
  return {name: stored for name, stored in out.items() if name != STRAY}


def _plain(name: Any) -> bool:
  """Whether an index names a file of its own folder."""
  return isinstance(name, str) and re.fullmatch(r'[\w-][\w.-]*\.safetensors', name) is not None


def _compare_shapes(
  cfg: Config, found: Mapping[str, Stored], source: str, repeated: Iterable[str], folder: Path
) -> None:
  """Raises WeightsError unless the folder holds just this T5, in floats."""
  want = {source if name.hf == EMBEDDING else name.hf: name.shape for name in names(cfg)}
  want |= {name: want[source] for name in repeated}
  floats = {tensor_file.DTYPES[code] for code in ('F64', 'F32', 'F16', 'BF16')}
  got = {
    # A number that is no float is no weight, whatever its shape: quantized, perhaps.
    name: stored.entry.shape if stored.entry.dtype in floats else stored.entry.dtype
    for name, stored in found.items()
  }
  compare(want, got, str(folder))


def _blocks(entry: tensor_file.Entry) -> Iterator[tuple[int, int]]:
  """Rows of a tensor, as many at a time as BLOCK bytes hold."""
  step = max(1, BLOCK * entry.shape[0] // (entry.stop - entry.start))
  for first in range(0, entry.shape[0], step):
    yield first, min(first + step, entry.shape[0])


def _fill(stored: Stored, name: Name, out: np.ndarray) -> int:
  """Reads one tensor into its place in `out`; the count of its numbers that are not finite."""
  target = out if name.layer is None else out[name.layer]
  target = target.T if name.transpose else target
  bad = 0
  for first, last in _blocks(stored.entry):
    place, part = target[first:last], stored.entry.rows(first, last)
    straight = not name.transpose and part.dtype == out.dtype
    block = place if straight else np.empty(part.shape, part.dtype)
    tensor_file.read_into(stored.file, part, block)
    if not straight:
      with np.errstate(over='ignore'):  # what overflows is counted below
        block = block.astype(out.dtype, copy=False)
      place[...] = block
    bad += block.size - int(np.count_nonzero(np.isfinite(block)))
  return bad


def _differ(a: Stored, b: Stored) -> bool:
  """Whether two tensors of one shape differ in any number."""
  for first, last in _blocks(a.entry):
    blocks = []
    for file, entry in a, b:
      part = entry.rows(first, last)
      tensor_file.read_into(file, part, block := np.empty(part.shape, part.dtype))
      blocks.append(block)
    if not np.array_equal(*blocks):
      return True
  return False


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
  """An empty array that XLA's CPU backend can use where it lies: on a boundary of 64 bytes."""
  size = math.prod(shape) * dtype.itemsize
  raw = np.empty(size + 64, np.uint8)
  start = -raw.ctypes.data % 64
  return raw[start : start + size].view(dtype).reshape(shape)


def _read_json(path: Path) -> dict[str, Any]:
  """A JSON object. Raises WeightsError for anything else."""
  with tensor_file.reading(path) as file:
    text = file.read(tensor_file.MAX_HEADER)
  try:
    fields = json.loads(text.decode())
  except (ValueError, RecursionError) as error:
    raise WeightsError('This is no readable JSON.', where=str(path), got=str(error)) from error
  if not isinstance(fields, dict):
    raise WeightsError('This is no JSON object.', where=str(path))
  return fields
