"""All that a pretraining run reads, checked before anything is written or compiled."""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

import compacter_jax as cj
from compacter_jax.data.corpus import chunks_of, corpus_files, token_stream
from compacter_jax.data.encoding import PAD
from compacter_jax.data.sentencepiece_tokenizer import SENTINELS, SentencePieceTokenizer
from compacter_jax.data.vocabulary import train_vocabulary
from compacter_jax.errors import ConfigError
from compacter_jax.t5.config import Config
from compacter_jax.weights import Flat
from experiments import folders
from experiments.pretraining_folder import VOCABULARY, begun
from experiments.pretraining_job import FREE, PretrainJob, plain

ROWS = 128  # rows of an embedding are a multiple of it, as T5's are


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What a run starts from.

  Attributes:
    chunks: ids [chunks, C] by 'train' and 'dev'.
    weights: reads or draws T5 as it is before the first step, in float32.
  """

  cfg: Config
  tokenizer: SentencePieceTokenizer
  chunks: dict[str, np.ndarray]
  weights: Callable[[], Flat]

  def identity(self, job: PretrainJob) -> dict[str, str | int]:
    """What a checkpoint must be of to be gone on with, hashed by parts."""
    digest = lambda content: hashlib.sha256(content).hexdigest()[:16]
    shape = json.dumps(dataclasses.asdict(self.cfg), sort_keys=True)
    return {
      'settings': folders.settings_hash(plain(job), FREE),
      'T5': digest(shape.encode()),
      'base': cj.fingerprint(self.weights()) if job.model else '',  # drawn from the seed
      'tokenizer': self.tokenizer.fingerprint,
      **{f'{name} text': digest(chunks.tobytes()) for name, chunks in self.chunks.items()},
    }


def read(job: PretrainJob, folder: Path) -> Inputs:
  """Reads everything, cheapest first; a vocabulary is trained unless `folder` has it already.

  Raises a CompacterError for whatever is lacking, damaged, or does not fit the rest.
  """
  files = {part: corpus_files(job.text.dir, getattr(job.text, part)) for part in ('train', 'dev')}
  if both := set(files['train']) & set(files['dev']):
    raise ConfigError(
      'A text cannot be trained on and measure the loss.',
      where='text.train, text.dev',
      got=', '.join(sorted(path.name for path in both)),
    )
  cfg = cj.t5.read_config(job.model) if job.model else job.shape
  tokenizer = _tokenizer(job, files['train'], folder)
  if not job.model:
    cfg = dataclasses.replace(cfg, vocab=-(-tokenizer.vocab_size // ROWS) * ROWS)
  _check_fit(cfg, tokenizer)
  chunks = {
    part: chunks_of(token_stream(found, tokenizer), job.task.chunk, f'text.{part}')
    for part, found in files.items()
  }

  def weights() -> Flat:
    if job.model:
      return cj.t5.load(job.model, 'float32')[1]
    return cj.t5.random_weights(cfg, jax.random.key(job.seed))

  return Inputs(cfg, tokenizer, chunks, weights)


def _tokenizer(job: PretrainJob, files: list[Path], folder: Path) -> SentencePieceTokenizer:
  """The given one, that of the given model, or a new one, which an earlier start may have left."""
  if given := job.tokenizer or (job.model and cj.t5.resolve(job.model)):
    return _given(Path(given))
  if begun(job, folder) and (folder / VOCABULARY).exists():
    return SentencePieceTokenizer(folder / VOCABULARY)
  with tempfile.TemporaryDirectory() as drafts:
    return SentencePieceTokenizer(train_vocabulary(files, job.pieces, Path(drafts, 'spiece.model')))


def _given(path: Path) -> SentencePieceTokenizer:
  """The tokenizer of a file, a folder or a name.  Raises ConfigError where it is none of T5's."""
  lacking = path.expanduser().is_dir() and not (path.expanduser() / 'spiece.model').exists()
  # Before anything is guessed from other files.
  tokenizer = None if lacking else cj.data.load_tokenizer(path)
  if not isinstance(tokenizer, SentencePieceTokenizer):
    raise ConfigError(
      'Pretraining cannot tell which ids are sentinels.',
      where=str(path),
      expected=f'a spiece.model, above whose pieces T5 has {SENTINELS} sentinels',
      got='no spiece.model' if lacking else 'another kind of tokenizer',
      fix='name one in config.tokenizer; models without, such as ByT5, cannot be pretrained here',
    )
  return tokenizer


def _check_fit(cfg: Config, tokenizer: SentencePieceTokenizer) -> None:
  """Raises ConfigError where T5 has no rows for the sentinels, or another padding or end."""
  if tokenizer.vocab_size > cfg.vocab:
    raise ConfigError(
      'This T5 has no room for the sentinels.',
      expected=f'at most {cfg.vocab - SENTINELS} pieces: {cfg.vocab} rows less {SENTINELS}',
      got=f'{tokenizer.vocab_size - SENTINELS} pieces',
      fix='use the tokenizer that the model was trained with, if that has its sentinels there',
    )
  ids, wanted = (tokenizer.pad_id, tokenizer.eos_id), (PAD, cfg.eos_id)
  if ids != wanted or cfg.pad_id != PAD:
    raise ConfigError(
      'The tokenizer does not fit the model.',
      expected=f'padding {PAD} and end of sequence {cfg.eos_id}',
      got=f'{ids[0]} and {ids[1]}; padding of the model {cfg.pad_id}',
    )
