"""The settings of a pretraining run as frozen dataclasses; `configs/pretrain_nano.py` has all."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from compacter_jax import settings, train
from compacter_jax.data.denoising import Denoising
from compacter_jax.data.permutation import SEEDS
from compacter_jax.errors import ConfigError
from compacter_jax.optim import Optim
from compacter_jax.settings import choose, within
from compacter_jax.t5.config import Config
from compacter_jax.t5.mode import Mode


@dataclasses.dataclass(frozen=True)
class Text:
  """Where the text is; the meaning of each field stands in `configs/pretrain_nano.py`."""

  dir: str
  train: str
  dev: str
  dev_chunks: int

  def __post_init__(self):
    if not self.dir:
      raise ConfigError('There is no text.', where='text.dir', fix='--config.text.dir=DIR')
    within('text.dev_chunks', self.dev_chunks, 1)


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
  unroll: int
  saved_dtype: str
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
    counts = 'steps', 'batch_size', 'accumulate', 'eval_every', 'save_every', 'log_every', 'pieces'
    for field in counts:
      within(field, getattr(self, field), 1)
    within('seed', self.seed, 0, SEEDS - 1)
    choose('saved_dtype', self.saved_dtype, ('float32', 'bfloat16'))
    Mode(self.dtype, self.remat, self.unroll)  # raises a ConfigError at once
    train.check_batch(self.batch_size, self.accumulate)


def job(values: Mapping[str, Any]) -> PretrainJob:
  """A job from plain settings.  Raises ConfigError for any name, type or value that cannot be."""
  parts = {'shape': Config, 'text': Text, 'task': Denoising, 'optim': Optim}
  built = {
    name: settings.build(parts[name], value, f'config.{name}')
    if name in parts and isinstance(value, Mapping)
    else value
    for name, value in values.items()
  }
  return settings.build(PretrainJob, built, 'config')
