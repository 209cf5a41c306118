"""One run from settings to results: read, check, train, evaluate, save."""

import dataclasses
import functools
import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

import compacter_jax as cj
from compacter_jax import data, evaluate, methods, optim, tensor_file, train
from compacter_jax.data.encoding import Encoded
from compacter_jax.errors import StorageError
from compacter_jax.model import Model
from compacter_jax.t5.config import Config
from compacter_jax.weights import Flat
from experiments import rows
from experiments.console import Console
from experiments.machine import peak_bytes, versions
from experiments.schema import Job

SAMPLED = 200  # steps whose padding is counted


@dataclasses.dataclass(frozen=True)
class Inputs:
  """All that a run reads, checked against each other.

  Attributes:
    model: T5 with the method grafted on.
    frozen: all of T5's weights by path. base: their fingerprint.
    splits: the rows as ids, by 'train', 'validation' and 'test'. drawn: which rows they are.
    bad_rows: how many unusable rows were left out, by the file's path.
    cache_notes: why ids that were kept could not be used, or new ones not kept.
  """

  task: data.Task
  tokenizer: data.Tokenizer
  model: Model
  frozen: Flat
  base: str
  splits: dict[str, Encoded]
  drawn: dict[str, Any]
  bad_rows: dict[str, int]
  cache_notes: list[str]


def read(job: Job) -> Inputs:
  """Reads and checks everything, cheapest first; nothing is compiled, only the cache written."""
  train.check_batch(job.batch_size, job.accumulate)
  task, splits, bad_rows = rows.read(job.data)
  folder = cj.t5.resolve(job.model)
  tokenizer = data.load_tokenizer(job.tokenizer or folder)
  data.check_answers(task, tokenizer)
  cfg, frozen = weights(job, folder)
  method = job.method.prepare(lambda text: tokenizer.encode(text)[:-1], task.labels or ())
  model = Model(cfg, method, job.dtype, job.remat, job.unroll)
  model.specs()  # raises at once where the method does not fit this T5
  if job.data.batching == 'packed':
    model.check_packing()
  limits = job.data.max_source, job.data.max_target, cfg.vocab, job.data.allow_target_truncation
  cache, encoded = data.TokenCache(job.data.cache), {}
  for name, part in splits.parts().items():
    encoded[name] = cache.encode(rows.texts(job.data, part), tokenizer, *limits)
  base, drawn = cj.fingerprint(frozen), rows.told(splits)
  return Inputs(task, tokenizer, model, frozen, base, encoded, drawn, bad_rows, cache.notes)


def weights(job: Job, folder: str | Path) -> tuple[Config, Flat]:
  """T5's config and weights, read or drawn."""
  dtype = None if job.weights_dtype == 'file' else job.weights_dtype
  cfg, frozen = cj.t5.load(folder, dtype)
  if not job.random_base:
    return cfg, frozen
  drawn = cj.t5.random_weights(cfg, jax.random.key(job.seed))
  return cfg, {path: weight.astype(frozen[path].dtype) for path, weight in drawn.items()}


def claim(workdir: str | Path) -> Path:
  """Makes the folder of a run.  Raises StorageError if it holds a run already."""
  path = Path(workdir)
  if (path / 'config.json').exists():
    raise StorageError(
      'This folder holds another run.',
      where=str(path),
      expected='an empty or a new folder',
      got='a config.json',
      fix='take another --workdir, or remove that run yourself',
    )
  return make_folder(path)


def make_folder(path: Path) -> Path:
  """Makes a folder where there is none.  Raises StorageError if there can be none."""
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise StorageError('There can be no such folder.', where=str(path), got=str(error)) from error
  return path


