"""One pretraining run: text to chunks, the trainer of fine-tuning with every weight unfrozen."""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import compacter_jax as cj
from compacter_jax import methods, optim, settings, train
from compacter_jax.data.corpus import chunks_of, corpus_files, token_stream
from compacter_jax.data.denoising import Denoising
from compacter_jax.data.order import train_rows
from compacter_jax.data.pipeline import Batch
from compacter_jax.data.sentencepiece_tokenizer import SentencePieceTokenizer
from compacter_jax.data.vocabulary import train_vocabulary
from compacter_jax.errors import ConfigError, StorageError
from compacter_jax.model import Model
from compacter_jax.optim import Optim
from compacter_jax.settings import within
from compacter_jax.state_file import load_state, save_state
from compacter_jax.t5.config import Config
from compacter_jax.weights import Flat
from experiments.console import Console
from experiments.finetune import peak_bytes, versions, write_json
from experiments.pretraining_log import Log, plot_loss

ROWS = 128  # rows of an embedding are a multiple of it, as T5's are


@dataclasses.dataclass(frozen=True)
class Text:
  """Where the text is; the meaning of each field stands in `configs/pretrain_nano.py`."""

  dir: str
  train: str
  dev: str
  dev_chunks: int


@dataclasses.dataclass(frozen=True)
class PretrainJob:
  """One run; the meaning of each field stands in `configs/pretrain_nano.py`."""

  model: str
  shape: Config
  tokenizer: str
  pieces: int
  text: Text
  task: Denoising
  dtype: str
  remat: str
  dropout: bool
  seed: int
  steps: int
  batch_size: int
  accumulate: int
  eval_every: int
  save_every: int
  log_every: int
  optim: Optim

  def __post_init__(self):
    for field in 'steps', 'batch_size', 'accumulate', 'eval_every', 'save_every', 'log_every':
      within(field, getattr(self, field), 1)
    for field, value in (('seed', self.seed), ('text.dev_chunks', self.text.dev_chunks)):
      within(field, value, 0)
    if not self.text.dir:
      raise ConfigError('There is no text.', where='text.dir', fix='--config.text.dir=DIR')
    train.check_batch(self.batch_size, self.accumulate)


def job(values: Mapping[str, Any]) -> PretrainJob:
  """A job from plain settings.  Raises ConfigError for any name, type or value that cannot be."""
  parts = {'shape': Config, 'text': Text, 'task': Denoising, 'optim': Optim}
  built = {
    name: settings.build(parts[name], value, f'config.{name}') if name in parts else value
    for name, value in values.items()
  }
  return settings.build(PretrainJob, built, 'config')


def run(job: PretrainJob, workdir: str | Path) -> dict[str, Any]:
  """Pretrains, or goes on where an earlier run of the same job stopped; what results.json holds."""
  out = _opened(job, Path(workdir))
  files = {part: corpus_files(job.text.dir, getattr(job.text, part)) for part in ('train', 'dev')}
  tokenizer = _tokenizer(job, files['train'], out)
  cfg, start = _start(job, tokenizer)
  chunks = {p: chunks_of(token_stream(f, tokenizer), job.task.chunk) for p, f in files.items()}
  model = Model(cfg, methods.load('unfreeze'), job.dtype, job.remat)
  draw = Draw(job, tokenizer)
  optimizer = optim.build(job.optim, job.steps)
  state = train.start(model.init(jax.random.key(job.seed), start), optimizer)
  about, saved = _digest(dataclasses.asdict(job)), out / 'state.safetensors'
  if saved.exists():
    state = load_state(saved, state, about)
  first = int(state.step)
  console = Console(job.steps)
  console.say(
    f'{cj.t5.count(cfg):,} parameters, {chunks["train"].size:,} ids to train on and '
    f'{chunks["dev"].size:,} of dev; from step {first} to {job.steps}'
  )
  step = train.make_step(model, optimizer, job.seed, job.accumulate, job.dropout)
  loss = jax.jit(model.loss_sum)
  begin, batches = time.perf_counter(), draw.train(chunks['train'], first)
  with Log(out, first) as log:

    def report(progress):
      log.note(**dataclasses.asdict(progress))
      console.show(progress)

    for now, until, due in stops(job, first):
      state = train.fit(step, state, {}, batches, until, report, job.log_every, now)
      save_state(saved, state, about)
      if due and until < job.steps:
        some = chunks['dev'][: job.text.dev_chunks]
        dev = dev_loss(loss, state.tuned, draw.dev(some))
        log.note(until, dev_loss=dev)
        console.say(f'step {until}: dev loss {dev:.4f} per target id')
    dev = dev_loss(loss, state.tuned, draw.dev(chunks['dev']))
    log.note(job.steps, dev_loss=dev)
  console.close()
  weights = {path: jnp.asarray(w, jnp.bfloat16) for path, w in state.tuned.weights.items()}
  cj.t5.save(out / 'model', cfg, weights)
  _copy_tokenizer(job, out)
  plot_loss(out)
  results = {
    'dev_loss': dev,
    'parameters': cj.t5.count(cfg),
    'steps': job.steps,
    'ids': {part: int(c.size) for part, c in chunks.items()},
    'ids_seen': job.steps * job.batch_size * job.task.chunk,
    'seconds': time.perf_counter() - begin,
    'peak_bytes': peak_bytes(),
    'versions': versions(),
  }
  write_json(out / 'results.json', results)
  return results


