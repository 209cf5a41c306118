"""One pretraining run: text to chunks, the trainer of fine-tuning with every weight unfrozen."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import jax

import compacter_jax as cj
from compacter_jax import methods, nonfinite, optim, sharding, train
from compacter_jax.checkpoints import Checkpoints, processes
from compacter_jax.data.denoised import Denoised, cut, part
from compacter_jax.data.order import train_rows
from compacter_jax.data.pipeline import Batch
from compacter_jax.errors import NumericsError
from compacter_jax.method import Tuned
from compacter_jax.model import Model, abstract
from compacter_jax.placement import Placement
from experiments import agreement, folders, leftovers, schema
from experiments.console import Console
from experiments.folders import CHECKPOINTS
from experiments.machine import peak_bytes, versions
from experiments.notes import LINES, Notes
from experiments.preemption import Preemption
from experiments.pretraining_folder import begin, results
from experiments.pretraining_inputs import Inputs, read
from experiments.pretraining_job import LOCAL, PretrainJob, plain
from experiments.pretraining_log import Log, plot_loss
from experiments.training import Guards, Spans, Training, guarded

MODEL, PICTURE = 'model', 'loss.png'


def run(
  job: PretrainJob,
  workdir: str | Path,
  quiet: bool = False,
  preemption: Preemption | None = None,
  force: bool = False,
) -> dict[str, Any]:
  """Pretrains, or goes on where an earlier start of the same run stopped.

  Of several processes the first one writes and speaks; all of them see the folder.
  preemption: that listens already. force: see `Checkpoints.claim`.

  Returns what results.json holds; a run that has ended does no more than that. Raises as
  `finetune.run` does.
  """
  out, console = Path(workdir), Console(job.steps, quiet or not processes.is_first())
  mesh = sharding.make_mesh(**dataclasses.asdict(job.mesh))
  train.check_batch(job.batch_size, job.accumulate, sharding.ways_of(mesh))
  if ended := processes.first_says(lambda: results(job, out)):
    leftovers.clear_after_death(out / CHECKPOINTS)
    console.say(f'{out}: this run has ended')
    return ended
  inputs = read(job, out)
  model = Model(inputs.cfg, methods.load('unfreeze'), job.dtype, job.remat, job.unroll)
  placement = Placement(mesh, model, cast(Any, abstract(inputs.cfg)))
  identity = inputs.identity(job)
  agreement.check(plain(job), LOCAL, identity)
  checkpoints = Checkpoints(out / CHECKPOINTS, identity, keep_best=0)
  start = lambda: begin(job, out, inputs.tokenizer.content)
  claimed = out, checkpoints, mesh, start, console, job.watchdog
  with guarded(*claimed, preemption, force) as guards:
    found = Pretraining(job, inputs, model, placement, guards).results()
  leftovers.clear(out / CHECKPOINTS)
  return found


class Pretraining:
  """One run on a mesh, which is set while it lasts."""

  def __init__(
    self, job: PretrainJob, inputs: Inputs, model: Model, placement: Placement, guards: Guards
  ):
    self._job, self._inputs, self._model, self._placement = job, inputs, model, placement
    self._out, self._console = guards.folder, guards.console
    policy = nonfinite.Policy(schema.skips(job.nonfinite), self._examples)
    spans = Spans(job.steps, job.eval_every, job.save_every, job.log_every)
    own = job.batch_size, policy, job.leap, self._examples
    self._training = Training(guards, spans, *own)
    tokenizer = inputs.tokenizer
    self._draw = Denoised(job.task, tokenizer.eos_id, tokenizer.vocab_size - 1)
    self._dev = self._draw.dev(inputs.chunks['dev'])
    self._loss = jax.jit(model.loss_sum)
    self._dev_loss: float | None = None  # the last one

  def results(self) -> dict[str, Any]:
    """Pretrains, and writes the T5."""
    job, inputs = self._job, self._inputs
    start = time.perf_counter()
    optimizer = optim.build(job.optim, job.steps)
    state, first = self._begin(optimizer)
    sizes = ', '.join(f'{chunks.size:,} {part}' for part, chunks in inputs.chunks.items())
    told = f'{cj.t5.count(inputs.cfg):,} parameters; {sizes} ids'
    self._console.say(f'{told}; from step {first} to {job.steps}')
    step = train.make_step(
      self._model, optimizer, job.accumulate, job.dropout, self._placement.lies(optimizer)
    )
    opened = functools.partial(Log, step=first)
    state = self._training.run(self, step, state, {}, self._placement, first, opened)
    self._console.close()
    weights = sharding.fetch(state.tuned.weights)
    told = {
      'dev_loss': self._dev_loss,
      'parameters': cj.t5.count(inputs.cfg),
      'steps': job.steps,
      'skipped_steps': self._training.policy.skipped,
      'ids': {part: int(chunks.size) for part, chunks in inputs.chunks.items()},
      'ids_seen': job.steps * job.batch_size * job.task.chunk,
      'since_last_start': {'step': first, 'seconds': time.perf_counter() - start},
      'peak_bytes': peak_bytes(),
      'versions': versions(),
      'device': jax.devices()[0].device_kind,
    }
    return processes.first_says(lambda: self._written(weights, told))

  def _written(self, weights: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """The T5, the picture and the results in the folder."""
    saved = {path: weight.astype(self._job.saved_dtype) for path, weight in weights.items()}
    cj.t5.save(self._out / MODEL, self._inputs.cfg, saved)
    plot_loss(self._out)
    model = [f'{MODEL}/{path.name}' for path in sorted((self._out / MODEL).iterdir())]
    return folders.write_results(self._out, told, [folders.CONFIG, LINES, PICTURE, *model])

  def _begin(self, optimizer: Any) -> tuple[train.State, int]:
    """Where the run stands, and behind how many steps: at its newest checkpoint, or at none."""
    # All weights train: a second state to read into would double the memory of a start.
    if found := self._training.restore(self._placement.like(optimizer)):
      self._dev_loss = found.about['dev_loss']
      return found.state, found.step
    tuned = self._model.init(jax.random.key(self._job.seed), self._inputs.weights())
    return self._placement.state(tuned, optimizer, self._job.seed), 0

  def batches(self, step: int) -> Iterator[Batch]:
    """See `training.Own`."""
    job, share = self._job, self._placement.share
    return self._draw.train(self._inputs.chunks['train'], job.batch_size, job.seed, step, *share)

  def evaluate(self, state: train.State, step: int, notes: Notes) -> None:
    """See `training.Own`: the loss on the first dev chunks, and in the end on all of them."""
    whole = len(self._dev['source'])
    chunks = whole if step == self._job.steps else self._job.text.dev_chunks
    tables = cut(self._dev, self._job.batch_size, chunks, self._placement.ways)
    mine = (part(table, *self._placement.share) for table in tables)
    between, place = self._training.between, self._placement.batch
    loss = dev_loss(self._loss, state.tuned, mine, between, place)
    notes.add(step=step, dev_loss=loss)
    self._dev_loss = loss
    self._console.say(f'step {step}: dev loss {loss:.4f} per target id')

  def kept(self, state: train.State, step: int) -> tuple[Any, dict[str, Any]]:
    """See `training.Own`."""
    return state, {'dev_loss': self._dev_loss}

  def _examples(self, step: int) -> dict[str, Any]:
    """Which chunks the batch of a step, counted from 1, is of."""
    count = len(self._inputs.chunks['train'])
    rows = train_rows(count, self._job.batch_size, self._job.seed, step - 1)
    return {'source': 'the chunks to train on', 'rows': rows.tolist()}


def dev_loss(
  loss: Any,
  tuned: Tuned,
  batches: Iterable[Batch],
  between: Callable[[tuple[int, ...]], None] = lambda shape: None,
  place: Callable[[Batch], Any] = lambda batch: batch,
) -> float:
  """The mean cross entropy per target id, in nats.

  between: is called before each batch with its shape. place: lays it out on devices.

  Raises NumericsError if it is not finite.
  """
  sums = []
  for batch in batches:
    between(batch['source'].shape)
    total, count = loss(tuned, {}, place(batch))
    sums.append((float(total), float(count)))
  total, count = (math.fsum(each[i] for each in sums) for i in range(2))
  if not math.isfinite(total):
    raise NumericsError('The dev loss is not finite.', got=f'{total}', fix='lower optim.rate')
  return total / count