def run(job: Job, inputs: Inputs, workdir: str | Path, quiet: bool = False) -> dict[str, Any]:
  """Trains, evaluates and saves; what results.json holds is returned too."""
  out = claim(workdir)
  write_json(out / 'config.json', as_config(job))
  total, every = lengths(job, len(inputs.splits['train']))
  console = Console(total, quiet)
  batches = training(job, inputs.splits['train'], inputs.model.cfg.d_model)
  padding = {'useful_ids': batches.useful(min(total, SAMPLED)), 'lines': batches.height}
  console.say(announce(job, inputs, total, padding['useful_ids']))
  begin = time.perf_counter()
  with (out / 'metrics.jsonl').open('w') as log:
    best, history = _train(job, inputs, batches, total, every, (console, log))
  trained = time.perf_counter()
  console.close()
  scores, intervals = {}, {}
  for part in 'validation', 'test':
    scores[part], intervals[part] = _report(job, inputs, best, part)
  notes = {'data': dataclasses.asdict(job.data), 'validation': scores['validation']}
  cj.save(
    out / 'adapter', inputs.model, best, inputs.base, inputs.tokenizer.fingerprint, job.seed, notes
  )
  results = {
    'task': inputs.task.name,
    **scores,
    'intervals': intervals,
    'majority': _majority(inputs)['average'],
    'rows': {part: len(split) for part, split in inputs.splits.items()},
    'splits': inputs.drawn,
    'bad_rows': inputs.bad_rows,
    'truncated': {part: split.truncated for part, split in inputs.splits.items()},
    'truncated_targets': {p: split.truncated_targets for p, split in inputs.splits.items()},
    'parameters': parameters(inputs.model),
    'adapter_bytes': (out / 'adapter' / 'adapter.safetensors').stat().st_size,
    'steps': total,
    'seconds': {'train': trained - begin, 'evaluate': time.perf_counter() - trained},
    'examples_per_second': float(np.median([each.examples_per_second for each in history])),
    'batching': padding | {'waited': float(np.mean([each.waited for each in history]))},
    'position': batches.position(total),
    'peak_bytes': peak_bytes(),
    'versions': versions(),
    'device': jax.devices()[0].device_kind,
  }
  write_json(out / 'results.json', results)
  return results


def lengths(job: Job, rows: int) -> tuple[int, int]:
  """Steps of the whole run, and between evaluations."""
  epoch = max(math.ceil(rows / job.batch_size), 1)
  total = job.steps or max(round(job.epochs * rows / job.batch_size), 1)
  return total, min(job.eval_every or epoch, total)


def _train(job: Job, inputs: Inputs, made: data.Batches, total: int, every: int, tell):
  """The best arrays by the average on validation rows, and what was reported on the way."""
  model, history, (console, log) = inputs.model, [], tell
  tuned = model.init(jax.random.key(job.seed), inputs.frozen)
  frozen = model.trim(inputs.frozen)
  step = _program(model, dataclasses.replace(job.optim, rate=1.0), total, job.accumulate)
  state = train.start(tuned, optim.build(job.optim, total), job.seed)
  batches = made.stream()
  best, best_score = None, -math.inf

  def note(**fields):
    log.write(json.dumps(fields) + '\n')
    log.flush()

  def report(progress):
    history.append(progress)
    note(**dataclasses.asdict(progress))
    console.show(progress)

  for start in range(0, total, every):
    until = min(start + every, total)
    state = train.fit(step, state, frozen, batches, until, report, job.log_every, start)
    scores = _evaluate(job, inputs, state.tuned, 'validation')
    note(step=until, validation=scores)
    console.say(f'step {until}: validation {told(scores)}')
    # The first evaluation counts even if it is the worst possible.
    if best is None or scores['average'] > best_score:
      best, best_score = jax.device_get(state.tuned), scores['average']
  return jax.tree.map(jax.numpy.asarray, best), history


@functools.lru_cache(maxsize=1)
def _program(model: Model, settings: optim.Optim, total: int, accumulate: int) -> train.Step:
  """The step, kept for a next run that differs in seed and rate alone."""
  return train.make_step(model, optim.build(settings, total), accumulate)


def training(job: Job, split: Encoded, d_model: int) -> data.Batches:
  """The batches of a run on that split, for a T5 of that width."""
  how = job.data.batching, job.accumulate, d_model
  return data.Batches(split, job.batch_size, job.seed, *how)


def _evaluate(job: Job, inputs: Inputs, tuned, part: str) -> dict[str, float]:
  task, predictions = _predict(job, inputs, tuned, part)
  return evaluate.score(task, predictions, inputs.splits[part])


def _report(job: Job, inputs: Inputs, tuned, part: str):
  """The scores and their intervals, of the same outputs."""
  task, predictions = _predict(job, inputs, tuned, part)
  args = task, predictions, inputs.splits[part]
  return evaluate.score(*args), evaluate.interval(*args)


