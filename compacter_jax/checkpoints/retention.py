"""Which steps are kept: the last ones and the best ones, each counted on its own."""

from collections.abc import Mapping


def kept(scores: Mapping[int, float | None], last: int, best: int) -> set[int]:
  """Steps to keep, of all there are: the `last` newest, and the `best` with the highest scores.

  A step without a score is never a best one. Of equal scores the earlier is the better.
  """
  return {*sorted(scores)[-last:], *ranked(scores)[:best]}


def ranked(scores: Mapping[int, float | None]) -> list[int]:
  """Steps that have a score, the best first."""
  return [step for _, step in sorted((-s, step) for step, s in scores.items() if s is not None)]
