"""Plain text to pretrain on: files of paragraphs to one run of ids, cut into chunks.

As T5 was pretrained, texts follow each other without a mark and chunks are cut wherever they end.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from compacter_jax.data.sentencepiece_tokenizer import SENTINELS
from compacter_jax.data.tokenizer import Tokenizer
from compacter_jax.errors import ConfigError, DataError

AT_ONCE = 5_000  # paragraphs


def corpus_files(folder: str | Path, pattern: str) -> list[Path]:
  """The files of a folder that match a glob, sorted.

  Raises ConfigError for a pattern that is none, DataError where there are no such files.
  """
  try:
    found = sorted(path for path in Path(folder).expanduser().glob(pattern) if path.is_file())
  except (ValueError, NotImplementedError) as error:
    raise ConfigError(
      'This is no pattern of files in a folder.', expected='such as *.txt.gz', got=repr(pattern)
    ) from error
  if not found:
    raise DataError(
      'There is no text.', where=f'{folder}/{pattern}', expected='files of text, plain or .gz'
    )
  return found


def paragraphs(path: Path) -> Iterator[str]:
  """The paragraphs of a text, gzipped or not: lines between empty ones, joined by spaces.

  Raises DataError where the file cannot be read or is not UTF-8.
  """
  lines: list[str] = []
  number = 0
  try:
    with gzip.open(path) if path.suffix == '.gz' else path.open('rb') as file:
      # Decoded line by line, so that an error can say which.
      for number, raw in enumerate(file, 1):
        line = raw.decode('utf-8-sig' if number == 1 else 'utf-8').strip()
        if line:
          lines.append(line)
        elif lines:
          yield ' '.join(lines)
          lines = []
  except UnicodeDecodeError as error:
    raise DataError(
      'The text is not UTF-8.', where=f'{path}:{number}', got=str(error), fix='convert it first'
    ) from error
  except (OSError, EOFError, zlib.error) as error:
    raise DataError('The text cannot be read.', where=str(path), got=str(error)) from error
  if lines:
    yield ' '.join(lines)


def token_stream(files: Sequence[Path], tokenizer: Tokenizer) -> np.ndarray:
  """All paragraphs of all files one after the other: int32 [ids], without ends of sequence.

  A sentinel that a text spells out is left out, for it must only ever stand for a span.
  """
  parts, lowest = [], tokenizer.vocab_size - SENTINELS
  for file in files:
    texts = list(paragraphs(file))
    for start in range(0, len(texts), AT_ONCE):
      rows = tokenizer.encode_all(texts[start : start + AT_ONCE])
      parts += [np.array(row[:-1], np.int32) for row in rows]
  stream = np.concatenate(parts) if parts else np.zeros(0, np.int32)
  return stream[stream < lowest]


def chunks_of(stream: np.ndarray, length: int, where: str = '') -> np.ndarray:
  """The stream cut up: [chunks, length]; what is left over is dropped.

  Raises DataError, naming `where` the text is from, unless there is one chunk.
  """
  count = len(stream) // length
  if not count:
    raise DataError(
      'The text is too short.',
      where=where,
      expected=f'at least one chunk of {length} ids',
      got=f'{len(stream)} ids',
    )
  return stream[: count * length].reshape(count, length)
