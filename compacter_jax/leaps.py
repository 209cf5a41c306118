"""Steps whose loss leaps: far over what it was just before, though finite and applied."""

import collections
import dataclasses
import statistics
from collections.abc import Iterable

WINDOW = 50  # losses that a new one is held against
FEWEST = 10  # before so many nothing leaps


@dataclasses.dataclass(frozen=True)
class Leap:
  """A step's loss, and the median of those before it."""

  step: int
  loss: float
  median: float


class Leaps:
  """Looks at the losses of a run one after another.

  What it finds depends on these alone, so a run that was interrupted finds the same.
  """

  def __init__(self, times: float, recent: Iterable[float] = ()):
    """times: how many times the median of the last `WINDOW` losses is a leap; 0 is never.

    recent: what `recent` gave when the run was left.
    """
    self._times, self._recent = times, collections.deque(recent, WINDOW)

  @property
  def recent(self) -> list[float]:
    """The losses that the next one is held against."""
    return list(self._recent)

  def look(self, step: int, loss: float) -> Leap | None:
    """The next loss; one that leaps counts among those to come, for it may be the new level."""
    if not self._times:
      return None
    known = len(self._recent) >= FEWEST
    median = statistics.median(self._recent) if known else 0.0
    self._recent.append(loss)
    return Leap(step, loss, median) if known and loss > self._times * median else None
