"""What `experiments.compare` measures of a config, piece by piece."""

import argparse
import dataclasses
import functools
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from compacter_jax import data, methods, t5
from compacter_jax.chaining import chain
from compacter_jax.data.own_task import OwnTask
from compacter_jax.errors import ConfigError, NumericsError, StorageError
from compacter_jax.method import Method
from compacter_jax.model import Model
from compacter_jax.optim import Optim
from compacter_jax.t5.config import Config
from experiments import finetune, folders, schema
from experiments.benchmarks.step import Step, alternate
from experiments.configs import read_config
from experiments.console import duration
from experiments.inputs import Inputs, read_inputs

PUBLISHED_DEPTH = 12  # layers of the T5-base that configs with layers are written for
# The most that suits a T5 as narrow as the shipped one: the paper's reduction would leave 8 of its
# 256 units, 12 divides none of its widths, and published widths are of models three times as wide.
NARROW = {'reduction': 8, 'n': 4, 'width': 32, 'bottleneck': 128}


@dataclasses.dataclass(frozen=True)
class Piece:
  """Something to measure once.

  Attributes:
    kind, config: what is measured, of which config.
    settings: all that the result depends on.
    work: measures it.
    guess: seconds that it may take.
  """

  kind: str
  config: str
  settings: dict[str, Any]
  work: Callable[[], dict[str, Any]]
  guess: float

  def path(self, workdir: Path) -> Path:
    """Its file; other settings have another name, so that nothing is mixed or overwritten."""
    told = json.dumps(self.settings, sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    return workdir / f'{self.kind}-{self.config}-{digest}.json'


def fitted(method: Mapping[str, Any], depth: int, narrow: bool) -> dict[str, Any]:
  """The settings of a method for a T5 of `depth` layers; those of a chain part by part."""
  if 'name' not in method:
    return {name: fitted(part, depth, narrow) for name, part in method.items()}
  out = dict(method)
  for field in 'encoder_layers', 'decoder_layers':
    if out.get(field) is not None:
      out[field] = tuple(i for i in range(depth) if i * PUBLISHED_DEPTH // depth in out[field])
  if narrow:
    out |= {k: min(out[k], v) for k, v in NARROW.items() if out.get(k) is not None}
  return out


def pieces(path: Path, flags: argparse.Namespace) -> list[Piece]:
  """All that is to be measured of a config."""
  name, settings = path.stem, read_config(path).to_dict()
  small = fitted(settings['method'], _base(flags.model)[0].encoder_layers, narrow=True)
  out = []
  own = [float(f'{times * settings["optim"]["rate"]:.3g}') for times in flags.grid]
  for rate in flags.rates or own:
    job = _job(settings | {'method': small}, rate, flags)
    told = schema.as_config(job)
    del told['nonfinite'], told['leap']  # change nothing that is measured
    told['data'] = {k: v for k, v in told['data'].items() if k not in ('dir', 'cache')}
    told['data']['task'] = _task(flags.task)
    guess = 30 + flags.steps * flags.batch / 80
    out.append(Piece('accuracy', name, told, functools.partial(accuracy, job), guess))
  t5.size_named(flags.size)  # raises if there is none
  shape = {'size': flags.size, 'layers': flags.layers, 'vocab': flags.vocab}
  cut = fitted(settings['method'], flags.layers, narrow=False)
  told = {**shape, 'rounds': flags.rounds, 'method': cut}
  work = functools.partial(cost, methods.from_config(cut), flags.rounds, **shape)
  out.append(Piece('cost', name, told, work, 15 + flags.layers * flags.rounds))
  work = functools.partial(fold, methods.from_config(small), flags.model)
  out.append(Piece('fold', name, {'model': flags.model, 'method': small}, work, 3))
  return out


def _job(settings: dict[str, Any], rate: float, flags: argparse.Namespace) -> schema.Job:
  data = {'task': flags.task, 'dir': flags.data_dir, 'max_source': 48}
  data |= {'max_train': flags.rows, 'max_validation': 500}
  changes = {'model': flags.model, 'seed': flags.seed, 'batch_size': flags.batch, 'accumulate': 1}
  changes |= {'steps': flags.steps, 'eval_every': max(flags.steps // 6, 1)}
  changes['data'] = settings['data'] | data
  changes['optim'] = settings['optim'] | {'rate': rate, 'warmup': flags.warmup}
  return schema.job(settings | changes)


def _task(name: str) -> str:
  """What the task is, wherever it lies: its name, and of one's own a hash of what it says."""
  task = data.task_named(name)
  if not isinstance(task, OwnTask):
    return task.name
  return f'{task.name} {hashlib.sha256(repr(task.kind).encode()).hexdigest()[:8]}'


def accuracy(job: schema.Job) -> dict[str, Any]:
  """Trains and evaluates once."""
  inputs = _read(dataclasses.replace(job, optim=Optim()))
  with tempfile.TemporaryDirectory() as folder:
    return finetune.run(job, inputs, Path(folder) / 'run', quiet=True)


@functools.lru_cache(maxsize=1)
def _read(job: schema.Job) -> Inputs:
  """Rows and T5, which the rates of one config share."""
  return read_inputs(job)


def cost(method: Method, rounds: int, **shape: Any) -> dict[str, Any]:
  """A step beside one of full fine-tuning."""
  cfg, frozen, full = _full(**shape)
  step = Step(Model(cfg, method), frozen)
  alternate([step, full], rounds)
  return {
    'ms': step.ms,
    'full_ms': full.ms,
    'time': step.ratio(full),
    'memory': step.memory,
    'full_memory': full.memory,
    'device': jax.devices()[0].device_kind,
  }


@functools.cache
def _full(size: str, layers: int, vocab: int) -> tuple[Config, dict[str, jax.Array], Step]:
  depths = {'encoder_layers': layers, 'decoder_layers': layers}
  cfg = dataclasses.replace(t5.size_named(size), vocab=vocab, **depths)
  frozen = t5.random_weights(cfg, jax.random.key(0))
  return cfg, frozen, Step(Model(cfg, methods.load('unfreeze')), frozen)


def fold(method: Method, base: str) -> dict[str, Any]:
  """Whether the plain T5 computes the same with other weights, tried on those of a small one."""
  cfg, frozen = _base(base)
  model = Model(cfg, method)
  try:
    model.fold(frozen, model.init(jax.random.key(0), frozen))
  except TypeError as error:
    why = str(error)
    for part in dict(method.parts).values() if isinstance(method, chain) else [method]:
      why = why.replace(str(part), 'it')
    return {'folds': 'no', 'why': why}
  return {'folds': 'yes'}


@functools.cache
def _base(model: str) -> tuple[Config, dict[str, jax.Array]]:
  return t5.load(model, 'float32')


def measure(pieces: list[Piece], workdir: Path) -> None:
  """Measures those that are not there, telling what is left."""
  todo = [piece for piece in pieces if not piece.path(workdir).exists()]
  print(f'{len(pieces) - len(todo)} of {len(pieces)} pieces are there', flush=True)
  pace: dict[str, list[float]] = {}  # seconds for each guessed one
  for i, piece in enumerate(todo):
    left = sum(p.guess * statistics.median(pace.get(p.kind, [1.0])) for p in todo[i:])
    print(f'{i + 1}/{len(todo)} {piece.kind} of {piece.config}, {duration(left)} left', flush=True)
    begin = time.perf_counter()
    try:
      result = piece.work()
    except (ConfigError, NumericsError) as error:  # the others may do well
      result = {'why': f'{error.what} {error.got}'.strip()}
    seconds = time.perf_counter() - begin
    pace.setdefault(piece.kind, []).append(seconds / piece.guess)
    content = {'config': piece.config, 'settings': piece.settings, 'seconds': seconds} | result
    folders.write_json(piece.path(workdir), content)
    if i + 1 < len(todo) and (piece.kind, piece.config) != (todo[i + 1].kind, todo[i + 1].config):
      jax.clear_caches()  # rates of a config share programs, and no others do


def done(pieces: list[Piece], workdir: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
  """The results that are there, by kind and config."""
  out: dict[tuple[str, str], list[dict[str, Any]]] = {}
  for piece in pieces:
    path = piece.path(workdir)
    if path.exists():
      try:
        out.setdefault((piece.kind, piece.config), []).append(json.loads(path.read_text()))
      except ValueError as error:
        raise StorageError(
          'This piece is damaged.', where=str(path), got=str(error), fix='remove it'
        ) from error
  return out
