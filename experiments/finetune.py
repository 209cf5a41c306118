"""One run from settings to results: read, check, train, evaluate, save."""

import dataclasses
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh

import compacter_jax as cj
from compacter_jax import nonfinite, optim, sharding, train
from compacter_jax.adapter_file import ARRAYS, DESCRIPTION
from compacter_jax.checkpoints import Checkpoints, manifest, processes
from compacter_jax.data.pipeline import Batch
from compacter_jax.method import Tuned
from compacter_jax.model import Model, abstract
from compacter_jax.placement import Placement
from experiments import agreement, folders, leftovers, schema
from experiments.batches import lengths, training
from experiments.console import Console
from experiments.evaluation import Evaluation, constant, majority
from experiments.folders import ADAPTER, CHECKPOINTS
from experiments.inputs import Inputs
from experiments.machine import peak_bytes, versions
from experiments.messages import announce, told
from experiments.notes import LINES, Notes
from experiments.preemption import Preemption
from experiments.schema import Job
from experiments.training import Guards, Spans, Training, copied, guarded

# What a run leaves beside its results.
FILES = folders.CONFIG, LINES, f'{ADAPTER}/{DESCRIPTION}', f'{ADAPTER}/{ARRAYS}'
SAMPLED = 200  # steps whose padding is counted


def run(
  job: Job,
  inputs: Inputs,
  workdir: str | Path,
  quiet: bool = False,
  preemption: Preemption | None = None,
  force: bool = False,
) -> dict[str, Any]:
  """Trains, evaluates and saves, or goes on where an earlier start of the same run was left.

  Of several processes the first one writes and speaks; all of them see the folder.
  preemption: that listens already. force: see `Checkpoints.claim`.

  Returns what results.json holds; for a run that has ended that is all that is done.

  Raises:
    ConfigError: before anything is written, where the mesh does not divide what it must, or the
      folder holds another run, or one on other weights or rows.
    PeerError: before anything is written, where processes are about to do different things.
    StorageError: the folder cannot be written.
    PreemptedError: the process was asked to end, and all that was reached is saved.
  """
  out, plain = Path(workdir), schema.as_config(job)
  mesh = sharding.make_mesh(**dataclasses.asdict(job.mesh))
  train.check_batch(job.batch_size, job.accumulate, sharding.ways_of(mesh))
  placement = Placement(mesh, inputs.model, inputs.frozen)
  identity = agreement.identity(job, inputs)
  agreement.check(plain, schema.LOCAL, identity)
  if results := processes.first_says(lambda: folders.ended(out, plain, schema.FREE)):
    agreement.check_ended(out, results, identity)
    leftovers.clear_after_death(out / CHECKPOINTS)
    return results
  # Scores have no step of their own: the best arrays are in each.
  checkpoints = Checkpoints(out / CHECKPOINTS, identity, keep_best=0)
  total, _ = lengths(job, len(inputs.splits['train']))
  console = Console(total, quiet or not processes.is_first())
  claimed = out, checkpoints, mesh, lambda: _begin_folder(out, plain), console, job.watchdog
  with guarded(*claimed, preemption, force) as guards:
    running = Finetuning(job, inputs, placement, guards)
    del inputs  # with T5's own copy of what is trained, unless the caller keeps it
    results = running.results()
  leftovers.clear(out / CHECKPOINTS)
  return results


def about(job: Job, inputs: Inputs) -> dict[str, Any]:
  """What results.json tells of a run, whatever it reaches."""
  return {
    'majority': majority(inputs)['average'],
    'constant': {part: constant(inputs, part) for part in ('validation', 'test')},
    'rows': {part: len(split) for part, split in inputs.splits.items()},
    'steps': lengths(job, len(inputs.splits['train']))[0],
  }


def _begin_folder(out: Path, plain: dict[str, Any]) -> None:
  folders.clear_drafts(out, out / ADAPTER)
  if not folders.begun(out, plain, schema.FREE):
    folders.write_json(out / folders.CONFIG, plain)


