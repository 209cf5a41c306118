"""Whether methods stand in the paper's order here, as far as the seeds can tell."""

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from experiments.report import summary
from experiments.report.paper import Benchmark
from experiments.report.records import Records
from experiments.report.statistics import Spread, difference, rank_correlation

GAP = 1.0  # points between two averages of the paper from which on its order is compared, at least
ROWS = 2  # test rows of each task that make less of a gap
FAR = 5.0  # points below the paper's best from which on a method is told apart by anything
AGREES, DISAGREES, OPEN = 'agrees', 'disagrees', 'open'


@dataclass(frozen=True)
class Pair:
  """Two methods, of which the paper has `high` above `low`; differences are high - low.

  Attributes:
    published, here: the differences. margin: half the width of the 95 % interval of `here`, None
      where a method has one seed.
  """

  high: str
  low: str
  published: float
  here: float
  margin: float | None

  @property
  def verdict(self) -> str:
    """Clear only where the interval leaves out zero."""
    if self.margin is None or abs(self.here) <= self.margin:
      return OPEN
    return AGREES if self.here > 0 else DISAGREES


@dataclass(frozen=True)
class Ordering:
  """The methods that have all shared tasks, as the paper and as these runs have them.

  Attributes:
    tasks: those that are in both. published: averages over them. ours: the same of these runs.
    gap: points of the paper from which on two methods are compared: those of ROWS test rows of each
      task, of which COPA has 50, and no less than GAP.
  """

  benchmark: Benchmark
  tasks: list[str]
  published: dict[str, float]
  ours: dict[str, Spread]
  gap: float = GAP

  @property
  def correlation(self) -> float | None:
    """Spearman's, of the averages over the shared tasks."""
    return self._correlation(list(self.ours))

  @property
  def printed_correlation(self) -> float | None:
    """Spearman's, with the average that is printed in the paper: over all of its tasks."""
    rows = list(self.ours)
    ours = [self.ours[row].mean for row in rows]
    return rank_correlation([self.benchmark.printed(row) for row in rows], ours)

  @property
  def near(self) -> list[str]:
    """Methods that the paper has within FAR of the best of these."""
    best = max(map(self.published.__getitem__, self.ours), default=0.0)
    return [row for row in self.ours if self.published[row] >= best - FAR]

  @property
  def near_correlation(self) -> float | None:
    """Spearman's, of `near`: what is left when nothing stands out."""
    return self._correlation(self.near)

  def pairs(self) -> list[Pair]:
    """All pairs that the paper separates by more than `gap` points, the widest first."""
    found = []
    for one, other in itertools.combinations(self.ours, 2):
      high, low = sorted((one, other), key=self.published.__getitem__, reverse=True)
      published = self.published[high] - self.published[low]
      if published > self.gap:
        found.append(Pair(high, low, published, *difference(self.ours[high], self.ours[low])))
    return sorted(found, key=lambda pair: -pair.published)

  def _correlation(self, rows: Sequence[str]) -> float | None:
    ours = [self.ours[row].mean for row in rows]
    return rank_correlation([self.published[row] for row in rows], ours)


def ordering(
  records: Records,
  benchmark: Benchmark,
  left_out: Collection[str] = (),
  rows_left_out: Collection[str] = (),
) -> Ordering:
  """Of the tasks and methods that both have, but for some."""
  names = [name for name in benchmark.tasks if name not in left_out]
  shared = [task for task in records.tasks if task.name in names]
  tasks = [task.name for task in shared]
  rows_ = [100 * ROWS / max(task.test, 1) for task in shared]
  wanted = [name for name in benchmark.rows if name not in rows_left_out]
  rows = [row.name for row in records.rows if tasks and row.name in wanted]
  found = {row: summary.average(records, row, tasks) for row in rows}
  return Ordering(
    benchmark,
    tasks,
    {row: benchmark.average(row, tasks) for row in rows},
    {row: spread for row, spread in found.items() if spread},
    max([GAP, math.fsum(rows_) / len(rows_)]) if rows_ else GAP,
  )
