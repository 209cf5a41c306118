"""Where a fine-tuning run stands."""

import dataclasses

import jax

from compacter_jax import train
from compacter_jax.method import Tuned


@dataclasses.dataclass(frozen=True)
class Reached:
  """Where a run stands.

  Attributes:
    step, state: steps taken, and what they made.
    best, best_score: the arrays that were best on validation rows; None before the first look.
    pending: steps that are not reported. notes: lines of metrics.jsonl, and their SHA-256.
    due: whether an evaluation behind that step was given up.
  """

  step: int
  state: train.State
  best: Tuned
  best_score: float | None
  pending: list[list[float]]
  notes: tuple[int, str]
  due: bool


def copied(tuned: Tuned) -> Tuned:
  """Arrays that stay when those of a state are given up."""
  return jax.tree.map(jax.numpy.copy, tuned)