def _majority(inputs: Inputs) -> dict[str, float]:
  """What the most frequent answer of the test rows scores there, given to all of them."""
  split = inputs.splits['test']
  (answer, _), *_ = Counter(split.references).most_common(1)
  return evaluate.score(inputs.task, [answer] * len(split), split)


def _predict(job: Job, inputs: Inputs, tuned, part: str) -> tuple[data.Task, list[str]]:
  split, frozen = inputs.splits[part], inputs.model.trim(inputs.frozen)
  task = inputs.task if part == 'test' else data.trained_on(inputs.task)
  most = job.data.max_target if job.data.allow_target_truncation else None
  steps = evaluate.limit(task, split, inputs.tokenizer, most)
  size = min(job.eval_batch_size, len(split))
  args = inputs.model, tuned, frozen, split, inputs.tokenizer, size, steps
  return task, evaluate.predict(*args)


def announce(job: Job, inputs: Inputs, total: int, useful: float) -> str:
  """What is about to be trained, and what a user may not expect of it."""
  counts = parameters(inputs.model)
  sizes = ', '.join(f'{len(split):,} {part}' for part, split in inputs.splits.items())
  lines = [
    f'{inputs.task.name}: {sizes} rows; {total} steps of {job.batch_size}, '
    f'{job.data.batching}: {useful:.0%} of the ids are no padding',
    f'{counts["trained"]:,} of {counts["base"]:,} parameters are trained '
    f'({counts["percent"]:.3f} %), {job.optim.optimizer} at {job.optim.rate:g}',
  ]
  if job.optim.warmup >= total:
    lines.append(
      f'note: a warmup of {job.optim.warmup} steps is no shorter than the run ({total}): '
      f'the rate never reaches {job.optim.rate:g}'
    )
  if job.batch_size > (few := len(inputs.splits['train'])):
    lines.append(
      f'note: a batch of {job.batch_size} is more than the {few} training rows: it repeats some'
    )
  for path, count in inputs.bad_rows.items():
    lines.append(f'note: {count} unusable rows of {path} are left out')
  twice = inputs.drawn['duplicates']['train, test']
  if twice['same'] + twice['other']:
    told = f'{twice["same"]} test rows are training rows too'
    lines.append(f'note: {told}, {twice["other"]} with another answer')
  for part, split in inputs.splits.items():
    if split.truncated:
      lines.append(f'note: {split.truncated} {part} sources are cut to {job.data.max_source} ids')
    if cut := split.truncated_targets:
      lines.append(f'note: {cut} {part} targets are cut to {job.data.max_target} ids')
  lines += [f'note: {note}' for note in inputs.cache_notes]
  return '\n'.join(lines)


def told(
  scores: dict[str, float], intervals: Mapping[str, Sequence[float]] = MappingProxyType({})
) -> str:
  """Scores in one line, each with its interval where there is one: accuracy 71.2 [66.8, 75.5]."""

  def one(name: str, score: float) -> str:
    if name in intervals:
      low, high = intervals[name]
      return f'{name} {score:.1f} [{low:.1f}, {high:.1f}]'
    return f'{name} {score:.0f}' if name == 'invalid' else f'{name} {score:.2f}'

  return ', '.join(one(name, score) for name, score in scores.items())


def parameters(model: Model) -> dict[str, float]:
  """How much is trained: 'trained', 'base' and 'percent'."""
  trained, base = model.count(), cj.t5.count(model.cfg)
  return {'trained': trained, 'base': base, 'percent': 100 * trained / base}


def as_config(job: Job) -> dict[str, Any]:
  """The settings of a job, as JSON and as a config file hold them."""
  plain = {f.name: getattr(job, f.name) for f in dataclasses.fields(job)}
  inner = {'data': dataclasses.asdict(job.data), 'optim': dataclasses.asdict(job.optim)}
  return plain | inner | {'method': methods.to_config(job.method)}


def write_json(path: Path, content: Any) -> None:
  """Writes a JSON file, all of it or nothing."""
  with tensor_file.atomic(path) as file:
    file.write((json.dumps(content, indent=1) + '\n').encode())
