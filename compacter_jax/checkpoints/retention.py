"""Which steps are kept: the last ones and the best ones, each counted on its own."""

from collections.abc import Mapping


def kept(scores: Mapping[int, float | None], last: int, best: int) -> set[int]:
  """Steps to keep, of all there are: the `last` newest, and the `best` with the highest scores.

  A step without a score is never a best one. Of equal scores the earlier is the better.
  """
  newest = sorted(scores)[-last:]
  ranked = sorted((-score, step) for step, score in scores.items() if score is not None)
  return {*newest, *(step for _, step in ranked[:best])}
