"""Safetensors files, read and written as a stream: never more than one tensor beside the result.

The `safetensors` library maps the file and then copies it, so a model costs twice its size; and it
accepts duplicate keys and headers of a hundred megabytes. This reader checks everything that the
header claims before it allocates anything.
Format: https://huggingface.co/docs/safetensors: 8 bytes of header length, JSON, the tensors.
"""

import contextlib
import json
import math
import os
import secrets
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from compacter_jax.errors import StorageError, WeightsError

MAX_HEADER = 8 * 2**20  # bytes; T5-11B needs 0.1 MiB
MAX_TENSORS = 20_000  # T5-11B has 558

DTYPES = {
  'F64': np.dtype('<f8'),
  'F32': np.dtype('<f4'),
  'F16': np.dtype('<f2'),
  'BF16': np.dtype(ml_dtypes.bfloat16),
  'I64': np.dtype('<i8'),
  'I32': np.dtype('<i4'),
  'I16': np.dtype('<i2'),
  'I8': np.dtype('i1'),
  'U64': np.dtype('<u8'),
  'U32': np.dtype('<u4'),
  'U16': np.dtype('<u2'),
  'U8': np.dtype('u1'),
  'BOOL': np.dtype('?'),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}

# Unpickling runs whatever code the file holds, so this program does not do it.
CONVERT = """where nothing can be harmed (a container without network), run
    import torch; from safetensors.torch import save_file
    save_file({k: v.clone().contiguous() for k, v in torch.load('pytorch_model.bin', 'cpu', \
weights_only=True).items()}, 'model.safetensors', {'format': 'pt'})"""

# What people really have under the name of a weights file, by its first bytes.
_OTHERS = (
  (b'version https://git-lfs', 'a Git LFS pointer, not the weights', 'run `git lfs pull`'),
  (b'<', 'a web page, not the weights', 'download it again and look at what comes'),
  (b'PK\x03\x04', 'a zip archive: pickled PyTorch weights, or .npz', CONVERT),
  (b'\x80', 'a Python pickle, which can run any code', CONVERT),
  (b'\x1f\x8b', 'compressed with gzip', 'unpack it'),
  (b'\x89HDF', 'an HDF5 file (Keras)', 'take the safetensors file of this model'),
  (b'GGUF', 'a GGUF file (llama.cpp)', 'take the safetensors file of this model'),
  (b'\x93NUMPY', 'a single NumPy array', 'take the safetensors file of this model'),
  (b'{', 'JSON text, perhaps the index of a model in shards', 'give the folder that holds it'),
)


@dataclass(frozen=True)
class Entry:
  """One tensor in a file: bytes `start` to `stop`, counted from the first byte of the file."""

  dtype: np.dtype
  shape: tuple[int, ...]
  start: int
  stop: int

  def rows(self, first: int, last: int) -> 'Entry':
    """The part of this tensor that holds rows `first` to `last` of its first axis."""
    row = (self.stop - self.start) // self.shape[0]
    part = {'start': self.start + first * row, 'stop': self.start + last * row}
    return replace(self, shape=(last - first, *self.shape[1:]), **part)


class Lazy(NamedTuple):
  """A tensor to write that `make` produces when its turn has come."""

  dtype: np.dtype
  shape: tuple[int, ...]
  make: Callable[[], np.ndarray]


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[BinaryIO]:
  """A regular file, open and unbuffered. Raises WeightsError for pipes, devices and the absent."""
  # Opening a pipe would wait for its writer for ever.
  opener = lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
  with contextlib.ExitStack() as stack:
    try:
      file = stack.enter_context(open(path, 'rb', buffering=0, opener=opener))
    except OSError as error:
      raise WeightsError('This file cannot be read.', where=str(path), got=str(error)) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
      raise WeightsError('This is not a regular file.', where=str(path))
    yield file


def header(path: str | Path) -> dict[str, Entry]:
  """The tensors of a safetensors file by name; the whole header is checked first.

  Raises WeightsError that says what the file really is, or what its header gets wrong.
  """
  return _parse(path)[0]


