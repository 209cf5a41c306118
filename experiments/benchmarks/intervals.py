"""How long the intervals of a score take, and how wide they are.

    python -m experiments.benchmarks.intervals

10,000 resamples of 10,000 rows, of which six in ten are right, in rounds that alternate. Numbers
come in tenths, as STS-B's do, and all different, which is the most work there can be. Prints a
Markdown table of seconds, the best and the median of the rounds.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from compacter_jax import metrics
from compacter_jax.bootstrap import intervals
from compacter_jax.metrics import Metric
from experiments.benchmarks.tokenizing import alternate
from experiments.guard import guarded

RIGHT = 0.6
ROUNDED = 'numbers in tenths'
DIFFERENT = 'all numbers different'


class Case(NamedTuple):
  """A metric and what it scores."""

  metric: Metric
  answers: str
  outputs: list[str]
  references: list[str]


def main(argv: list[str]) -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--rows', type=int, default=10_000)
  parser.add_argument('--resamples', type=int, default=10_000)
  parser.add_argument('--rounds', type=int, default=5)
  flags = parser.parse_args(argv)
  found = {}

  def work(number: int, case: Case) -> None:
    args = [case.metric], case.outputs, case.references
    found[number] = intervals(*args, resamples=flags.resamples)

  chosen = cases(flags.rows)
  works = {str(i): lambda i=i, case=case: work(i, case) for i, case in enumerate(chosen)}
  alternate(works, 1)  # imports
  seconds = alternate(works, flags.rounds)
  print(f'{flags.resamples:,} resamples of {flags.rows:,} rows, {flags.rounds} rounds\n')
  print('| | answers | score | interval | s, best | s, median |')
  print('|---|---|---:|---:|---:|---:|')
  for i, case in enumerate(chosen):
    (name, score), *_ = case.metric(case.outputs, case.references, ()).items()
    low, high = found[i][name]
    times = f'{min(seconds[str(i)]):.2f} | {statistics.median(seconds[str(i)]):.2f}'
    print(f'| {name} | {case.answers} | {score:.2f} | {low:.2f} to {high:.2f} | {times} |')


def cases(rows: int) -> list[Case]:
  """Each metric with made-up outputs."""
  random = np.random.default_rng(0)
  labels = random.choice(['0', '1'], rows).tolist()
  others = random.choice(['0', '1', 'x'], rows).tolist()
  scores = random.uniform(0, 5, rows)
  noise = random.uniform(0, 5, rows)
  chosen = [
    Case(metric, 'two labels', _mixed(labels, others), labels)
    for metric in (metrics.accuracy, metrics.f1_with_invalid, metrics.matthews)
  ]
  for metric in metrics.pearson, metrics.spearman:
    for answers, digits in (ROUNDED, 1), (DIFFERENT, 12):
      gold, wrong = ([f'{x:.{digits}f}' for x in side] for side in (scores, noise))
      near = [f'{x + 1e-6:.{digits}f}' for x in scores]
      chosen.append(Case(metric, answers, _mixed(near, wrong), gold))
  return chosen


def _mixed(right: Sequence[str], wrong: Sequence[str]) -> list[str]:
  kept = np.random.default_rng(1).random(len(right)) < RIGHT
  return [r if keep else w for r, w, keep in zip(right, wrong, kept)]


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
