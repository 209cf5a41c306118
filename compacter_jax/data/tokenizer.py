"""Text to ids and back: what the pipeline asks of a tokenizer, and where one is found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from compacter_jax.data.huggingface_tokenizer import HuggingFaceTokenizer, first_line
from compacter_jax.data.sentencepiece_tokenizer import SentencePieceTokenizer
from compacter_jax.errors import WeightsError
from compacter_jax.hub_names import SHIPPED, HubName, parse


class Tokenizer(Protocol):
  """What the data pipeline asks of a tokenizer."""

  vocab_size: int
  pad_id: int
  eos_id: int
  unk_id: int  # of what the vocabulary has no piece for; -1 where it has one for everything
  fingerprint: str  # SHA-256, in hex, of what decides the tokenisation
  library: str  # the code that tokenises, with its version: another one may do it differently

  def encode(self, text: str) -> list[int]:
    """The text's ids, with `eos_id` at the end."""
    ...

  def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
    """`encode` of many texts at once, which is much faster."""
    ...

  def decode(self, ids: Sequence[int]) -> str:
    """The text of the ids, wherever special tokens stand; these themselves are left out."""
    ...

  def pieces(self, ids: Sequence[int]) -> list[str]:
    """What each id stands for, as the vocabulary spells it: '\u2581cat', '</s>'."""
    ...


def load_tokenizer(path_or_name: str | Path) -> Tokenizer:
  """That of a SentencePiece file, of a folder, of the shipped 'nano', or of a model on the Hub.

  Wherever there is a `spiece.model`, that is what is read. Raises WeightsError where there is
  nothing to read, or it is damaged or something else than a tokenizer.
  """
  name, path = str(path_or_name), Path(path_or_name).expanduser()
  if name and path.is_dir():
    model = path / 'spiece.model'
    return SentencePieceTokenizer(model) if model.exists() else HuggingFaceTokenizer(str(path))
  if name and path.exists():
    return SentencePieceTokenizer(path)
  if name in SHIPPED:
    return SentencePieceTokenizer(SHIPPED[name] / 'spiece.model')
  hub = parse(name)
  if path.suffix == '.model' or not hub:
    raise WeightsError(
      'There is no such tokenizer.',
      where=name,
      expected='a spiece.model, a folder with one, or a name on the Hugging Face Hub',
    )
  model = _downloaded(hub)
  return SentencePieceTokenizer(model) if model else HuggingFaceTokenizer(*hub)


def _downloaded(name: HubName) -> Path | None:
  """The Hub's `spiece.model` of that name, None if the model has none."""
  from huggingface_hub import hf_hub_download
  from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

  try:
    return Path(hf_hub_download(name.repository, 'spiece.model', revision=name.revision))
  except Exception as error:
    # LocalEntryNotFoundError says "no network", yet is a kind of EntryNotFoundError.
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
      return None
    raise WeightsError(
      'The tokenizer is neither a path here nor to be had from the Hugging Face Hub.',
      where='@'.join(filter(None, name)),
      got=first_line(error),
      fix='check the spelling; without a network, give the path of a spiece.model or its folder',
    ) from error
