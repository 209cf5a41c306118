"""Training: a state of what is tuned, a pure step, and the loop around it."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array

from compacter_jax.errors import ConfigError, NumericsError
from compacter_jax.method import Tuned
from compacter_jax.model import Batch, Model
from compacter_jax.weights import Flat

Metrics = dict[str, Any]


@struct.dataclass
class State:
  """All that training changes, and the seed of its dropout; no frozen weight of T5."""

  tuned: Tuned
  opt: optax.OptState
  step: Array
  seed: Array


Step = Callable[[State, Flat, Batch], tuple[State, Metrics]]


def start(tuned: Tuned, optimizer: optax.GradientTransformation, seed: int = 0) -> State:
  """The state before the first step.  seed: 0 to 2**32 - 1."""
  return State(tuned, optimizer.init(tuned), jnp.int32(0), jnp.uint32(seed))


def make_step(
  model: Model,
  optimizer: optax.GradientTransformation,
  accumulate: int = 1,
  dropout: bool = True,
  lies: State | None = None,
) -> Step:
  """One update, compiled: (state, frozen, batch) -> (state, metrics). The old state is given up.

  Dropout is drawn from the state's seed and step. Runs that differ in seeds and arrays alone share
  the program. The batch is cut into `accumulate` parts one after the other;
  gradients are weighted by label tokens, so that the parts equal the whole. A step whose loss or
  gradient is not finite leaves what is tuned as it was.

  lies: a sharding for each array of the state; the new one lies as the old did.

  metrics: 'loss' (mean over the batch's label tokens), 'grad_norm', 'tokens', 'finite'.
  """

  def gradient(tuned, frozen, batch, key):
    summed = jax.value_and_grad(model.loss_sum, has_aux=True)
    if accumulate == 1:
      return summed(tuned, frozen, batch, key)
    parts = cut_up(batch, accumulate)

    def part(total, xs):
      index, mine = xs
      fresh = None if key is None else jax.random.fold_in(key, index)
      return jax.tree.map(jnp.add, total, summed(tuned, frozen, mine, fresh)), None

    zeros = (jnp.float32(0), jnp.int32(0)), jax.tree.map(jnp.zeros_like, tuned)
    return jax.lax.scan(part, zeros, (jnp.arange(accumulate), parts))[0]

  def step(state: State, frozen: Flat, batch: Batch) -> tuple[State, Metrics]:
    key = jax.random.fold_in(jax.random.key(state.seed), state.step) if dropout else None
    (loss, tokens), grads = gradient(state.tuned, frozen, batch, key)
    share = 1.0 / jnp.maximum(tokens, 1).astype(jnp.float32)
    grads = jax.tree.map(lambda g: g * share, grads)
    norm = optax.tree.norm(grads)
    updates, opt = optimizer.update(grads, state.opt, state.tuned)
    new = state.replace(tuned=optax.apply_updates(state.tuned, updates), opt=opt)  # pyright: ignore
    finite = jnp.isfinite(norm) & jnp.isfinite(loss)
    new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
    metrics = {'loss': loss * share, 'grad_norm': norm, 'tokens': tokens, 'finite': finite}
    return new.replace(step=state.step + 1), metrics

  # Given as the results' own, so that a state that a step left is no other kind of argument.
  laid = None if lies is None else (lies, None)
  return jax.jit(step, donate_argnums=0, out_shardings=laid)


def cut_up(batch: Batch, parts: int) -> Batch:
  """[B,...] to [parts, B / parts,...]: every so-maniest row, so that devices cut up their own."""
  cut = lambda a: jnp.moveaxis(a.reshape(-1, parts, *a.shape[1:]), 1, 0)
  return {name: cut(array) for name, array in batch.items()}


@dataclasses.dataclass(frozen=True)
class Progress:
  """What became of the steps since the last report.

  Attributes:
    step: steps taken so far.
    loss, grad_norm: means over those steps.
    examples_per_second, seconds_per_step: speeds over those steps.
    waited: share of the time in which the host waited for data.
  """

  step: int
  loss: float
  grad_norm: float
  examples_per_second: float
  seconds_per_step: float
  waited: float


class Loop:
  """Takes steps and reports them in groups, the same ones in whatever stretches they are taken.

  The host never waits for the step that runs: a report reads steps that ended before it.
  """

  def __init__(
    self,
    step: Step,
    frozen: Flat,
    batches: Iterator[dict[str, np.ndarray]],
    total: int,
    report: Callable[[Progress], None] = lambda progress: None,
    every: int = 10,
    place: Callable[[Batch], Batch] = lambda batch: batch,
    pending: Sequence[Sequence[float]] = (),
  ):
    """batches: from the next step on.  total: steps of the whole run, behind which all is reported.

    every: steps of a group. place: lays a batch out on devices. pending: what `pending` gave when
    the run was left.
    """
    self._step, self._frozen, self._batches, self._total = step, frozen, batches, total
    self._report, self._every, self._place = report, every, place
    self._waiting: list[tuple[int, int, Metrics]] = [
      (int(i), int(size), {'loss': loss, 'grad_norm': norm, 'finite': True})
      for i, size, loss, norm in pending
    ]
    self._clock, self._waited, self._fresh = time.perf_counter(), 0.0, 0

  def run(
    self, state: State, start: int, until: int, stopped: Callable[[], bool] = lambda: False
  ) -> tuple[State, int]:
    """Takes the steps from `start` to `until`, or less once it is `stopped`; how far it came.

    Raises:
      NumericsError: a loss or gradient was not finite; names the first such step.
    """
    for i in range(start, until):
      if stopped():
        return state, i
      asked = time.perf_counter()
      batch: Any = next(self._batches)
      self._waited += time.perf_counter() - asked
      state, metrics = self._step(state, self._frozen, self._place(batch))
      self._waiting.append((i + 1, examples_in(batch), metrics))
      self._fresh += 1
      if i + 1 == self._total:
        self._tell(len(self._waiting))
      elif (i + 1) % self._every == 0:
        self._tell(len(self._waiting) - 1)
    return state, until

  def pending(self) -> list[list[float]]:
    """Steps that were taken and not reported: [step, examples, loss, gradient norm].

    Raises NumericsError as `run` does, so that nothing else than finite steps is saved.
    """
    metrics = _finite(self._waiting)
    own = zip(self._waiting, metrics)
    return [[i, size, float(m['loss']), float(m['grad_norm'])] for (i, size, _), m in own]

  def _tell(self, count: int) -> None:
    """Reports so many of the waiting steps."""
    done, self._waiting = self._waiting[:count], self._waiting[count:]
    if not done:
      return
    metrics = _finite(done)
    loss, norm = (float(np.mean([float(m[k]) for m in metrics])) for k in ('loss', 'grad_norm'))
    clock, seconds = time.perf_counter(), time.perf_counter() - self._clock
    taken = max(self._fresh - len(self._waiting), 1)  # others were before this start
    examples = sum(size for _, size, _ in done[-taken:])
    speeds = examples / seconds, seconds / taken, self._waited / seconds
    self._clock, self._waited, self._fresh = clock, 0.0, len(self._waiting)
    self._report(Progress(done[-1][0], loss, norm, *speeds))


def stops(first: int, total: int, evaluate: int, save: int) -> Iterator[tuple[int, int, bool]]:
  """(from, to, whether to evaluate) of each stretch of a run that ends in a checkpoint.

  evaluate, save: steps between evaluations, and between other checkpoints; 0 is none of these.
  """
  while first < total:
    until = min([total, *((first // each + 1) * each for each in (evaluate, save) if each)])
    yield first, until, until == total or (evaluate > 0 and until % evaluate == 0)
    first = until


def fit(
  step: Step,
  state: State,
  frozen: Flat,
  batches: Iterator[dict[str, np.ndarray]],
  until: int,
  report: Callable[[Progress], None] = lambda progress: None,
  every: int = 10,
  start: int = 0,
) -> State:
  """Takes the steps from `start` to `until` and reports them all; see `Loop`."""
  return Loop(step, frozen, batches, until, report, every).run(state, start, until)[0]


def examples_in(batch: dict[str, np.ndarray]) -> int:
  """How many examples a batch holds, packed or one to a line."""
  if 'source_segments' in batch:
    return int(batch['source_segments'].max(1).sum())
  return len(batch['source'])


def _finite(done: list[tuple[int, int, Metrics]]) -> list[Metrics]:
  """The metrics of steps that ended, on the host.  Raises NumericsError."""
  metrics = jax.device_get([metrics for _, _, metrics in done])
  for (step, _, _), m in zip(done, metrics):
    if not m['finite']:
      raise NumericsError(
        'Training met a number that is not finite.',
        where=f'step {step}',
        expected='a finite loss and gradient',
        got=f'loss {m["loss"]}, gradient norm {m["grad_norm"]}',
        fix='lower optim.rate, or look at the rows of that batch; the arrays before it are intact',
      )
  return metrics


def check_batch(batch_size: int, accumulate: int, ways: int = 1) -> None:
  """Raises a ConfigError unless a batch can be cut into that many equal parts.

  ways: among how many devices each part is split.
  """
  if batch_size % accumulate:
    fits = [k for k in range(1, batch_size + 1) if batch_size % k == 0]
    raise ConfigError(
      'The batch cannot be cut into equal parts.',
      where='train.accumulate',
      expected=f'a divisor of the batch size {batch_size}: {fits}',
      got=str(accumulate),
    )
  if batch_size % (accumulate * ways):
    unit = accumulate * ways
    near = sorted({max(batch_size // unit, 1) * unit, -(-batch_size // unit) * unit})
    raise ConfigError(
      'The batch cannot be split evenly over the mesh.',
      where='batch_size, accumulate, mesh',
      expected=f'a multiple of {accumulate} parts x {ways} devices',
      got=str(batch_size),
      fix=f'a batch of {" or ".join(map(str, near))} would do, or fewer mesh.devices',
    )
