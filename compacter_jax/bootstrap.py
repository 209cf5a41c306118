"""How far scores may be off: percentile intervals by resampling (Efron & Tibshirani 1993, 13.3).

What is drawn with replacement are rows, or whole groups where a metric scores groups, for the rows
of one group are not independent. Rows alike in everything that the metrics see are one cell, a
resample is how often each cell was drawn, and all scores of many resamples are computed at once
from these counts; each is what `metrics.py` says of the rows drawn.
"""

import os
from collections.abc import Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from compacter_jax import metrics
from compacter_jax.errors import ConfigError
from compacter_jax.metrics import Groups, Metric, Texts
from compacter_jax.weighted_metrics import Rows, Scored, takes_groups, weighted

RESAMPLES = 10_000
AT_ONCE = 30_000  # counts held at a time by one thread: what its cache holds
FEW = 500  # cells up to which a draw for each cell is faster than one for each unit


def intervals(
  task_metrics: Iterable[Metric],
  predictions: Texts,
  references: Texts,
  groups: Groups = (),
  seed: int = 0,
  resamples: int = RESAMPLES,
  level: float = 0.95,
) -> dict[str, list[float]]:
  """[low, high] in percent of every score of `metrics.score`, the average included.

  A pure function of its arguments. A metric that `weighted_metrics.py` does not know gets no
  interval, nor does the average then. Raises DataError as `metrics.score` does, and ConfigError
  unless 0 < level < 1 and resamples >= 1.
  """
  if not 0 < level < 1 or resamples < 1:
    raise ConfigError(
      'There can be no such interval.',
      expected='0 < level < 1, at least 1 resample',
      got=f'level {level}, {resamples} resamples',
    )
  task_metrics = list(task_metrics)
  metrics.score(task_metrics, predictions, references, groups)  # raises for what is unfit
  rows = Rows(predictions, references, groups, _units(task_metrics, len(references), groups))
  scored = [each for metric in task_metrics if (each := weighted(metric, rows))]
  if not scored:
    return {}
  table = _resample(scored, seed, resamples)
  if len(scored) == len(task_metrics):
    table['average'] = np.mean(list(table.values()), 0)
  tails = 50 * (1 - level), 50 * (1 + level)
  return {name: np.percentile(values, tails).tolist() for name, values in table.items()}


def _units(task_metrics: list[Metric], rows: int, groups: Groups) -> np.ndarray:
  if not any(map(takes_groups, task_metrics)):
    return np.arange(rows)
  numbers: dict[Hashable, int] = {}
  return np.array([numbers.setdefault(group, len(numbers)) for group in groups])


def _resample(scored: list[Scored], seed: int, resamples: int) -> dict[str, np.ndarray]:
  """Each score of each resample."""
  columns = np.concatenate([each.columns for each in scored], 1)
  cells, sizes = np.unique(columns, axis=0, return_counts=True)
  ends = np.cumsum([each.columns.shape[1] for each in scored])
  parts = np.split(cells, ends[:-1], axis=1)
  scores = [each.of(part) for each, part in zip(scored, parts)]
  step = max(AT_ONCE // len(cells), 1)

  def run(start: int) -> list[np.ndarray]:
    random = np.random.Generator(np.random.Philox(key=np.array([seed, start], np.uint64)))
    counts = draw(random, sizes, min(step, resamples - start))
    return [score(counts) for score in scores]

  # A chunk's draws depend on its number alone, so that threads do not change the result.
  with ThreadPoolExecutor(os.cpu_count()) as pool:
    chunks = list(pool.map(run, range(0, resamples, step)))
  return {each.name: np.concatenate(values) for each, values in zip(scored, zip(*chunks))}


def draw(random: np.random.Generator, sizes: np.ndarray, resamples: int) -> np.ndarray:
  """How often each cell is drawn when as many units are drawn as there are: float64 [R, C]."""
  units = int(sizes.sum())
  if len(sizes) <= FEW:
    return random.multinomial(units, sizes / units, resamples).astype(np.float64)
  cell = np.repeat(np.arange(len(sizes)), sizes)
  alone = len(sizes) == units  # then a unit is its cell
  counts = np.empty((resamples, len(sizes)))
  for row in counts:
    drawn = random.integers(units, size=units, dtype=np.uint32)
    row[:] = np.bincount(drawn if alone else cell[drawn], None, len(sizes))
  return counts
