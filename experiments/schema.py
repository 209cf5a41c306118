"""The settings of a run as frozen dataclasses; `configs/base.py` is their editable form."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from compacter_jax import methods, settings
from compacter_jax.data.permutation import SEEDS
from compacter_jax.data.protocols import PROTOCOLS
from compacter_jax.data.sampling import Sample
from compacter_jax.data.sources import KINDS
from compacter_jax.errors import ConfigError
from compacter_jax.method import Method
from compacter_jax.optim import Optim
from compacter_jax.settings import choose, within

STOP = 'stop'  # of `nonfinite`


@dataclasses.dataclass(frozen=True)
class Data:
  """What is learned from.

  Attributes:
    task: name of the task, e.g. 'sst2', or the path of a task.json.
    style: of the texts: 'compacter', 't5' or 'corrected'.
    source: of the rows: 'files', 'tfds', or 'auto' for files where there is a `dir`, else tfds.
    dir: folder with the task's files, or with what tensorflow-datasets prepared; '' its default.
    prefix: whether the task's name leads each source; the paper does so unless adapters train.
    batching: 'padded', 'bucketed' or 'packed'.
    max_source, max_target: longest texts in ids, the end token counted.
    allow_target_truncation: whether longer targets are cut, and counted, instead of an error.
    splits: how parts are carved out of the official splits: one of `protocols.PROTOCOLS`.
    seed: of the splits; 42 are the paper's.
    sample_seed, max_train, max_validation, max_test, balanced, shots: as `Sample` has them.
    max_bad_rows: how many unusable rows of a file are left out, and counted, before it is an error.
    cache: folder where ids are kept; 'auto' is the user's own, '' keeps nothing.
  """

  task: str
  style: str
  source: str
  dir: str
  prefix: bool
  batching: str
  max_source: int
  max_target: int
  allow_target_truncation: bool
  splits: str
  seed: int
  sample_seed: int
  max_train: int
  max_validation: int
  max_test: int
  balanced: bool
  shots: int
  max_bad_rows: int
  cache: str

  def __post_init__(self):
    choose('style', self.style, ('compacter', 't5', 'corrected'))
    choose('batching', self.batching, ('padded', 'bucketed', 'packed'))
    choose('source', self.source, KINDS)
    for field in 'max_source', 'max_target':
      within(field, getattr(self, field), 2)
    choose('splits', self.splits, PROTOCOLS)
    within('seed', self.seed, 0, SEEDS - 1)
    within('max_bad_rows', self.max_bad_rows, 0)
    self.sample()  # raises for what cannot be

  def sample(self) -> Sample:
    """How many rows are taken of each part."""
    most = self.max_train, self.max_validation, self.max_test
    return Sample(*most, self.sample_seed, self.balanced, self.shots)


@dataclasses.dataclass(frozen=True)
class Mesh:
  """How devices are arranged; see `sharding.make_mesh`.

  Attributes:
    data, fsdp, tensor: sizes of the axes; one may be -1.
    devices: how many are used; 0 is all.
  """

  data: int
  fsdp: int
  tensor: int
  devices: int


@dataclasses.dataclass(frozen=True)
class Job:
  """One run; the meaning of each field stands in `configs/base.py`."""

  model: str
  tokenizer: str
  random_base: bool
  weights_dtype: str
  dtype: str
  remat: str
  unroll: int
  seed: int
  steps: int
  epochs: float
  batch_size: int
  accumulate: int
  eval_batch_size: int
  eval_every: int
  save_every: int
  log_every: int
  watchdog: float
  mesh: Mesh
  data: Data
  optim: Optim
  method: Method
  nonfinite: int | str = STOP
  leap: float = 0.0
  start_from: str = ''

  def __post_init__(self):
    choose('weights_dtype', self.weights_dtype, ('file', 'float32', 'bfloat16'))
    for field in 'batch_size', 'accumulate', 'eval_batch_size', 'log_every':
      within(field, getattr(self, field), 1)
    within('seed', self.seed, 0, SEEDS - 1)
    skips(self.nonfinite)  # raises for what cannot be
    for field in 'steps', 'epochs', 'eval_every', 'save_every', 'watchdog', 'leap':
      within(field, getattr(self, field), 0)
    if not self.steps and not self.epochs:
      raise ConfigError(
        'There is nothing to train.', where='config', expected='steps or epochs', got='0 of both'
      )

  @property
  def skips(self) -> int:
    """How many steps that are not finite are left out."""
    return skips(self.nonfinite)


def skips(value: int | str) -> int:
  """How many steps that are not finite a setting `nonfinite` leaves out.

  Raises ConfigError for what is neither 'stop' nor a number.
  """
  if value == STOP:
    return 0
  if isinstance(value, str) or value < 0:
    raise ConfigError(
      f'nonfinite cannot be {value!r}.', expected=f'{STOP!r} or a number of steps', got=repr(value)
    )
  return value


def numbered(config: Mapping[str, Any]) -> dict[str, Any]:
  """Settings whose `nonfinite` is a number if it can be one, as it is text on the command line."""
  values = dict(config)
  if isinstance(steps := values.get('nonfinite'), str) and steps.isdecimal():
    values['nonfinite'] = int(steps)
  return values


def job(config: Mapping[str, Any]) -> Job:
  """A Job from plain settings.  Raises ConfigError for any name, type or value that cannot be."""
  values = numbered(config)
  parts = {
    'mesh': lambda v: settings.build(Mesh, v, 'config.mesh'),
    'data': lambda v: settings.build(Data, v, 'config.data'),
    'optim': lambda v: settings.build(Optim, v, 'config.optim'),
    'method': lambda v: methods.from_config(v, 'config.method'),
  }
  for name, build in parts.items():
    if isinstance(values.get(name), Mapping):
      values[name] = build(values[name])
  return settings.build(Job, values, 'config')


# Settings that may even differ between the hosts of a run.
LOCAL = 'model', 'tokenizer', 'start_from', 'data.dir', 'data.source', 'data.cache'

# Settings that a run may be gone on with other values of: they change no result but by rounding,
# or what they change is checked by a hash. `nonfinite` and `leap` change whether a run goes on and
# what is noted, and not what a step does. Of all others the run must have the same.
FREE = (
  *LOCAL,
  *('remat', 'unroll', 'eval_batch_size', 'save_every', 'watchdog', 'nonfinite', 'leap'),
  *('mesh.data', 'mesh.fsdp', 'mesh.tensor', 'mesh.devices'),
)


def as_config(job: Job) -> dict[str, Any]:
  """The settings of a job, as JSON and as a config file hold them."""
  plain = {f.name: getattr(job, f.name) for f in dataclasses.fields(job)}
  inner = {name: dataclasses.asdict(getattr(job, name)) for name in ('mesh', 'data', 'optim')}
  return plain | inner | {'method': methods.to_config(job.method)}
