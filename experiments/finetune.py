"""One run from settings to results: read, check, train, evaluate, save."""

import dataclasses
import functools
import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np

import compacter_jax as cj
from compacter_jax import data, evaluate, optim, train
from compacter_jax.data.encoding import Encoded
from compacter_jax.model import Model
from experiments import schema
from experiments.console import Console
from experiments.folders import claim, write_json
from experiments.inputs import Inputs
from experiments.machine import peak_bytes, versions
from experiments.messages import announce, told
from experiments.schema import Job

SAMPLED = 200  # steps whose padding is counted


def run(job: Job, inputs: Inputs, workdir: str | Path, quiet: bool = False) -> dict[str, Any]:
  """Trains, evaluates and saves; what results.json holds is returned too."""
  out = claim(workdir)
  write_json(out / 'config.json', schema.as_config(job))
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
    'parameters': inputs.parameters(),
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
