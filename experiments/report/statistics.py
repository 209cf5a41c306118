"""The mathematics of the page: spreads over seeds, differences, ranks, the Pareto front."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
COUNTED = 8  # values of which all orders are counted


@dataclass(frozen=True)
class Spread:
  """Scores of several seeds."""

  values: tuple[float, ...]

  @property
  def count(self) -> int:
    """How many seeds there are."""
    return len(self.values)

  @property
  def mean(self) -> float:
    """Of at least one score."""
    return math.fsum(self.values) / len(self.values)

  @property
  def deviation(self) -> float | None:
    """The standard deviation of the seeds at large (ddof = 1), which one seed cannot tell.

    Of equal scores it is 0, and not what rounding leaves of it.
    """
    if len(self.values) < 2:
      return None
    return float(np.std(self.values, ddof=1)) if len(set(self.values)) > 1 else 0.0


def difference(one: Spread, other: Spread) -> tuple[float, float | None]:
  """one - other, and half the width of Welch's 95 % interval.

  None instead where a side has one seed, or seeds that all score the same, as models do that give
  all rows one answer: that tells nothing of how far another seed may be off.
  """
  gap = one.mean - other.mean
  if not one.deviation or not other.deviation:
    return gap, None
  parts = [side.deviation**2 / side.count for side in (one, other) if side.deviation]
  freedom = sum(parts) ** 2 / sum(
    part**2 / (side.count - 1) for part, side in zip(parts, (one, other))
  )
  return gap, _student((1 + LEVEL) / 2, freedom) * math.sqrt(sum(parts))


def certainty(gap: float, margin: float | None) -> str:
  """Whether a difference is clear, as the end of a sentence."""
  if margin is None:
    return 'and its seeds cannot tell whether that is chance'
  if abs(gap) <= margin:
    return f'which is not clear (± {margin:.1f} at 95 %)'
  return f'and clearly so (± {margin:.1f} at 95 %)'


def ranks(values: Sequence[float]) -> np.ndarray:
  """1 for the smallest; equal values share the mean of their ranks."""
  array = np.asarray(values, float)
  below = (array[None, :] < array[:, None]).sum(1)
  equal = (array[None, :] == array[:, None]).sum(1)
  return below + (equal + 1) / 2


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
  """Spearman's: Pearson's of the ranks; None for fewer than 3 pairs or a side without order."""
  first, second = ranks(one), ranks(other)
  if len(first) < 3 or not first.std() or not second.std():
    return None
  return float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1))


def chance(correlation: float, count: int) -> float:
  """The share of random orders of so many values whose rank correlation is as high.

  Of all orders where they are few, else by Student's t.
  """
  if count <= COUNTED:
    orders = np.array(list(itertools.permutations(range(count))))
    far = ((orders - np.arange(count)) ** 2).sum(1)
    return float(np.mean(1 - 6 * far / (count * (count**2 - 1)) >= correlation - 1e-9))
  from scipy.special import stdtr

  t = correlation * math.sqrt((count - 2) / max(1 - correlation**2, 1e-12))
  return float(stdtr(count - 2, -t))


def pareto(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
  """Which points no other beats: as cheap and as good, and better in one. By rising cost."""
  front = []
  for i in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
    # Of equal points all are on the front, for none is better in anything.
    same = front and (costs[front[-1]], scores[front[-1]]) == (costs[i], scores[i])
    if not front or scores[i] > scores[front[-1]] or same:
      front.append(i)
  return front


def _student(share: float, freedom: float) -> float:
  """The quantile of Student's t."""
  from scipy.special import stdtrit  # scipy.stats has it too, and takes a second to import

  return float(stdtrit(freedom, share))
