"""A vocabulary of one's own, trained from text."""

import io
from collections.abc import Sequence
from pathlib import Path

from compacter_jax import tensor_file
from compacter_jax.data.corpus import paragraphs
from compacter_jax.errors import ConfigError


def train_vocabulary(files: Sequence[Path], size: int, out: Path) -> Path:
  """Trains a SentencePiece vocabulary as T5's is (unigram, <pad> 0, </s> 1, <unk> 2).

  size: pieces, the 100 sentinels come on top. Writes `out`, a spiece.model, and returns it. Raises
  ConfigError where the texts do not hold that many pieces.
  """
  import sentencepiece

  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.Train(
      sentence_iterator=(text for file in files for text in paragraphs(file)),
      model_writer=model,
      model_type='unigram',
      vocab_size=size,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      input_sentence_size=1_000_000,
      shuffle_input_sentence=True,
      max_sentence_length=1 << 16,
      minloglevel=2,
    )
  except RuntimeError as error:
    raise ConfigError(
      'The vocabulary cannot be trained.', where=f'{size} pieces', got=str(error)
    ) from error
  with tensor_file.atomic(out) as file:
    file.write(model.getvalue())
  return out
