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

from compacter_jax import nonfinite
from compacter_jax.divisors import divisors
from compacter_jax.errors import ConfigError
from compacter_jax.method import Tuned
from compacter_jax.model import Batch, Model
from compacter_jax.nonfinite import NonFinite
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

  metrics: 'loss' (mean over the batch's label tokens), 'grad_norm', 'tokens', 'finite', and
  'squares', the squared norms of the arrays' gradients, whose sum is that of 'grad_norm'.
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
    squares = [optax.tree.norm(g, squared=True) for g in jax.tree.leaves(grads)]
    norm = jnp.sqrt(sum(squares, jnp.float32(0)))
    updates, opt = optimizer.update(grads, state.opt, state.tuned)
    new = state.replace(tuned=optax.apply_updates(state.tuned, updates), opt=opt)  # pyright: ignore
    finite = jnp.isfinite(norm) & jnp.isfinite(loss)
    new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
    metrics = {'loss': loss * share, 'grad_norm': norm, 'tokens': tokens, 'finite': finite}
    return new.replace(step=state.step + 1), metrics | {'squares': jnp.stack(squares)}

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
    pending: Sequence[Sequence[Any]] = (),
    policy: nonfinite.Policy | None = None,
    look: Callable[[int, float], None] = lambda step, loss: None,
    own: Callable[[float], None] = lambda seconds: None,
  ):
    """batches: from the next step on.  total: steps of the whole run, behind which all is reported.

    every: steps of a group. place: lays a batch out on devices. pending: what `pending` gave when
    the run was left. policy: of steps that are not finite; by default the first raises. look: is
    told the number and loss of every finite step, once and in order, when its group is reported.
    own: is told the seconds of what the host itself did for each step.
    """
    self._step, self._frozen, self._batches, self._total = step, frozen, batches, total
    self._report, self._every, self._place = report, every, place
    self._policy, self._look = policy or nonfinite.Policy(), look
    self._own = own
    self._waiting: list[tuple[int, int, Metrics | NonFinite]] = [
      (i, size, NonFinite(i, loss, norm, *leaf) if leaf else {'loss': loss, 'grad_norm': norm})
      for i, size, loss, norm, *leaf in pending
    ]
    self._like: Any = None
    self._clock, self._waited, self._fresh, self._begun = time.perf_counter(), 0.0, 0, False

  def run(
    self, state: State, start: int, until: int, stopped: Callable[[], bool] = lambda: False
  ) -> tuple[State, int]:
    """Takes the steps from `start` to `until`, or less once it is `stopped`; how far it came.

    Raises:
      NumericsError: a loss or gradient was not finite, and the policy does not let it pass; names
        the step, what is known of its examples, and the array.
    """
    self._like = jax.tree.structure(state)
    for i in range(start, until):
      begin = time.perf_counter()
      if stopped():
        return state, i
      asked = time.perf_counter()
      batch: Any = next(self._batches)
      self._waited += time.perf_counter() - asked
      placed = self._place(batch)
      self._own(time.perf_counter() - begin)
      state, metrics = self._step(state, self._frozen, placed)
      if not self._begun:  # it was compiled first, which says nothing of the time that is left
        self._begun, self._clock, self._waited = True, time.perf_counter(), 0.0
      self._waiting.append((i + 1, examples_in(batch), metrics))
      self._fresh += 1
      if i + 1 == self._total:
        self._tell(len(self._waiting))
      elif (i + 1) % self._every == 0:
        self._tell(len(self._waiting) - 1)
    return state, until

  def pending(self) -> list[list[Any]]:
    """Steps that were taken and not reported, as JSON has them.

    [step, examples, loss, gradient norm]; then what `NonFinite.leaf` has, of those that have it.
    Raises NumericsError as `run` does, so that nothing is saved behind such a step.
    """
    rows = []
    for i, size, told in self._ended(self._waiting):
      bad = isinstance(told, NonFinite)
      rows.append([i, size, *((told.loss, told.grad_norm, told.leaf) if bad else told)])
    return rows

  def _tell(self, count: int) -> None:
    """Reports so many of the waiting steps."""
    done, self._waiting = self._waiting[:count], self._waiting[count:]
    if not done:
      return
    ended = [told for _, _, told in self._ended(done)]
    for (i, _, _), told in zip(done, ended):
      if isinstance(told, NonFinite):
        self._policy.skip(told)
      else:
        self._look(i, told[0])
    finite = [told for told in ended if not isinstance(told, NonFinite)]
    clock, seconds = time.perf_counter(), time.perf_counter() - self._clock
    taken = max(self._fresh - len(self._waiting), 1)  # others were before this start
    examples = sum(size for _, size, _ in done[-taken:])
    speeds = examples / seconds, seconds / taken, self._waited / seconds
    self._clock, self._waited, self._fresh = clock, 0.0, len(self._waiting)
    if finite:
      loss, norm = (float(np.mean(values)) for values in zip(*finite))
      self._report(Progress(done[-1][0], loss, norm, *speeds))

  def _ended(self, steps: Sequence[tuple[int, int, Any]]) -> list[tuple[int, int, Any]]:
    """Steps that ended: number, examples, and (loss, gradient norm) or what is not finite."""
    needed = 'loss', 'grad_norm', 'finite'
    fetched = jax.device_get([_only(told, needed) for _, _, told in steps])
    out = []
    for (i, size, told), got in zip(steps, fetched):
      if isinstance(told, NonFinite):
        out.append((i, size, told))
      elif got.get('finite', True):
        out.append((i, size, (float(got['loss']), float(got['grad_norm']))))
      else:
        tuned = jax.tree.unflatten(self._like, range(self._like.num_leaves)).tuned
        told = jax.device_get(told)
        out.append((i, size, nonfinite.found(i, told, nonfinite.names(tuned))))
    self._policy.check([told for _, _, told in out if isinstance(told, NonFinite)])
    return out


def _only(told: Metrics | NonFinite, names: Sequence[str]) -> Metrics:
  return {} if isinstance(told, NonFinite) else {k: told[k] for k in names if k in told}


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


def check_batch(batch_size: int, accumulate: int, ways: int = 1) -> None:
  """Raises a ConfigError unless a batch can be cut into that many equal parts.

  ways: among how many devices each part is split.
  """
  if batch_size % accumulate:
    raise ConfigError(
      'The batch cannot be cut into equal parts.',
      where='train.accumulate',
      expected=f'a divisor of the batch size {batch_size}: {divisors(batch_size)}',
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
