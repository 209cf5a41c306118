"""A vocabulary of one's own, trained from text."""

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from compacter_jax import tensor_file
from compacter_jax.data.corpus import paragraphs
from compacter_jax.errors import CompacterError, ConfigError

LONGEST = 10_000  # characters of a sentence to train on
SENTENCES = 1_000_000  # that are drawn from longer texts


def train_vocabulary(files: Sequence[Path], size: int, out: Path) -> Path:
  """Trains a SentencePiece vocabulary as T5's is (unigram, <pad> 0, </s> 1, <unk> 2).

  size: pieces, the 100 sentinels come on top. Equal files give equal bytes. Writes `out`, a
  spiece.model, and returns it. Raises ConfigError where the texts do not have that many pieces or
  more characters, DataError where they cannot be read.
  """
  import sentencepiece

  model, failed = io.BytesIO(), []
  try:
    sentencepiece.SentencePieceTrainer.Train(
      sentence_iterator=_sentences(files, failed),
      model_writer=model,
      model_type='unigram',
      vocab_size=size,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      input_sentence_size=SENTENCES,
      shuffle_input_sentence=True,
      max_sentence_length=4 * LONGEST,  # in bytes; longer ones would be left out unasked
      minloglevel=2,
    )
  except RuntimeError as error:
    raise failed[0] if failed else _refused(size, str(error)) from error
  with tensor_file.atomic(out) as file:
    file.write(model.getvalue())
  return out


def _sentences(files: Sequence[Path], failed: list[CompacterError]) -> Iterator[str]:
  """All paragraphs, the longest cut; `failed` keeps what the library makes another error of."""
  try:
    for file in files:
      for text in paragraphs(file):
        for start in range(0, len(text), LONGEST):
          yield text[start : start + LONGEST]
  except CompacterError as error:
    failed.append(error)
    raise


def _refused(size: int, told: str) -> ConfigError:
  most = re.search(r'too high .*<= (\d+)', told)
  least = re.search(r'required_chars\. \d+ vs (\d+)', told)
  expected = f'at most {most[1]}' if most else f'at least {least[1]}' if least else ''
  return ConfigError(
    'The vocabulary cannot be trained from these texts.',
    where='pieces',
    expected=expected,
    got=f'{size}' if expected else f'{size}: {told}',
    fix='take more text, or as many pieces as it has' if most else '',
  )
