"""The metrics as functions of how often each row counts, for many such counts at once.

`metrics.py` defines the scores and is what they are tested against; here they are taken apart into
columns that are computed once, and a formula over these and the counts.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from compacter_jax import metrics
from compacter_jax.metrics import Groups, Metric, Texts


class Scored(NamedTuple):
  """One score, prepared to be computed again and again.

  Attributes:
    columns: float64 [units, k], all that the score depends on.
    of: cells [C, k] -> counts [R, C] -> scores in percent [R].
  """

  name: str
  columns: np.ndarray
  of: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]


class Rows(NamedTuple):
  """What is scored; `unit` says of each row which unit of resampling it belongs to, from 0."""

  predictions: Texts
  references: Texts
  groups: Groups
  unit: np.ndarray

  @property
  def alone(self) -> bool:
    """Whether each row is its own unit, in the rows' order."""
    return np.array_equal(self.unit, np.arange(len(self.unit)))

  def sums(self, *values: np.ndarray) -> np.ndarray:
    """Per unit the sum of each of the values, which stand by row: float64 [units, k]."""
    return np.stack([np.bincount(self.unit, value) for value in values], 1)


def weighted(metric: Metric, rows: Rows) -> Scored | None:
  """The metric over these rows, None if it is none of `METRICS`."""
  way = METRICS.get(_name(metric))
  return way(metric, rows) if way else None


def takes_groups(metric: Metric) -> bool:
  """Whether the rows of a group belong together, so that it must be drawn whole."""
  return _name(metric) in BY_GROUP


def _name(metric: Metric) -> str:
  return getattr(metric, '__name__', '')


def _mean_of_rows(metric: Metric, rows: Rows) -> Scored:
  """A metric that is the mean of what it says of each row alone."""
  groups = rows.groups or [None] * len(rows.references)

  @functools.cache
  def alone(*row: Any) -> tuple[str, float]:
    prediction, reference, group = row
    ((name, score),) = metric([prediction], [reference], [group]).items()
    return name, score

  named = [alone(*row) for row in zip(rows.predictions, rows.references, groups)]
  scores = np.array([score for _, score in named])
  return Scored(named[0][0], rows.sums(scores, np.ones(len(scores))), _ratio)


def _mean_of_groups(metric: Metric, rows: Rows) -> Scored:
  """A metric that is the mean of what it says of each group alone."""
  members: list[list[int]] = [[] for _ in range(int(rows.unit.max()) + 1)]
  for row, unit in enumerate(rows.unit.tolist()):
    members[unit].append(row)
  pick = lambda values, chosen: [values[row] for row in chosen]
  texts = rows.predictions, rows.references, rows.groups
  named = [metric(*(pick(each, chosen) for each in texts)) for chosen in members]
  (name,) = named[0]
  scores = np.array([each[name] for each in named])
  return Scored(name, np.stack([scores, np.ones(len(scores))], 1), _ratio)


def _ratio(cells: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
  return lambda counts: np.divide(*(counts @ cells).T)


def _f1(metric: Metric, rows: Rows) -> Scored:
  outputs, gold = _stripped(rows.predictions), _stripped(rows.references)
  right = outputs == gold

  def of(cells):
    def score(counts):
      hits, wrong = (counts @ cells).T
      return 200 * hits / np.maximum(2 * hits + wrong, 1)

    return score

  return Scored('f1', rows.sums(right & (gold == '1'), ~right), of)


def _macro_f1(metric: Metric, rows: Rows) -> Scored:
  outputs, gold = _stripped(rows.predictions), _stripped(rows.references)
  classes = '0', '1', '2'
  hits = [(gold == c) & (outputs == c) for c in classes]
  named = [(gold == c) * 1.0 + (outputs == c) for c in classes]

  def of(cells):
    def score(counts):
      sums = (counts @ cells).reshape(len(counts), 2, len(classes))
      return np.mean(200 * sums[:, 0] / np.maximum(sums[:, 1], 1), 1)

    return score

  return Scored('macro_f1', rows.sums(*hits, *named), of)


def _pearson(metric: Metric, rows: Rows) -> Scored:
  # Else the squares would swallow small differences.
  x, y = ((side - side.mean()) / (side.std() or 1) for side in _numbers(rows))

  def of(cells):
    def score(counts):
      n, sx, sy, sxx, syy, sxy = (counts @ cells).T
      return _correlation(sxx - sx * sx / n, syy - sy * sy / n, sxy - sx * sy / n)

    return score

  return Scored('pearson', rows.sums(np.ones(len(x)), x, y, x * x, y * y, x * y), of)


def _spearman(metric: Metric, rows: Rows) -> Scored:
  """Ranks are made anew in every resample, as SciPy makes them: ties share their mean rank."""

  def of(cells):
    by_x, by_y = (_Codes(column) for column in cells.T)

    def score(counts):
      middle = (counts.sum(1, keepdims=True) + 1) / 2
      x, y = (_ranks(by, counts) - middle for by in (by_x, by_y))
      weighted = counts * x
      xx, xy = np.einsum('rc,rc->r', weighted, x), np.einsum('rc,rc->r', weighted, y)
      return _correlation(xx, np.einsum('rc,rc->r', counts * y, y), xy)

    return score

  return _by_row('spearman', rows, np.stack(_numbers(rows), 1), of)


def _matthews(metric: Metric, rows: Rows) -> Scored:
  """Of any number of classes, as scikit-learn has it (Gorodkin 2004)."""
  texts = [*_stripped(rows.predictions), *_stripped(rows.references)]
  numbers: dict[str, int] = {}
  codes = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.float64)

  def of(cells):
    outputs, gold = (_Codes(column) for column in cells.T)
    right = (cells[:, 0] == cells[:, 1]).astype(np.float64)
    _, of_output, of_gold = np.intersect1d(outputs.values, gold.values, return_indices=True)

    def score(counts):
      n, said, true = counts.sum(1), outputs.sums(counts), gold.sums(counts)
      both = np.einsum('rk,rk->r', said[:, of_output], true[:, of_gold])
      squares = (np.einsum('rk,rk->r', side, side) for side in (said, true))
      return _correlation(*(n * n - square for square in squares), n * (counts @ right) - both)

    return score

  return _by_row('matthews', rows, codes.reshape(2, -1).T, of)


