"""What a run tells of its steps, on the console and in metrics.jsonl."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from compacter_jax.leaps import Leaps
from compacter_jax.nonfinite import NonFinite
from compacter_jax.train import Progress
from experiments.console import Console
from experiments.notes import Notes


class Telling:
  """Hears of steps from `train.Loop`.

  Attributes:
    history: what was reported since this start.
  """

  def __init__(
    self,
    notes: Notes,
    console: Console,
    leaps: Leaps,
    batch_size: int,
    examples: Callable[[int], Mapping[str, Any]],
  ):
    """examples: what is known of the examples of a step, by its number."""
    self._notes, self._console, self._leaps = notes, console, leaps
    self._batch_size, self._examples = batch_size, examples
    self.history: list[Progress] = []

  def report(self, progress: Progress) -> None:
    """A group of steps."""
    # Of several processes each knows its own examples only.
    speed = self._batch_size / progress.seconds_per_step
    progress = dataclasses.replace(progress, examples_per_second=speed)
    self.history.append(progress)
    self._notes.add(**dataclasses.asdict(progress))
    self._console.show(progress)

  def skipped(self, bad: NonFinite, examples: Mapping[str, Any]) -> None:
    """A step that is not finite and was left out."""
    facts = dataclasses.asdict(bad)
    self._notes.add(step=facts.pop('step'), nonfinite=facts | dict(examples))
    self._console.say(f'note: step {bad.step} is not finite and is left out')

  def look(self, step: int, loss: float) -> None:
    """A step that is finite."""
    if leap := self._leaps.look(step, loss):
      facts = dataclasses.asdict(leap)
      self._notes.add(step=facts.pop('step'), leap=facts | dict(self._examples(step)))
      jump = f'from {leap.median:.3g} to {loss:.3g}'
      self._console.say(f'note: step {step}: the loss leaps {jump}; metrics.jsonl has its rows')
