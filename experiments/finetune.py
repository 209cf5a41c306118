"""One run from settings to results: read, check, train, evaluate, save."""

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh

import compacter_jax as cj
from compacter_jax import leaps, nonfinite, optim, sharding, train
from compacter_jax.adapter_file import ARRAYS, DESCRIPTION
from compacter_jax.checkpoints import Checkpoints, files, processes
from compacter_jax.errors import PreemptedError
from compacter_jax.method import Tuned
from compacter_jax.model import Model, abstract
from compacter_jax.placement import Placement
from experiments import agreement, folders, leftovers, schema
from experiments.batches import lengths, training
from experiments.console import Console
from experiments.evaluation import Evaluation, majority
from experiments.inputs import Inputs
from experiments.machine import peak_bytes, versions
from experiments.messages import announce, told
from experiments.notes import LINES, Notes
from experiments.preemption import Asked, Preemption
from experiments.reached import Reached, copied
from experiments.schema import Job
from experiments.stragglers import Stragglers
from experiments.telling import Telling
from experiments.watchdog import Watchdog

CHECKPOINTS, ADAPTER = 'checkpoints', 'adapter'
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
    ConfigError: before anything is written, where the mesh does not divide what it must.
    PeerError: before anything is written, where processes are about to do different things.
    StorageError: the folder holds another run.
    PreemptedError: the process was asked to end, and all that was reached is saved.
  """
  out, plain = Path(workdir), schema.as_config(job)
  mesh = sharding.make_mesh(**dataclasses.asdict(job.mesh))
  train.check_batch(job.batch_size, job.accumulate, sharding.ways_of(mesh))
  placement = Placement(mesh, inputs.model, inputs.frozen)
  agreement.check(job, inputs)
  if results := processes.first_says(lambda: folders.ended(out, plain, schema.FREE)):
    leftovers.clear_after_death(out / CHECKPOINTS)
    return results
  checkpoints = Checkpoints(out / CHECKPOINTS, agreement.identity(job, inputs))
  with contextlib.ExitStack() as stack:
    stack.enter_context(checkpoints.claim(force))
    stack.enter_context(jax.set_mesh(mesh))
    preemption = preemption or stack.enter_context(Preemption().listening())
    processes.first_says(lambda: _begin_folder(out, plain))
    agreement.check_folder(out / folders.CONFIG)
    watchdog = stack.enter_context(Watchdog(job.watchdog).watching())
    asked = preemption, watchdog
    finetuning = Finetuning(job, inputs, placement, checkpoints, *asked, out, quiet)
    results = finetuning.results()
  leftovers.clear(out / CHECKPOINTS)
  return results


def _begin_folder(out: Path, plain: dict[str, Any]) -> None:
  if not folders.begun(out, plain, schema.FREE):
    folders.write_json(out / folders.CONFIG, plain)


class Finetuning:
  """One run on a mesh, which is set while it lasts."""

  def __init__(
    self,
    job: Job,
    inputs: Inputs,
    placement: Placement,
    checkpoints: Checkpoints,
    preemption: Preemption,
    watchdog: Watchdog,
    out: Path,
    quiet: bool,
  ):
    self._job, self._inputs, self._placement, self._out = job, inputs, placement, out
    self._checkpoints, self._preemption, self._watchdog = checkpoints, preemption, watchdog
    split = inputs.splits['train']
    self._total, self._every = lengths(job, len(split))
    self._console = Console(self._total, quiet or not processes.is_first())
    self._batches = training(job, split, inputs.model.cfg.d_model, placement.ways)
    self._frozen = placement.weights(inputs.model.trim(inputs.frozen))
    self._evaluation = Evaluation(job, inputs, placement, self._frozen, self._between)
    self._config = files.checksum(out / folders.CONFIG)['sha256']
    self._history: list[train.Progress] = []
    self._policy = nonfinite.Policy(job.skips, self._examples)
    self._leaps = leaps.Leaps(job.leap)
    self._stragglers = Stragglers()

  def results(self) -> dict[str, Any]:
    """Trains, evaluates and saves."""
    job, inputs = self._job, self._inputs
    batches, total = self._batches, self._total
    padding = {'useful_ids': batches.useful(min(total, SAMPLED)), 'lines': batches.height}
    self._console.say(announce(job, inputs, total, padding['useful_ids']))
    begin, reached = time.perf_counter(), self._begin()
    first = reached.step
    best = self._train(reached)
    trained = time.perf_counter()
    self._console.close()
    scores, intervals = {}, {}
    for part in 'validation', 'test':
      with self._until_asked(total):
        scores[part], intervals[part] = self._evaluation.report(best, part)
    seconds = {'train': trained - begin, 'evaluate': time.perf_counter() - trained}
    speeds = [each.examples_per_second for each in self._history]
    waited = [each.waited for each in self._history]
    told = {
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
      'steps': total,
      'skipped_steps': self._policy.skipped,  # that were not finite
      'since_step': first,  # what follows is of the last start of the run, from that step
      'seconds': seconds,
      'examples_per_second': float(np.median(speeds)) if speeds else None,
      'batching': padding | {'waited': float(np.mean(waited)) if waited else None},
      'position': batches.position(total),
      'peak_bytes': peak_bytes(),
      'versions': versions(),
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

  def _begin(self) -> Reached:
    """Where the run stands: at its newest checkpoint, or before the first step."""
    model, placement = self._inputs.model, self._placement
    tuned = model.init(jax.random.key(self._job.seed), self._inputs.frozen)
    state = placement.state(tuned, optim.build(self._job.optim, self._total), self._job.seed)
    fresh = Reached(0, state, copied(state.tuned), None, [], (0, ''), False)
    saved = {'state': state, 'best': state.tuned}
    found = self._checkpoints.restore(saved)
    self._checkpoints.check_room(saved)
    if found is None:
      return fresh
    for each in found.quarantined:
      self._console.say(f'note: {each}')
    about = found.about
    self._console.say(f'going on from step {found.step}')
    step = self._batches.resumed(about['position'])
    noted = about['notes'], about.get('notes_sha256', '')  # which steps of old do not have
    self._policy.skipped = about.get('skipped', 0)
    self._leaps = leaps.Leaps(self._job.leap, about.get('recent', ()))
    kept = about['best_score'], about['pending'], noted, about.get('due', False)
    return Reached(step, found.state['state'], found.state['best'], *kept)

  def _train(self, reached: Reached) -> Tuned:
    """The best arrays by the average on validation rows."""
    job, total, placement = self._job, self._total, self._placement
    unit = dataclasses.replace(job.optim, rate=1.0)
    step = _program(self._inputs.model, unit, total, job.accumulate, placement.mesh)
    state, best, best_score = reached.state, reached.best, reached.best_score
    spans = total, self._every, job.save_every
    with Notes(self._out, *reached.notes, self._console.say, processes.is_first()) as notes:
      telling = Telling(notes, self._console, self._leaps, job.batch_size, self._examples)
      self._history = telling.history

      def save(at: int, due: bool = False) -> None:
        pending = loop.pending()
        notes.settle()
        about = {'position': self._batches.position(at), 'best_score': best_score, 'due': due}
        about |= {'pending': pending, 'skipped': self._policy.skipped}
        about |= {'recent': self._leaps.recent}
        about |= {'notes': notes.count, 'notes_sha256': notes.sha256, 'config': self._config}
        self._checkpoints.save(at, {'state': state, 'best': best}, about)

      def evaluate(at: int) -> None:
        nonlocal best, best_score
        with self._until_asked(at, lambda: save(at, due=True)):
          scores = self._evaluation.score(state.tuned, 'validation')
        notes.add(step=at, validation=scores)
        self._console.say(f'step {at}: validation {told(scores)}')
        # The first evaluation counts even if it is the worst possible, or no number.
        if best_score is None or scores['average'] > best_score:
          best, best_score = copied(state.tuned), scores['average']

      batches = self._batches.stream(reached.step, *placement.share)
      self._policy.note = telling.skipped
      args = self._watchdog.steps(step), self._frozen, batches, total, telling.report, job.log_every
      heard = self._policy, telling.look, self._stragglers.own
      loop = train.Loop(*args, placement.batch, reached.pending, *heard)
      if reached.due:
        evaluate(reached.step)
      for start, until, due in train.stops(reached.step, *spans):
        self._stragglers.begin(start)
        state, came = loop.run(state, start, until, self._asked_before(start))
        self._watchdog.rest()
        if slow := self._stragglers.found(came):
          self._console.say(f'note: {slow}')
        if came < until:
          save(came)
          self._leave(came)
        if due:
          evaluate(until)
        save(until)
    return sharding.fetch(best)

  def _examples(self, step: int) -> dict[str, Any]:
    """Which rows the batch of a step, counted from 1, is of."""
    source, numbers = self._inputs.origins
    return {'source': source, 'rows': [numbers[i] for i in self._batches.rows(step - 1)]}

  def _asked_before(self, start: int) -> Callable[[], bool]:
    """Whether the run is to end before the next step, step by step."""
    steps = itertools.count(start)
    return lambda: self._preemption(next(steps))

  def _between(self, shape: tuple[int, ...]) -> None:
    """Before each batch of an evaluation.  Raises Asked."""
    self._watchdog.rest()
    if self._preemption(self._at):
      raise Asked
    self._watchdog.begin('batch of an evaluation', shape)

  @contextlib.contextmanager
  def _until_asked(self, step: int, save: Callable[[], None] = lambda: None) -> Iterator[None]:
    """An evaluation behind a step, given up when the run is asked to end; it is made again."""
    self._at = step
    try:
      yield
    except Asked:
      save()
      self._leave(step)
    finally:
      self._watchdog.rest()

  def _leave(self, step: int) -> None:
    self._checkpoints.wait()
    raise PreemptedError(
      'The run was asked to end.',
      where=f'step {step} of {self._total}',
      got='all of it is saved',
      fix='the same command goes on with it',
    )


@functools.lru_cache(maxsize=1)
def _program(
  model: Model, settings: optim.Optim, total: int, accumulate: int, mesh: Mesh
) -> train.Step:
  """The step, kept for a next run that differs in seed and rate alone."""
  optimizer = optim.build(settings, total)
  lies = Placement(mesh, model, cast(Any, abstract(model.cfg))).lies(optimizer)
  return train.make_step(model, optimizer, accumulate, lies=lies)
