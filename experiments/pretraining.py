"""One pretraining run: text to chunks, the trainer of fine-tuning with every weight unfrozen."""

import dataclasses
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

import compacter_jax as cj
from compacter_jax import methods, optim, train
from compacter_jax.data.denoised import Denoised, cut
from compacter_jax.data.pipeline import Batch
from compacter_jax.errors import NumericsError
from compacter_jax.method import Tuned
from compacter_jax.model import Model, abstract
from compacter_jax.state_file import load_state, save_state
from experiments.console import Console
from experiments.folders import write_json
from experiments.machine import peak_bytes, versions
from experiments.pretraining_folder import STATE, claimed, results
from experiments.pretraining_inputs import Inputs, read
from experiments.pretraining_job import PretrainJob
from experiments.pretraining_log import Log, plot_loss


def run(job: PretrainJob, workdir: str | Path, quiet: bool = False) -> dict[str, Any]:
  """Pretrains, or goes on where an earlier start of the same run stopped.

  Returns what results.json holds; a run that has ended does no more than that.
  """
  out, console = Path(workdir), Console(job.steps, quiet)
  if ended := results(job, out):
    console.say(f'{out}: this run has ended')
    return ended
  inputs = read(job, out)
  with claimed(job, out, inputs.tokenizer.content):
    begin, pretraining = time.perf_counter(), Pretraining(job, inputs, out, console)
    first = int(pretraining.state.step)
    dev = pretraining.finish()
    console.close()
    saved = {p: w.astype(job.saved_dtype) for p, w in pretraining.state.tuned.weights.items()}
    cj.t5.save(out / 'model', inputs.cfg, saved)
    plot_loss(out)
    told = {
      'dev_loss': dev,
      'parameters': cj.t5.count(inputs.cfg),
      'steps': job.steps,
      'ids': {part: int(chunks.size) for part, chunks in inputs.chunks.items()},
      'ids_seen': job.steps * job.batch_size * job.task.chunk,
      'since_last_start': {'step': first, 'seconds': time.perf_counter() - begin},
      'peak_bytes': peak_bytes(),
      'versions': versions(),
      'device': jax.devices()[0].device_kind,
    }
    write_json(out / 'results.json', told)
  return told


class Pretraining:
  """A run in its folder, from its last checkpoint if there is one.

  Attributes:
    state: what has been reached.
  """

  def __init__(self, job: PretrainJob, inputs: Inputs, out: Path, console: Console):
    self._job, self._out, self._console = job, out, console
    self._chunks, self._about = inputs.chunks['train'], inputs.about(job)
    model = Model(inputs.cfg, methods.load('unfreeze'), job.dtype, job.remat, job.unroll)
    optimizer = optim.build(job.optim, job.steps)
    key = jax.random.key(job.seed)
    begin = lambda frozen: train.start(model.init(key, frozen), optimizer, job.seed)
    if (out / STATE).exists():
      like = jax.eval_shape(begin, abstract(inputs.cfg))
      self.state = load_state(out / STATE, like, self._about)
    else:
      self.state = begin(inputs.weights())
    tokenizer = inputs.tokenizer
    self._draw = Denoised(job.task, tokenizer.eos_id, tokenizer.vocab_size - 1)
    self._dev = self._draw.dev(inputs.chunks['dev'])
    self._step = train.make_step(model, optimizer, job.accumulate, job.dropout)
    self._loss = jax.jit(model.loss_sum)
    sizes = ', '.join(f'{chunks.size:,} {part}' for part, chunks in inputs.chunks.items())
    console.say(
      f'{cj.t5.count(inputs.cfg):,} parameters; {sizes} ids; '
      f'from step {int(self.state.step)} to {job.steps}'
    )

  def finish(self) -> float:
    """Takes the steps that are left; the loss on all dev chunks."""
    job, first = self._job, int(self.state.step)
    batches = self._draw.train(self._chunks, job.batch_size, job.seed, first)
    with Log(self._out, first, job.steps) as log:

      def report(progress):
        log.note(**dataclasses.asdict(progress))
        self._console.show(progress)

      for now, until, due in train.stops(first, job.steps, job.eval_every, job.save_every):
        self.state = train.fit(
          self._step, self.state, {}, batches, until, report, job.log_every, now
        )
        if due and until < job.steps:
          self._measure(log, until, job.text.dev_chunks)
        log.settle()  # a run that goes on from the checkpoint notes nothing before it again
        save_state(self._out / STATE, self.state, self._about)
      return self._measure(log, job.steps, len(self._dev['source']))

  def _measure(self, log: Log, step: int, chunks: int) -> float:
    loss = dev_loss(self._loss, self.state.tuned, cut(self._dev, self._job.batch_size, chunks))
    log.note(step, dev_loss=loss)
    self._console.say(f'step {step}: dev loss {loss:.4f} per target id')
    return loss


def dev_loss(loss: Any, tuned: Tuned, batches: Iterable[Batch]) -> float:
  """The mean cross entropy per target id, in nats.  Raises NumericsError if it is not finite."""
  sums = [loss(tuned, {}, batch) for batch in batches]
  total, count = (math.fsum(float(s[i]) for s in sums) for i in range(2))
  if not math.isfinite(total):
    raise NumericsError('The dev loss is not finite.', got=f'{total}', fix='lower optim.rate')
  return total / count
