"""Plain text to pretrain on: files of paragraphs to one run of ids, cut into chunks.

As T5 was pretrained, texts follow each other without a mark and chunks are cut wherever they end.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from compacter_jax.data.tokenizer import Tokenizer
from compacter_jax.errors import DataError

AT_ONCE = 5_000  # paragraphs


def corpus_files(folder: str | Path, pattern: str) -> list[Path]:
  """The files of a folder that match a glob, sorted.  Raises DataError if there are none."""
  found = sorted(path for path in Path(folder).expanduser().glob(pattern) if path.is_file())
  if not found:
    raise DataError(
      'There is no text.', where=f'{folder}/{pattern}', expected='files ending in .txt or .txt.gz'
    )
  return found


def paragraphs(path: Path) -> Iterator[str]:
  """The paragraphs of a text, gzipped or not: lines between empty ones, joined by spaces.

  Raises DataError where the file cannot be read or is not UTF-8.
  """
  opened = gzip.open if path.suffix == '.gz' else open
  lines: list[str] = []
  try:
    with opened(path, 'rt', encoding='utf-8-sig', newline='\n') as file:
      for line in file:
        if line.strip():
          lines.append(line.strip())
        elif lines:
          yield ' '.join(lines)
          lines = []
  except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
    raise DataError('The text cannot be read.', where=str(path), got=str(error)) from error
  if lines:
    yield ' '.join(lines)


def token_stream(files: Sequence[Path], tokenizer: Tokenizer) -> np.ndarray:
  """All paragraphs of all files one after the other: int32 [ids], without ends of sequence."""
  parts = []
  for file in files:
    texts = list(paragraphs(file))
    for start in range(0, len(texts), AT_ONCE):
      rows = tokenizer.encode_all(texts[start : start + AT_ONCE])
      parts += [np.array(row[:-1], np.int32) for row in rows]
  return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def chunks_of(stream: np.ndarray, length: int) -> np.ndarray:
  """The stream cut up: [chunks, length]; what is left over is dropped.

  Raises DataError unless there is one chunk.
  """
  count = len(stream) // length
  if not count:
    raise DataError(
      'The text is too short.', expected=f'at least one chunk of {length} ids', got=f'{len(stream)}'
    )
  return stream[: count * length].reshape(count, length)