def metadata(path: str | Path) -> dict[str, str]:
  """The `__metadata__` of a safetensors file."""
  return _parse(path)[1]


def read_into(file: BinaryIO, entry: Entry, out: np.ndarray) -> None:
  """Fills `out`, contiguous and of the entry's dtype and shape, without a copy between."""
  if out.dtype != entry.dtype or out.shape != entry.shape or not out.flags.c_contiguous:
    raise ValueError(f'{entry} does not fit into {out.dtype}{list(out.shape)}.')
  rest = out.reshape(-1).view(np.uint8).data
  file.seek(entry.start)
  while rest:
    got = file.readinto(rest)  # type: ignore[attr-defined]
    if not got:
      raise WeightsError('The file became shorter while it was read.', where=str(file.name))
    rest = rest[got:]


def read(path: str | Path) -> dict[str, np.ndarray]:
  """Every tensor of a safetensors file. Raises WeightsError as `header` does."""
  entries = header(path)
  out = {name: np.empty(entry.shape, entry.dtype) for name, entry in entries.items()}
  with reading(path) as file:
    for name, entry in entries.items():
      read_into(file, entry, out[name])
  return out


def write(
  path: str | Path,
  tensors: Mapping[str, np.ndarray | Lazy],
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes a safetensors file, one tensor at a time, all of it or nothing.

  Equal tensors give equal bytes: they lie sorted by falling size of their dtype, so that each is
  aligned, then by name. Raises StorageError where the folder cannot be written.
  """
  order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
  fields: dict[str, Any] = {'__metadata__': dict(metadata)} if metadata else {}
  stop = 0
  for name in order:
    tensor = tensors[name]
    start, stop = stop, stop + math.prod(tensor.shape) * tensor.dtype.itemsize
    if tensor.dtype not in _CODES or name == '__metadata__':
      raise ValueError(f'{name!r} of dtype {tensor.dtype} cannot be written.')
    code = _CODES[tensor.dtype]
    fields[name] = {'dtype': code, 'shape': list(tensor.shape), 'data_offsets': [start, stop]}
  text = json.dumps(fields, separators=(',', ':'), ensure_ascii=False).encode()
  text += b' ' * (-len(text) % 8)
  with atomic(path) as file:
    file.write(len(text).to_bytes(8, 'little') + text)
    for name in order:
      tensor = tensors[name]
      array = tensor.make() if isinstance(tensor, Lazy) else tensor
      if (array.dtype, array.shape) != (tensor.dtype, tuple(tensor.shape)):
        raise ValueError(f'{name} was announced as {tensor.dtype}{list(tensor.shape)}.')
      file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
  """What goes on with a file.  Raises StorageError where the disk refuses it."""
  try:
    yield
  except OSError as error:
    raise StorageError('This file cannot be written.', where=str(path), got=str(error)) from error


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[BinaryIO]:
  """A file to write that takes the name `path` once it is complete and on the disk.

  Raises StorageError where that fails; then what was at `path` before is still there.
  """
  path = Path(path)
  draft = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
  try:
    with writing(path):
      with open(draft, 'xb') as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
      os.replace(draft, path)
      sync(path.parent)  # else a power cut may still undo the rename
  finally:
    with contextlib.suppress(OSError):  # a disk that is broken has been told of
      draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
  """Waits until a file, or the names in a folder, are on the disk."""
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def _parse(path: str | Path) -> tuple[dict[str, Entry], dict[str, str]]:
  """The checked tensors and metadata of a file."""
  with reading(path) as file:
    size = os.fstat(file.fileno()).st_size
    _sniff(path, size, start := file.read(32))
    length = int.from_bytes(start[:8], 'little')
    file.seek(8)
    text = file.read(length)
  try:
    if text.count(b'"data_offsets"') > MAX_TENSORS:  # before Python makes objects of them
      raise ValueError(f'more than {MAX_TENSORS:,} tensors')
    fields = json.loads(text.decode(), object_pairs_hook=_unique)
    meta = fields.pop('__metadata__', {})
    if len(fields) > MAX_TENSORS:  # their keys may have been spelled with escapes
      raise ValueError(f'more than {MAX_TENSORS:,} tensors')
    if not isinstance(meta, dict) or not all(isinstance(text, str) for text in meta.values()):
      raise ValueError('__metadata__ holds more than text')
    entries = {name: _entry(name, field, 8 + length) for name, field in fields.items()}
    _cover(entries, 8 + length, size)
  except (ValueError, RecursionError) as error:
    fix = 'the file is damaged or was made to do harm: download it again from a source you trust'
    got = str(error)[:500].encode('ascii', 'backslashreplace').decode()
    raise WeightsError(
      'The header of this safetensors file is wrong.', where=str(path), got=got, fix=fix
    ) from error
  return entries, meta


def _sniff(path: str | Path, size: int, start: bytes) -> None:
  """Refuses what is no safetensors file, whatever its name."""
  where = str(path)
  if not size:
    raise WeightsError('This weights file is empty.', where=where, fix='download it again')
  length = int.from_bytes(start[:8], 'little')
  # First, because a length may well begin with the byte of a pickle.
  if length <= MAX_HEADER and start[8:9] == b'{':
    if 8 + length > size:
      got = f'{size:,} bytes, where the header alone should take {8 + length:,}'
      raise WeightsError('This weights file is cut short.', where=where, got=got)
    return
  for first, what, fix in _OTHERS:
    if start.lstrip(b'\xef\xbb\xbf \r\n\t').startswith(first):
      raise WeightsError(f'This weights file is {what}.', where=where, fix=fix)
  got = f'{size:,} bytes that begin with {start[:12]!r}'
  if start[8:9] == b'{':
    got = f'a header of {length:,} bytes; at most {MAX_HEADER:,} are taken'
  raise WeightsError('This is no safetensors file.', where=where, got=got)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object whose keys differ; readers disagree about which of two equal keys counts."""
  out = dict(pairs)
  if len(out) < len(pairs):
    twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
    raise ValueError(f'the key {twice!r} more than once')
  return out


def _entry(name: str, field: Any, base: int) -> Entry:
  """One tensor of the header, whose offsets count from `base`."""
  whole = lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0
  if not isinstance(field, dict) or set(field) != {'dtype', 'shape', 'data_offsets'}:
    raise ValueError(f'{name!r} is not described by dtype, shape and data_offsets')
  name.encode()  # raises for half a surrogate pair, which nothing could print
  code, shape, offsets = field['dtype'], field['shape'], field['data_offsets']
  if not isinstance(code, str) or code not in DTYPES:
    raise ValueError(f'{name!r} has dtype {code!r}; known are {", ".join(DTYPES)}')
  if not isinstance(shape, list) or not all(map(whole, shape)) or len(shape) > 32:
    raise ValueError(f'{name!r} has the shape {shape!r}')
  if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(whole, offsets)):
    raise ValueError(f'{name!r} has the offsets {offsets!r}')
  bytes_ = math.prod(shape) * DTYPES[code].itemsize  # Python's integers do not overflow
  if offsets[1] - offsets[0] != bytes_:
    raise ValueError(f'{name!r}, {code}{shape}, needs {bytes_:,} bytes but has {offsets}')
  return Entry(DTYPES[code], tuple(shape), base + offsets[0], base + offsets[1])


def _cover(entries: Mapping[str, Entry], base: int, size: int) -> None:
  """Tensors must fill the file from the header to its end, none twice and nothing between."""
  stop = base
  for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
    if entry.start != stop:
      kind = 'overlaps what is before it' if entry.start < stop else 'leaves a hole before it'
      raise ValueError(f'{name!r} {kind} at byte {stop:,}')
    stop = entry.stop
  if stop > size:
    raise ValueError(f'the file is cut short: {size:,} of {stop:,} bytes')
  if stop < size:
    raise ValueError(f'{size - stop:,} bytes after the last tensor')
