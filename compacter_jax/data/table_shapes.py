"""Few shapes for many batches: each new shape of a table costs a compilation."""

from collections.abc import Iterable, Sequence

import numpy as np

MOST = 8  # shapes of a run
STEP = 4  # widths are multiples of it

Shape = tuple[int, int]  # width of the sources, width of the targets


def chosen_shapes(needs: Iterable[Shape], most: int = MOST, step: int = STEP) -> list[Shape]:
  """The at most `most` shapes that hold all `needs` with the fewest columns over them.

  Ascending in both widths; the widths of the sources are multiples of `step`.
  """
  needed = np.array(sorted(needs), np.int64).reshape(-1, 2)
  needed[:, 0] = _up(needed[:, 0], step)
  widths, first, counts = np.unique(needed[:, 0], return_index=True, return_counts=True)
  tallest = np.maximum.accumulate(np.maximum.reduceat(needed[:, 1], first))
  columns, before = widths + tallest, np.concatenate([[0], np.cumsum(counts)])
  n = len(widths)
  # cost[j]: columns of the batches up to width j in as many shapes as so far, the last of which is
  # j's; cut[k][j]: the shape in front of it.
  cost, cuts = before[1:] * columns, [np.full(n, -1)]
  for _ in range(1, min(most, n)):
    trial = cost[:, None] + (before[1:][None] - before[1:][:, None]) * columns[None]
    trial[np.tril_indices(n)] = np.iinfo(np.int64).max
    best = trial.argmin(0)
    better = trial[best, np.arange(n)] < cost
    cuts.append(np.where(better, best, -2))
    cost = np.where(better, trial[best, np.arange(n)], cost)
  shapes, j, k = [], n - 1, len(cuts) - 1
  while j >= 0:
    while cuts[k][j] == -2:  # no better than with one shape fewer
      k -= 1
    shapes.append((int(widths[j]), int(tallest[j])))
    j, k = int(cuts[k][j]), k - 1
  return shapes[::-1]


def fitting(need: Shape, shapes: Sequence[Shape]) -> Shape:
  """The smallest of the ascending shapes that holds `need`; if none does, one made for it."""
  for shape in shapes:
    if shape[0] >= need[0] and shape[1] >= need[1]:
      return shape
  source, target = _up(np.array(need), 4 * STEP).tolist()
  return source, target


def _up(lengths: np.ndarray, step: int) -> np.ndarray:
  return -(-lengths // step) * step
