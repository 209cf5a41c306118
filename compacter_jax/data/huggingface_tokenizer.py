"""Any tokenizer that Hugging Face's transformers can load, e.g. ByT5's."""

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from compacter_jax.data.sentencepiece_tokenizer import kind_of
from compacter_jax.errors import WeightsError


class HuggingFaceTokenizer:
  """Any tokenizer that `transformers.AutoTokenizer` can load, e.g. google/byt5-small."""

  def __init__(self, path_or_name: str, revision: str | None = None):
    """revision: of a model on the Hub, see `hub_names`."""
    from transformers import AutoTokenizer

    try:
      self._tokenizer: Any = AutoTokenizer.from_pretrained(
        path_or_name, revision=revision or 'main'
      )
    # AutoTokenizer lets through whatever the class it settles on raises, KeyError included.
    except Exception as error:
      raise WeightsError(
        'The tokenizer cannot be loaded.',
        where=path_or_name,
        expected='a folder with spiece.model or a Hugging Face tokenizer, or a name on the Hub',
        got=_broken_file(Path(path_or_name)) or first_line(error),
        fix='check the spelling; without a network, give the path of a folder',
      ) from error
    self.pad_id, self.eos_id = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
    if self.pad_id is None or self.eos_id is None:
      raise WeightsError(
        'The tokenizer has no padding or no end-of-sequence token, which T5 needs.',
        where=path_or_name,
        got=f'pad {self.pad_id}, end of sequence {self.eos_id}',
      )
    unk_id = self._tokenizer.unk_token_id
    self.unk_id = -1 if unk_id is None else unk_id
    self.vocab_size = len(self._tokenizer)
    self.fingerprint = hashlib.sha256(_described(self._tokenizer).encode()).hexdigest()
    names = 'transformers', 'tokenizers', 'sentencepiece'
    self.library = ', '.join(f'{name} {metadata.version(name)}' for name in names)

  def encode(self, text: str) -> list[int]:
    """The text's ids, with the end-of-sequence token at the end."""
    return self.encode_all([text])[0]

  def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
    """`encode` of every text; no other token that the tokenizer would add by itself is added."""
    if not texts:
      return []
    encoded = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)
    return [[*ids, self.eos_id] for ids in encoded['input_ids']]

  def decode(self, ids: Sequence[int]) -> str:
    """The text of the ids; special tokens and ids outside the vocabulary are left out."""
    kept = [int(i) for i in ids if 0 <= i < self.vocab_size]
    return self._tokenizer.decode(
      kept, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )

  def pieces(self, ids: Sequence[int]) -> list[str]:
    """What each id stands for; ids outside the vocabulary are `<no piece>`."""
    named = self._tokenizer.convert_ids_to_tokens
    return [named(int(i)) if 0 <= i < self.vocab_size else '<no piece>' for i in ids]


def first_line(error: Exception) -> str:
  """The error's kind and the first line of what it says."""
  return f'{type(error).__name__}: {str(error).strip()[:300]}'.splitlines()[0]


def _broken_file(folder: Path) -> str:
  """The first file of a tokenizer's folder that is no JSON text and what it is, '' if none."""
  for path in sorted(folder.glob('*token*.json')):
    if (kind := kind_of(path.read_bytes())) != 'a JSON text':
      return f'{path.name} is {kind}'
  return ''


def _described(tokenizer: Any) -> str:
  """All that decides a Hugging Face tokenizer's output, the same in every process."""
  backend = getattr(tokenizer, 'backend_tokenizer', None)
  if backend is not None:
    return backend.to_str()
  vocabulary = sorted(tokenizer.get_vocab().items())
  return json.dumps([type(tokenizer).__name__, vocabulary, tokenizer.special_tokens_map])
