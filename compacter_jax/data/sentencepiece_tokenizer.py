"""T5's own tokenizer, read straight from its SentencePiece model.

The `sentencepiece` library is the truth for T5: the tokenizers derived from its model have differed
between releases in how they split the first word, and ids decide every score.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from compacter_jax import tensor_file
from compacter_jax.data import sentencepiece_child
from compacter_jax.errors import WeightsError

SENTINELS = 100
MOST = 64 * 2**20  # bytes of a model; mT5's, of 250,000 pieces, has 4.3 MB
_SENTINEL = re.compile(r'<extra_id_(\d|[1-9]\d)>')
_NORMALIZER = 3  # the field of a serialized model that comes after its pieces and trainer settings


class SentencePieceTokenizer:
  """T5's own tokenizer: the pieces of `spiece.model`, then 100 sentinels in reverse order.

  With n pieces, `<extra_id_0>` is n + 99 and `<extra_id_99>` is n. A model has more rows than that
  (32,128 for 32,100); the rows above are padding and never produced. `content` is the whole file.
  """

  def __init__(self, model: Path):
    import sentencepiece

    self.content = content = _model_bytes(model)
    if fault := sentencepiece_child.fault(content):
      raise WeightsError(
        'This SentencePiece model cannot be used.',
        where=str(model),
        got=fault,
        fix='do not use this file: it is damaged or was made to do harm',
      )
    self._pieces = sentencepiece.SentencePieceProcessor()
    try:
      self._pieces.LoadFromSerializedProto(content)
    except (RuntimeError, OSError) as error:
      raise _not_a_model(model, kind_of(content)) from error
    self._n = self._pieces.GetPieceSize()
    self.vocab_size = self._n + SENTINELS
    self.pad_id, self.eos_id = self._pieces.pad_id(), self._pieces.eos_id()
    self.unk_id = self._pieces.unk_id()
    self._special = {self.pad_id, self.eos_id, self.unk_id}
    self.fingerprint = hashlib.sha256(content).hexdigest()
    self.library = f'sentencepiece {sentencepiece.__version__}'
    # A model cut between two pieces still loads, with fewer pieces and so with other sentinels.
    if _is_cut(content):
      raise _not_a_model(model, 'the beginning of a model: the file was cut')
    if min(self.pad_id, self.eos_id) < 0:
      raise _not_a_model(model, "a SentencePiece model without '<pad>' or '</s>', not one of T5's")

  def encode(self, text: str) -> list[int]:
    """The text's ids, with `</s>` at the end; `<extra_id_i>` in the text is the sentinel."""
    # Odd parts of the split are the sentinels' numbers.
    parts = _SENTINEL.split(text)
    ids = self._pieces.EncodeAsIds(parts[0])
    for sentinel, part in zip(parts[1::2], parts[2::2]):
      ids += [self.vocab_size - 1 - int(sentinel), *self._pieces.EncodeAsIds(part)]
    return [*ids, self.eos_id]

  def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
    """`encode` of every text; those without sentinels in one call."""
    rows = [[*ids, self.eos_id] for ids in self._pieces.Encode(list(texts))]
    for i, text in enumerate(texts):
      if '<extra_id_' in text:
        rows[i] = self.encode(text)
    return rows

  def decode(self, ids: Sequence[int]) -> str:
    """The text of the pieces; `<pad>`, `</s>`, `<unk>` and ids above the pieces are left out."""
    kept = [int(i) for i in ids if 0 <= i < self._n and int(i) not in self._special]
    return self._pieces.DecodeIds(kept)

  def pieces(self, ids: Sequence[int]) -> list[str]:
    """What each id stands for: '\u2581' begins a word; ids beyond all are `<no piece>`."""
    return [self._piece(int(i)) for i in ids]

  def _piece(self, i: int) -> str:
    if 0 <= i < self._n:
      return self._pieces.IdToPiece(i)
    return f'<extra_id_{self.vocab_size - 1 - i}>' if 0 <= i < self.vocab_size else '<no piece>'


def kind_of(content: bytes) -> str:
  """What a file that is not what it should be really is."""
  start = content[:200].lstrip().lower()
  kinds = {
    b'version https://git-lfs': 'a Git LFS pointer: the file itself was never downloaded',
    b'<!doctype html': 'a web page, probably of an error or a login',
    b'<html': 'a web page, probably of an error or a login',
    b'\x1f\x8b': 'a gzip archive',
    b'pk\x03\x04': 'a zip archive',
    b'{': 'a JSON text',
  }
  if not content:
    return 'an empty file'
  named = [kind for magic, kind in kinds.items() if start.startswith(magic)]
  return named[0] if named else f'{len(content)} bytes that are damaged or of another format'


def _model_bytes(model: Path) -> bytes:
  try:
    with tensor_file.reading(model) as file:
      return file.read(MOST)
  except WeightsError as error:
    raise WeightsError('The tokenizer cannot be read.', where=str(model), got=error.got) from error


def _is_cut(content: bytes) -> bool:
  """Whether a serialized model ends before its normalizer, walking its top-level fields."""
  at = 0
  try:
    while content[at] >> 3 != _NORMALIZER:
      size, shift, at = 0, 0, at + 1
      while content[at] & 0x80:  # a varint's bytes, 7 bits each, lowest first
        size, shift, at = size | (content[at] & 0x7F) << shift, shift + 7, at + 1
      at += 1 + (size | content[at] << shift)
  except IndexError:
    return True
  return False


def _not_a_model(model: Path, got: str) -> WeightsError:
  return WeightsError(
    'The file is not a SentencePiece model of T5.',
    where=str(model),
    got=got,
    fix='download spiece.model again (`git lfs pull`, or the raw file, not its page)',
  )
