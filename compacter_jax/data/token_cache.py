"""Splits as ids, kept in files, so that the same texts are tokenised once.

A file is named by what decides its ids (`_key`) and holds a checksum of all that is in it. One that
is damaged, incomplete or of something else is made again: ids are those of the texts, or there are
none. Writing takes a draft that is renamed once it is whole, so that a process may be killed at any
time and others may write the same file meanwhile.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compacter_jax import tensor_file
from compacter_jax.data.encoding import Encoded, check_ids, encode
from compacter_jax.data.ragged import Ragged
from compacter_jax.data.tasks import Example
from compacter_jax.data.tokenizer import Tokenizer
from compacter_jax.errors import StorageError

FORMAT = 1  # to be raised whenever the same key would mean other ids, or another layout
ABANDONED = 3600  # seconds; a draft that nobody touched for so long is of a process that was killed
CHUNK = 65_536  # texts that are hashed at a time
ARRAYS = 'source_ids', 'source_offsets', 'target_ids', 'target_offsets'
COUNTS = 'truncated', 'truncated_targets'


class TokenCache:
  """`encode`, with a memory.

  Attributes:
    notes: what was wrong with the folder or its files, each in a line. None of it is an error: the
      texts are tokenised then.
  """

  def __init__(self, folder: str | Path):
    """folder: where the files are; 'auto' is the user's folder for caches, '' keeps nothing."""
    self.notes: list[str] = []
    self._folder: Path | None = None
    try:
      self._folder = user_folder() if folder == 'auto' else Path(folder).expanduser()
    except RuntimeError as error:  # there is no home
      self._note(f'tokens are not kept: {error}')
    if not str(folder):
      self._folder = None

  def encode(
    self,
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    max_source: int,
    max_target: int,
    vocab: int,
    allow_target_truncation: bool = False,
  ) -> Encoded:
    """As the function `encode`, whose errors it raises; the ids may be a memory map of a file."""
    limits = max_source, max_target, vocab, allow_target_truncation
    if self._folder is None:
      return encode(examples, tokenizer, *limits)
    key = _key(examples, tokenizer, max_source, max_target, allow_target_truncation)
    path = self._folder / f'tokens-{key}.safetensors'
    split = self._kept(path, key, examples, max_source)
    if split is not None:
      check_ids(split, vocab)
      return split
    split = encode(examples, tokenizer, *limits)
    self._keep(path, key, split)
    return split

  def _kept(
    self, path: Path, key: str, examples: Sequence[Example], max_source: int
  ) -> Encoded | None:
    """What the file holds; None, with a note, where it cannot be used."""
    try:
      if not path.exists():
        return None
      arrays, counts = _read(path, key)
      sources, targets = Ragged(*arrays[:2]), Ragged(*arrays[2:])
      if not len(sources) == len(targets) == len(examples):
        raise ValueError('it has another number of rows')
    except (OSError, ValueError) as error:
      why = ' '.join(str(error).split())
      self._note(f'{path} cannot be used, its texts are tokenised again: {why}')
      return None
    references = [example.reference for example in examples]
    groups = [example.group for example in examples]
    return Encoded(sources, targets, references, groups, max_source, *counts)

  def _keep(self, path: Path, key: str, split: Encoded) -> None:
    """Writes the file, or notes why not."""
    try:
      # Ids can be read back into texts, which may be nobody else's business.
      path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
      _sweep(path.parent)
      _write(path, key, split)
    except OSError as error:
      cause = error.__cause__ if isinstance(error, StorageError) else error
      self._note(f'tokens are not kept in {path.parent}: {getattr(cause, "strerror", cause)}')

  def _note(self, text: str) -> None:
    if text not in self.notes:
      self.notes.append(text)


def user_folder() -> Path:
  """Where this program keeps what it can make again, as the XDG base directories have it."""
  given = os.environ.get('XDG_CACHE_HOME', '')
  root = Path(given) if Path(given).is_absolute() else Path.home() / '.cache'
  return root / 'compacter_jax'


def _key(
  examples: Sequence[Example], tokenizer: Tokenizer, max_source: int, max_target: int, cut: bool
) -> str:
  """SHA-256, in hex, of all that decides the ids: the rows, style and prefix are in the texts."""
  code = FORMAT, tokenizer.library, tokenizer.fingerprint, tokenizer.pad_id, tokenizer.eos_id
  head = [*code, max_source, max_target, cut, len(examples)]
  digest = hashlib.sha256(json.dumps(head).encode())
  for field in 'source', 'target':
    for start in range(0, len(examples), CHUNK):
      texts = [getattr(example, field) for example in examples[start : start + CHUNK]]
      # The lengths tell where one text ends, so that no two lists of texts have the same bytes.
      digest.update(np.fromiter(map(len, texts), '<i8', len(texts)).data)
      digest.update(''.join(texts).encode('utf-8', 'surrogatepass'))
  return digest.hexdigest()


def _write(path: Path, key: str, split: Encoded) -> None:
  parts = split.sources.ids, split.sources.offsets, split.targets.ids, split.targets.offsets
  counts = split.truncated, split.truncated_targets
  texts = {name: str(count) for name, count in zip(COUNTS, counts)}
  texts |= {'key': key, 'sha256': _checksum(key, parts, counts)}
  tensor_file.write(path, dict(zip(ARRAYS, parts)), texts)


def _read(path: Path, key: str) -> tuple[list[np.ndarray], list[int]]:
  """The arrays, as a memory map, and counts of a file.

  Raises ValueError (of which WeightsError is one) or OSError for a file that is not whole or not of
  that key.
  """
  entries, texts = tensor_file.header(path), tensor_file.metadata(path)
  if texts.get('key') != key or entries.keys() != set(ARRAYS):
    raise ValueError('it holds something else')
  counts = [int(texts.get(name, '')) for name in COUNTS]
  # A plain view: NumPy's own class for maps makes every index of it slow.
  whole = np.memmap(path, np.uint8, 'r').view(np.ndarray)
  arrays = []
  for name in ARRAYS:
    entry = entries[name]
    arrays.append(whole[entry.start : entry.stop].view(entry.dtype).reshape(entry.shape))
  if texts.get('sha256') != _checksum(key, arrays, counts):
    raise ValueError('its checksum is wrong')
  return arrays, counts


def _checksum(key: str, arrays: Sequence[np.ndarray], counts: Sequence[int]) -> str:
  digest = hashlib.sha256(json.dumps([key, *counts]).encode())
  for array in arrays:
    digest.update(f'{array.dtype.str}{array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()


def _sweep(folder: Path) -> None:
  """Removes the drafts of processes that were killed."""
  for draft in folder.glob('.tokens-*.tmp'):
    with contextlib.suppress(FileNotFoundError):  # another process sweeps too
      if time.time() - draft.stat().st_mtime > ABANDONED:
        draft.unlink()
