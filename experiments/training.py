"""The steps of a run on a mesh, and what keeps them: checkpoints, notes, signals, the watchdog."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from compacter_jax import leaps, nonfinite, train
from compacter_jax.checkpoints import Checkpoints, Restored, files, processes
from compacter_jax.errors import PreemptedError
from compacter_jax.placement import Placement
from compacter_jax.weights import Flat
from experiments import agreement, folders
from experiments.console import Console
from experiments.notes import Notes
from experiments.preemption import Asked, Preemption
from experiments.stragglers import Stragglers
from experiments.telling import Telling
from experiments.watchdog import Watchdog


@dataclasses.dataclass(frozen=True)
class Guards:
  """What a run goes on under."""

  folder: Path
  checkpoints: Checkpoints
  preemption: Preemption
  watchdog: Watchdog
  console: Console


@contextlib.contextmanager
def guarded(
  folder: Path,
  checkpoints: Checkpoints,
  mesh: Mesh,
  begin: Callable[[], None],
  console: Console,
  hangs: float,
  preemption: Preemption | None = None,
  force: bool = False,
) -> Iterator[Guards]:
  """The folder for this run alone and begun, its mesh set, signals and hangs looked for.

  Args:
    begin: makes the folder and its settings, in the first process.
    hangs: seconds; see `Watchdog`.
    preemption: that listens already. force: see `Checkpoints.claim`.
  """
  with contextlib.ExitStack() as stack:
    stack.enter_context(checkpoints.claim(force))
    stack.enter_context(jax.set_mesh(mesh))
    preemption = preemption or stack.enter_context(Preemption().listening())
    processes.first_says(begin)
    agreement.check_folder(folder / folders.CONFIG)
    watchdog = stack.enter_context(Watchdog(hangs).watching())
    yield Guards(folder, checkpoints, preemption, watchdog, console)


@dataclasses.dataclass(frozen=True)
class Spans:
  """How many steps there are: in all, and between evaluations, checkpoints and reports.

  0 saves where it evaluates only.
  """

  total: int
  evaluate: int
  save: int
  log: int


class Own(Protocol):
  """What one kind of run has of its own."""

  def batches(self, step: int) -> Iterator[dict[str, np.ndarray]]:
    """This process's part of the batches, behind so many steps."""
    ...

  def evaluate(self, state: train.State, step: int, notes: Notes) -> None:
    """Measures and notes; calls `Training.between` before each batch, and passes `Asked` on."""
    ...

  def kept(self, state: train.State, step: int) -> tuple[Any, Mapping[str, Any]]:
    """The arrays of a checkpoint, and what else is needed to go on, as JSON has it."""
    ...