def _by_row(name: str, rows: Rows, columns: np.ndarray, of: Callable) -> Scored:
  """A score that is no function of sums over units: units of many rows are taken apart again."""
  if rows.alone:
    return Scored(name, columns, of)

  def apart(cells):
    cell = np.argsort(cells[:, 0])[rows.unit]  # of each row, for each unit is a cell
    score = of(columns)
    return lambda counts: score(counts[:, cell])

  return Scored(name, np.arange(rows.unit.max() + 1.0)[:, None], apart)


class _Codes:
  """The cells by one of their columns: its distinct `values` in ascending order."""

  def __init__(self, column: np.ndarray):
    self.values, self.of_cell = np.unique(column, return_inverse=True)
    self._order = np.argsort(self.of_cell, kind='stable')
    self._sorted = bool(np.all(np.diff(self._order) == 1))
    self._starts = np.searchsorted(self.of_cell[self._order], np.arange(len(self.values)))

  def sums(self, counts: np.ndarray) -> np.ndarray:
    """How often each value was drawn: [R, values]."""
    in_order = counts if self._sorted else np.take(counts, self._order, axis=1)
    if len(self.values) == len(self.of_cell):
      return in_order
    return np.add.reduceat(in_order, self._starts, axis=1)

  def to_cells(self, of_values: np.ndarray) -> np.ndarray:
    """Something of each value, [R, values], for each cell: [R, C]."""
    whole = self._sorted and len(self.values) == len(self.of_cell)
    return of_values if whole else np.take(of_values, self.of_cell, axis=1)


def _ranks(codes: _Codes, counts: np.ndarray) -> np.ndarray:
  """Mean rank of each cell's value in each resample: [R, C]."""
  drawn = codes.sums(counts)
  ranks = np.cumsum(drawn, 1) - (drawn - 1) / 2
  return codes.to_cells(ranks)


def _correlation(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> np.ndarray:
  """In percent; 0 where a side is constant, as in `metrics.py`."""
  tiny = 1e-9
  defined = (xx > tiny) & (yy > tiny)
  return np.where(defined, 100 * xy / np.sqrt(np.where(defined, xx * yy, 1)), 0.0)


def _numbers(rows: Rows) -> list[np.ndarray]:
  parsed = ([metrics.number(t) for t in texts] for texts in (rows.predictions, rows.references))
  return [np.array([metrics.UNPARSABLE if x is None else x for x in side]) for side in parsed]


def _stripped(texts: Texts) -> np.ndarray:
  return np.array([text.strip() for text in texts], object)


def _bleu(metric: Metric, rows: Rows) -> Scored:
  """From the counts that sacrebleu makes of each row."""
  from sacrebleu.metrics.bleu import BLEU

  groups, bleu = rows.groups or [None] * len(rows.references), BLEU()
  columns = []
  for output, reference, group in zip(rows.predictions, rows.references, groups):
    right = group if isinstance(group, tuple) else (reference,)
    alone = bleu.corpus_score([output], [[text] for text in right])
    columns.append([*alone.counts, *alone.totals, alone.sys_len, alone.ref_len])

  def of(cells):
    orders = (cells.shape[1] - 2) // 2

    def one(sums):
      counts, totals = sums[:orders].tolist(), sums[orders:-2].tolist()
      return BLEU.compute_bleu(counts, totals, *map(int, sums[-2:]), smooth_method='exp').score

    return lambda counts: np.array([one(sums) for sums in counts @ cells])

  return Scored('bleu', rows.sums(*np.array(columns, np.float64).T), of)


# By the metric's name, since some are made when a task is.
METRICS: dict[str, Callable[[Metric, Rows], Scored]] = {
  'accuracy': _mean_of_rows,
  'bleu': _bleu,
  'counted_once': _mean_of_groups,
  'exact_match': _mean_of_rows,
  'exact_match_by_group': _mean_of_groups,
  'f1_with_invalid': _f1,
  'macro_f1': _macro_f1,
  'matthews': _matthews,
  'parity_by_group': _mean_of_groups,
  'pearson': _pearson,
  'referent_accuracy': _mean_of_rows,
  'rouge_l': _mean_of_rows,
  'spearman': _spearman,
  'squad_exact_match': _mean_of_rows,
  'squad_f1': _mean_of_rows,
  'token_f1': _mean_of_rows,
}
# Those whose group says which rows belong together; the rows of a query of ReCoRD are one fact.
BY_GROUP = {'counted_once', 'exact_match_by_group', 'parity_by_group'}
BY_GROUP |= {'squad_exact_match', 'squad_f1'}
