"""The settings of a pretraining run as frozen dataclasses; `configs/pretrain_nano.py` has all."""

import dataclasses
import json
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
from experiments import schema
from experiments.schema import Mesh


@dataclasses.dataclass(frozen=True)
class Text:
  """Where the text is; the meaning of each field stands in `configs/pretrain_nano.py`."""

  dir: str
  train: str
  dev: str
  dev_chunks: int

  def __post_init__(self):
    if not self.dir:
      raise ConfigError('There is no text.', where='dir', fix='--config.text.dir=DIR')
    within('dev_chunks', self.dev_chunks, 1)


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
  watchdog: float
  nonfinite: int | str
  leap: float
  mesh: Mesh
  optim: Optim

  def __post_init__(self):
    counts = 'steps', 'batch_size', 'accumulate', 'eval_every', 'save_every', 'log_every', 'pieces'
    for field in counts:
      within(field, getattr(self, field), 1)
    within('seed', self.seed, 0, SEEDS - 1)
    for field in 'watchdog', 'leap':
      within(field, getattr(self, field), 0)
    schema.skips(self.nonfinite)  # raises for what cannot be
    choose('saved_dtype', self.saved_dtype, ('float32', 'bfloat16'))
    Mode(self.dtype, self.remat, self.unroll)  # raises a ConfigError at once
    train.check_batch(self.batch_size, self.accumulate)


def job(values: Mapping[str, Any]) -> PretrainJob:
  """A job from plain settings.  Raises ConfigError for any name, type or value that cannot be."""
  parts = {'shape': Config, 'text': Text, 'task': Denoising, 'mesh': Mesh, 'optim': Optim}
  built = {
    name: settings.build(parts[name], value, f'config.{name}')
    if name in parts and isinstance(value, Mapping)
    else value
    for name, value in schema.numbered(values).items()
  }
  return settings.build(PretrainJob, built, 'config')


def plain(job: PretrainJob) -> dict[str, Any]:
  """The settings of a job, as JSON has them."""
  return json.loads(json.dumps(dataclasses.asdict(job)))


# Settings that may even differ between the hosts of a run.
LOCAL = 'model', 'tokenizer', 'text.dir'

# Settings that a run may be gone on with other values of; see `schema.FREE`.
FREE = (
  *LOCAL,
  *('remat', 'unroll', 'save_every', 'watchdog', 'nonfinite', 'leap'),
  *('mesh.data', 'mesh.fsdp', 'mesh.tensor', 'mesh.devices'),
)