def stops(job: PretrainJob, first: int) -> Iterator[tuple[int, int, bool]]:
  """(from, to, whether the dev loss is due) of each stretch between two checkpoints."""
  while first < job.steps:
    nexts = ((first // every + 1) * every for every in (job.save_every, job.eval_every))
    until = min(job.steps, *nexts)
    yield first, until, until % job.eval_every == 0
    first = until


@dataclasses.dataclass(frozen=True)
class Draw:
  """Batches of a run, a pure function of the seed and the step."""

  job: PretrainJob
  tokenizer: SentencePieceTokenizer

  def train(self, chunks: np.ndarray, step: int) -> Iterator[Batch]:
    """Endless batches from that step on; every chunk once an epoch."""
    size, seed = self.job.batch_size, self.job.seed
    while True:
      yield self._batch(chunks[train_rows(len(chunks), size, seed, step)], seed, step)
      step += 1

  def dev(self, chunks: np.ndarray) -> Iterator[Batch]:
    """All chunks once, corrupted alike in every run; a last batch that is not full is left out."""
    size = min(self.job.batch_size, len(chunks))
    for at in range(len(chunks) // size):
      yield self._batch(chunks[at * size : (at + 1) * size], 0, at)

  def _batch(self, chunks: np.ndarray, seed: int, step: int) -> Batch:
    random = np.random.Generator(np.random.Philox(key=np.array([seed, step], np.uint64)))
    top = self.tokenizer.vocab_size - 1
    return self.job.task.batch(chunks, random, self.tokenizer.eos_id, top)


def dev_loss(loss: Any, tuned: Any, batches: Iterator[Batch]) -> float:
  """The mean cross entropy per target id, in nats."""
  sums = [loss(tuned, {}, batch) for batch in batches]
  total, count = (math.fsum(float(s[i]) for s in sums) for i in range(2))
  return total / count


def _opened(job: PretrainJob, out: Path) -> Path:
  """The folder of this job, new or of an earlier run of it."""
  plain, path = json.loads(json.dumps(dataclasses.asdict(job))), out / 'config.json'
  if path.exists() and json.loads(path.read_bytes()) != plain:
    raise StorageError(
      'This folder holds a run with other settings.',
      where=str(path),
      fix='take another --workdir, or the settings of that run to go on with it',
    )
  try:
    out.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise StorageError('There can be no such folder.', where=str(out), got=str(error)) from error
  write_json(path, plain)
  return out


def _tokenizer(job: PretrainJob, files: list[Path], out: Path) -> SentencePieceTokenizer:
  model = _spiece(job, out)
  if not model.exists() and not (job.tokenizer or job.model):
    model.parent.mkdir(parents=True, exist_ok=True)
    train_vocabulary(files, job.pieces, model)
  return SentencePieceTokenizer(model)


def _spiece(job: PretrainJob, out: Path) -> Path:
  """The file of the vocabulary: a given one, or the one that this run trains."""
  if given := job.tokenizer or job.model:
    path = cj.t5.resolve(given)
    return path / 'spiece.model' if path.is_dir() else path
  return out / 'model' / 'spiece.model'


def _copy_tokenizer(job: PretrainJob, out: Path) -> None:
  source, target = _spiece(job, out), out / 'model' / 'spiece.model'
  if source != target:
    target.write_bytes(source.read_bytes())


def _start(job: PretrainJob, tokenizer: SentencePieceTokenizer) -> tuple[Config, Flat]:
  """T5 before the first step: an earlier one, or a fresh one with rows for the vocabulary."""
  if job.model:
    cfg, weights = cj.t5.load(job.model, 'float32')
    if tokenizer.vocab_size > cfg.vocab:
      raise ConfigError(
        'The tokenizer does not fit the model.',
        expected=f'at most {cfg.vocab} ids, the rows of the embedding',
        got=f'{tokenizer.vocab_size}',
      )
    return cfg, weights
  rows = -(-tokenizer.vocab_size // ROWS) * ROWS
  cfg = dataclasses.replace(job.shape, vocab=rows)
  return cfg, cj.t5.random_weights(cfg, jax.random.key(job.seed))


def _digest(values: Mapping[str, Any]) -> str:
  return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