class Training:
  """One run; its mesh is set while it lasts.

  Attributes:
    policy: of steps that are not finite.
    history: what was reported since this start.
  """

  def __init__(
    self,
    guards: Guards,
    spans: Spans,
    batch_size: int,
    policy: nonfinite.Policy,
    leap: float,
    examples: Callable[[int], Mapping[str, Any]],
  ):
    """leap: see `Leaps`. examples: what is known of the examples of a step, by its number."""
    self._guards, self._spans, self._batch_size, self.policy = guards, spans, batch_size, policy
    self._leap, self._leaps, self._examples = leap, leaps.Leaps(leap), examples
    self._stragglers = Stragglers()
    self.history: list[train.Progress] = []
    self._at, self._due = 0, False
    self._pending: list[list[Any]] = []
    self._noted: tuple[int, str] = 0, ''
    # Of the file at the start: a checkpoint tells whether it was changed since.
    self._config = files.checksum(guards.folder / folders.CONFIG)['sha256']

  def restore(self, like: Any) -> Restored | None:
    """The newest checkpoint; None before the first step.  like: what `Own.kept` gives of arrays.

    Raises as `Checkpoints.restore` does, and StorageError where the disk has no room for more.
    """
    guards = self._guards
    found = guards.checkpoints.restore(like)
    guards.checkpoints.check_room(like)
    if found is None:
      return None
    guards.console.go_on(found.step)
    about = found.about
    self._noted = about['notes'], about.get('notes_sha256', '')  # which steps of old do not have
    self.policy.skipped = about.get('skipped', 0)
    self._leaps = leaps.Leaps(self._leap, about.get('recent', ()))
    self._pending, self._due = about['pending'], about.get('due', False)
    return found

  def run(
    self,
    own: Own,
    step: train.Step,
    state: train.State,
    frozen: Flat,
    placement: Placement,
    first: int,
    opened: Callable[..., Notes] = Notes,
  ) -> train.State:
    """The state behind all steps.

    Args:
      step, frozen: the program, and T5's weights that it reads only.
      first: steps that were taken.
      opened: makes the notes, from what `Notes` takes.

    Raises:
      PreemptedError: the process was asked to end, and all that was reached is saved.
      NumericsError: as the policy has it.
    """
    guards, spans, console = self._guards, self._spans, self._guards.console
    with opened(guards.folder, *self._noted, console.say, processes.is_first()) as notes:
      telling = Telling(notes, console, self._leaps, self._batch_size, self._examples)
      self.history = telling.history

      def save(at: int, due: bool = False) -> None:
        pending = loop.pending()
        notes.settle()
        arrays, about = own.kept(state, at)
        own_part = {'due': due, 'pending': pending, 'skipped': self.policy.skipped}
        own_part |= {'recent': self._leaps.recent, 'config': self._config}
        own_part |= {'notes': notes.count, 'notes_sha256': notes.sha256}
        guards.watchdog.wait('save')  # also for the one before
        guards.checkpoints.save(at, arrays, {**about, **own_part})
        guards.watchdog.rest()

      def evaluate(at: int) -> None:
        with self.until_asked(at, lambda: save(at, due=True)):
          own.evaluate(state, at, notes)

      self.policy.note = telling.skipped
      watched, report = guards.watchdog.steps(step), telling.report
      args = watched, frozen, own.batches(first), spans.total, report, spans.log, placement.batch
      heard = self.policy, telling.look, self._stragglers.own
      loop = train.Loop(*args, self._pending, *heard)
      if self._due:
        evaluate(first)
      for start, until, due in train.stops(first, spans.total, spans.evaluate, spans.save):
        self._stragglers.begin(start)
        guards.watchdog.wait('wait for rows')
        state, came = loop.run(state, start, until, self._asked_before(start))
        jax.block_until_ready(state)  # of the last steps, too, it is seen that they hang
        slow = self._stragglers.found(came)
        guards.watchdog.rest()
        if slow:
          console.say(f'note: {slow}')
        if came < until:
          save(came)
          self._leave(came)
        if due:
          evaluate(until)
        save(until)
    return state

  def between(self, shape: tuple[int, ...]) -> None:
    """Before each batch of an evaluation.  Raises Asked."""
    self._guards.watchdog.rest()
    if self._asked(self._at):
      raise Asked
    self._guards.watchdog.begin('batch of an evaluation', shape)

  @contextlib.contextmanager
  def until_asked(self, step: int, save: Callable[[], None] = lambda: None) -> Iterator[None]:
    """An evaluation behind a step, given up when the run is asked to end; it is made again."""
    self._at = step
    try:
      yield
    except Asked:
      save()
      self._leave(step)
    finally:
      self._guards.watchdog.rest()

  def _asked_before(self, start: int) -> Callable[[], bool]:
    """Whether the run is to end before the next step, step by step."""
    steps = itertools.count(start)
    return lambda: self._asked(next(steps))

  def _asked(self, step: int) -> bool:
    self._guards.checkpoints.look()  # a disk that is full ends the run now, not at the next save
    return self._guards.preemption(step)

  def _leave(self, step: int) -> None:
    self._guards.watchdog.wait('save')
    self._guards.checkpoints.wait()
    raise PreemptedError(
      'The run was asked to end.',
      where=f'step {step} of {self._spans.total}',
      got='all of it is saved',
      fix='the same command goes on with it',
    )


def copied(arrays: Any) -> Any:
  """Arrays that stay when those of a state are given up."""
  return jax.tree.map(jax.numpy.copy, arrays)
