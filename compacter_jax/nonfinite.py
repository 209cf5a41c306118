"""Steps whose loss or gradient is not finite: what is known of them, and how many may be left out.

Such a step changes nothing (`train.make_step`). Which array's gradient is to blame comes from the
squared norms that the step sums up for the gradient's norm anyway.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from compacter_jax.errors import NumericsError

SHOWN = 20  # examples that a message lists


@dataclasses.dataclass(frozen=True)
class NonFinite:
  """A step that changed nothing.

  Attributes:
    step: its number, from 1.
    loss, grad_norm: as text, for JSON has no such numbers: 'nan', 'inf', or a number.
    leaf: the first array whose gradient is not finite; '' if all are, and the loss alone is not.
  """

  step: int
  loss: str
  grad_norm: str
  leaf: str


def names(tree: Any) -> list[str]:
  """The arrays of what is tuned, by path, in the order of their squared norms."""
  return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def found(step: int, metrics: Mapping[str, Any], leaves: list[str]) -> NonFinite:
  """What the metrics of a step that is not finite tell."""
  bad = np.flatnonzero(~np.isfinite(metrics['squares']))
  leaf = leaves[bad[0]] if len(bad) else ''
  return NonFinite(step, f'{metrics["loss"]}', f'{metrics["grad_norm"]}', leaf)


class Policy:
  """How many steps that are not finite a run takes before it stops.

  Attributes:
    skipped: how many there were so far.
    note: is told of each one that is left out, and of its examples.
  """

  def __init__(
    self,
    allowed: int = 0,
    examples: Callable[[int], Mapping[str, Any]] = lambda step: {},
  ):
    """allowed: of the whole run; 0 stops at the first one.

    examples: what is known of the examples of a step, by its number: 'rows' and their 'source'.
    """
    self._allowed, self._examples, self.skipped = allowed, examples, 0
    self.note: Callable[[NonFinite, Mapping[str, Any]], None] = lambda step, examples: None

  def check(self, steps: Sequence[NonFinite]) -> None:
    """Raises NumericsError for the first of these steps, not yet counted, beyond allowed."""
    left = max(self._allowed - self.skipped, 0)  # a run may go on with fewer allowed
    if len(steps) > left:
      raise self._refused(steps[left], self.skipped + left)

  def skip(self, step: NonFinite) -> None:
    """Counts and notes a step that was checked."""
    self.skipped += 1
    self.note(step, self._examples(step.step))

  def _refused(self, bad: NonFinite, before: int) -> NumericsError:
    told = f'loss {bad.loss}, gradient norm {bad.grad_norm}'
    told += f', first in that of {bad.leaf}' if bad.leaf else ', of the loss alone'
    fix = 'lower optim.rate, or look at the rows of that batch; the arrays before it are intact'
    if examples := _told(self._examples(bad.step)):
      told += f'; the batch was {examples}'
      fix += '; config.nonfinite=N leaves out as many as N such steps'
    if before:
      told += f'; {before} such steps before it were left out'
    return NumericsError(
      'Training met a number that is not finite.',
      where=f'step {bad.step}',
      expected='a finite loss and gradient',
      got=told,
      fix=fix,
    )


def _told(examples: Mapping[str, Any]) -> str:
  """The examples of a step in words: rows 3, 7 of train.tsv."""
  if not examples:
    return ''
  rows = [str(row) for row in examples['rows']]
  more = f' and {len(rows) - SHOWN} more' if len(rows) > SHOWN else ''
  return f'rows {", ".join(rows[:SHOWN])}{more} of {examples["source"]}'