class Finetuning:
  """One run on a mesh, which is set while it lasts."""

  def __init__(self, job: Job, inputs: Inputs, placement: Placement, guards: Guards):
    whole = placement.weights(inputs.frozen)  # where they lie already, unless read for another mesh
    self._inputs = inputs = dataclasses.replace(inputs, frozen=whole)
    self._job, self._placement = job, placement
    self._identity = agreement.identity(job, inputs)
    self._out, self._console = guards.folder, guards.console
    split = inputs.splits['train']
    self._total, every = lengths(job, len(split))
    self._batches = training(job, split, inputs.model.cfg.d_model, placement.ways)
    self._frozen = inputs.model.trim(whole)
    policy, spans = nonfinite.Policy(job.skips, self._examples), (every, job.save_every)
    own = job.batch_size, policy, job.leap, self._examples
    self._training = Training(guards, Spans(self._total, *spans, job.log_every), *own)
    kept = dataclasses.replace(inputs, frozen=self._frozen, start=None)
    watched = self._training.between, guards.watchdog.rest
    self._evaluation = Evaluation(job, kept, placement, self._frozen, *watched)

  def results(self) -> dict[str, Any]:
    """Trains, evaluates and saves."""
    job, batches, total = self._job, self._batches, self._total
    useful = batches.useful(min(total, SAMPLED))
    self._console.say(announce(job, self._inputs, total, useful))
    begin, (state, first) = time.perf_counter(), self._begin()
    padding = {'useful_ids': useful, 'lines': batches.height}
    inputs = self._inputs
    unit = dataclasses.replace(job.optim, rate=1.0)
    step = _program(inputs.model, unit, job.accumulate, self._placement.mesh)
    self._training.run(self, step, state, self._frozen, self._placement, first)
    best, trained = sharding.fetch(self._best), time.perf_counter()
    self._console.close()
    scores, intervals, answers = {}, {}, {}
    for part in 'validation', 'test':
      with self._training.until_asked(total):
        scores[part], intervals[part], answers[part] = self._evaluation.report(best, part)
    seconds = {'train': trained - begin, 'evaluate': time.perf_counter() - trained}
    speeds = [each.examples_per_second for each in self._training.history]
    waited = [each.waited for each in self._training.history]
    told = {
      'task': inputs.task.name,
      'identity': self._identity,
      **scores,
      'intervals': intervals,
      'answers': answers,  # hashes of all texts, by which runs that went alike are told
      **about(job, inputs),
      'splits': inputs.drawn,
      'bad_rows': inputs.bad_rows,
      'truncated': {part: split.truncated for part, split in inputs.splits.items()},
      'truncated_targets': {p: split.truncated_targets for p, split in inputs.splits.items()},
      'unknown': {
        part: {k: len(v) for k, v in inputs.unknown(part).items()} for part in inputs.splits
      },
      'parameters': inputs.parameters(),
      'skipped_steps': self._training.policy.skipped,  # that were not finite
      'since_step': first,  # what follows is of the last start of the run, from that step
      'seconds': seconds,
      'examples_per_second': float(np.median(speeds)) if speeds else None,
      'batching': padding | {'waited': float(np.mean(waited)) if waited else None},
      'position': batches.position(total),
      'peak_bytes': peak_bytes(),
      'versions': versions(),
      'code': agreement.code(),
      'device': jax.devices()[0].device_kind,
    }
    return processes.first_says(lambda: self._written(best, told))

  def _written(self, best: Tuned, told: dict[str, Any]) -> dict[str, Any]:
    """The adapter and the results in the folder."""
    job, inputs, folder = self._job, self._inputs, self._out / ADAPTER
    notes = {'data': dataclasses.asdict(job.data), 'validation': told['validation']}
    base, tokenizer = inputs.base, inputs.tokenizer.fingerprint
    cj.save(folder, inputs.model, best, base, tokenizer, job.seed, notes)
    told |= {'adapter_bytes': (folder / ARRAYS).stat().st_size}
    return folders.write_results(self._out, told, FILES)

  def _begin(self) -> tuple[train.State, int]:
    """Where the run stands, and behind how many steps: at its newest checkpoint, or at none."""
    placement, optimizer = self._placement, optim.build(self._job.optim, self._total)
    self._best_score: float | None = None  # before the first look that gave a number
    self._best: Tuned
    # Nothing is made to read into: where all weights train, a run would never need more.
    like = placement.like(optimizer)
    if found := self._training.restore({'state': like, 'best': like.tuned}):
      self._forget()
      self._best, self._best_score = found.state['best'], found.about['best_score']
      return found.state['state'], self._resumed(found.about['position'])
    if start := self._inputs.start:
      tuned = start.tuned
    else:
      tuned = self._inputs.model.init(jax.random.key(self._job.seed), self._inputs.frozen)
    del start
    self._forget()
    state = placement.state(tuned, optimizer, self._job.seed)
    del tuned
    self._best = copied(state.tuned)
    return state, 0

  def _forget(self) -> None:
    """Lets go of T5's own copy of what is trained, and of what it was started from."""
    self._inputs = dataclasses.replace(self._inputs, frozen=self._frozen, start=None)

  def _resumed(self, position: dict[str, Any]) -> int:
    """The step of a position; says where as many lines to a table are not had on these devices."""
    step, lines = self._batches.resumed(position), self._batches.height
    if lines != position['height']:
      told = f'{self._placement.ways} devices share {lines} lines, not {position["height"]}'
      self._console.say(f'note: the same rows are packed in another way: {told}')
    return step

  def batches(self, step: int) -> Iterator[Batch]:
    """See `training.Own`."""
    return self._batches.stream(step, *self._placement.share)

  def evaluate(self, state: train.State, step: int, notes: Notes) -> None:
    """See `training.Own`: the best arrays are those of the best average on validation rows."""
    scores = self._evaluation.score(state.tuned, 'validation')
    notes.add(step=step, validation=scores)
    self._console.say(f'step {step}: validation {told(scores)}')
    score, best = manifest.comparable(scores['average']), self._best_score
    # The first one counts even if it is the worst possible; where none is a number, the last.
    if best is None or (score is not None and score > best):
      self._best, self._best_score = copied(state.tuned), score

  def kept(self, state: train.State, step: int) -> tuple[Any, dict[str, Any]]:
    """See `training.Own`."""
    about = {'position': self._batches.position(step), 'best_score': self._best_score}
    return {'state': state, 'best': self._best}, about

  def _examples(self, step: int) -> dict[str, Any]:
    """Which rows the batch of a step, counted from 1, is of."""
    source, numbers = self._inputs.origins
    return {'source': source, 'rows': [numbers[i] for i in self._batches.rows(step - 1)]}


@functools.lru_cache(maxsize=1)
def _program(model: Model, settings: optim.Optim, accumulate: int, mesh: Mesh) -> train.Step:
  """The step, kept for a next run that differs in seed, rate and steps alone."""
  optimizer = optim.build(settings, 1)
  lies = Placement(mesh, model, cast(Any, abstract(model.cfg))).lies(optimizer)
  return train.make_step(model, optimizer, accumulate, lies=lies)
