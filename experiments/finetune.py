"""One run from settings to results: read, check, train, evaluate, save."""

import dataclasses
import functools
import json
import math
import time
from pathlib import Path
from typing import Any, TextIO, cast

import jax
import numpy as np
from jax.sharding import Mesh

import compacter_jax as cj
from compacter_jax import data, optim, sharding, train
from compacter_jax.data.encoding import Encoded
from compacter_jax.method import Tuned
from compacter_jax.model import Model, abstract
from compacter_jax.placement import Placement
from experiments import schema
from experiments.console import Console
from experiments.evaluation import Evaluation, majority
from experiments.folders import claim, write_json
from experiments.inputs import Inputs
from experiments.machine import peak_bytes, versions
from experiments.messages import announce, told
from experiments.schema import Job

SAMPLED = 200  # steps whose padding is counted


def run(job: Job, inputs: Inputs, workdir: str | Path, quiet: bool = False) -> dict[str, Any]:
  """Trains, evaluates and saves; what results.json holds is returned too.

  Raises ConfigError, before anything is written, where the mesh does not divide what it must.
  """
  mesh = sharding.make_mesh(**dataclasses.asdict(job.mesh))
  train.check_batch(job.batch_size, job.accumulate, sharding.ways_of(mesh))
  placement = Placement(mesh, inputs.model, inputs.frozen)
  with jax.set_mesh(mesh):
    return Finetuning(job, inputs, placement, Path(workdir), quiet).results()


class Finetuning:
  """One run on a mesh, which is set while it lasts."""

  def __init__(self, job: Job, inputs: Inputs, placement: Placement, out: Path, quiet: bool):
    self._job, self._inputs, self._placement, self._out = job, inputs, placement, claim(out)
    write_json(out / 'config.json', schema.as_config(job))
    split = inputs.splits['train']
    self._total, self._every = lengths(job, len(split))
    self._console = Console(self._total, quiet)
    self._batches = training(job, split, inputs.model.cfg.d_model, placement.ways)
    self._frozen = placement.weights(inputs.model.trim(inputs.frozen))
    self._evaluation = Evaluation(job, inputs, placement, self._frozen)

  def results(self) -> dict[str, Any]:
    """Trains, evaluates and saves."""
    job, inputs, out = self._job, self._inputs, self._out
    batches, total = self._batches, self._total
    padding = {'useful_ids': batches.useful(min(total, SAMPLED)), 'lines': batches.height}
    self._console.say(announce(job, inputs, total, padding['useful_ids']))
    begin = time.perf_counter()
    with (out / 'metrics.jsonl').open('w') as log:
      best, history = self._train(log)
    trained = time.perf_counter()
    self._console.close()
    scores, intervals = {}, {}
    for part in 'validation', 'test':
      scores[part], intervals[part] = self._evaluation.report(best, part)
    notes = {'data': dataclasses.asdict(job.data), 'validation': scores['validation']}
    cj.save(
      out / 'adapter',
      inputs.model,
      best,
      inputs.base,
      inputs.tokenizer.fingerprint,
      job.seed,
      notes,
    )
    results = {
      'task': inputs.task.name,
      **scores,
      'intervals': intervals,
      'majority': majority(inputs)['average'],
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

  def _train(self, log: TextIO) -> tuple[Tuned, list[train.Progress]]:
    """The best arrays by the average on validation rows, and what was reported on the way."""
    job, model, history = self._job, self._inputs.model, []
    unit = dataclasses.replace(job.optim, rate=1.0)
    step = _program(model, unit, self._total, job.accumulate, self._placement.mesh)
    tuned = model.init(jax.random.key(job.seed), self._inputs.frozen)
    optimizer = optim.build(job.optim, self._total)
    state = self._placement.state(tuned, optimizer, job.seed)
    batches = self._batches.stream(0, jax.process_index(), jax.process_count())
    best, best_score = None, -math.inf

    def note(**fields):
      log.write(json.dumps(fields) + '\n')
      log.flush()

    def report(progress):
      history.append(progress)
      note(**dataclasses.asdict(progress))
      self._console.show(progress)

    loop = functools.partial(
      train.fit, step, report=report, every=job.log_every, place=self._placement.batch
    )
    for start in range(0, self._total, self._every):
      until = min(start + self._every, self._total)
      state = loop(state, self._frozen, batches, until, start=start)
      scores = self._evaluation.score(state.tuned, 'validation')
      note(step=until, validation=scores)
      self._console.say(f'step {until}: validation {told(scores)}')
      # The first evaluation counts even if it is the worst possible.
      if best is None or scores['average'] > best_score:
        best, best_score = sharding.fetch(state.tuned), scores['average']
    return jax.tree.map(jax.numpy.asarray, best), history


def lengths(job: Job, rows: int) -> tuple[int, int]:
  """Steps of the whole run, and between evaluations."""
  epoch = max(math.ceil(rows / job.batch_size), 1)
  total = job.steps or max(round(job.epochs * rows / job.batch_size), 1)
  return total, min(job.eval_every or epoch, total)


@functools.lru_cache(maxsize=1)
def _program(
  model: Model, settings: optim.Optim, total: int, accumulate: int, mesh: Mesh
) -> train.Step:
  """The step, kept for a next run that differs in seed and rate alone."""
  optimizer = optim.build(settings, total)
  lies = Placement(mesh, model, cast(Any, abstract(model.cfg))).lies(optimizer)
  return train.make_step(model, optimizer, accumulate, lies=lies)


def training(job: Job, split: Encoded, d_model: int, ways: int = 1) -> data.Batches:
  """The batches of a run on that split, for a T5 of that width.

  ways: among how many devices rows are split.
  """
  how = job.data.batching, job.accumulate * ways, d_model
  return data.Batches(split, job.batch_size, job.seed, *how)
