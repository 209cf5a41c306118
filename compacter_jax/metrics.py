"""Scores of generated text, in percent, as published (Karimi Mahabadi et al. 2021, section 4).

Every metric takes the decoded `predictions`, the gold `references` and the `groups` of the rows,
all of the same length, and returns named scores x 100. Outer white space is dropped; the rest is
compared exactly, so an output that is no label is simply wrong. `count_invalid` tells how many.
"""

import math
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from compacter_jax.errors import DataError

Texts = Sequence[str]
Groups = Sequence[Hashable]
Metric = Callable[[Texts, Texts, Groups], dict[str, float]]

# What an output without a number counts as in a correlation (reference implementation).
UNPARSABLE = -1.0


def accuracy(predictions: Texts, references: Texts, groups: Groups = ()) -> dict[str, float]:
  """Share of rows that are right.  Raises DataError if there are no rows."""
  outputs, gold = _aligned(predictions, references)
  return {'accuracy': 100 * float(np.mean(outputs == gold))}


def matthews(predictions: Texts, references: Texts, groups: Groups = ()) -> dict[str, float]:
  """Matthews correlation; an output that is no label is one more class, as published."""
  from sklearn.metrics import matthews_corrcoef

  outputs, gold = _aligned(predictions, references)
  # A constant side leaves the coefficient undefined: 0 by convention, and scikit-learn would warn.
  constant = len(set(outputs)) < 2 or len(set(gold)) < 2
  return {'matthews': 0.0 if constant else 100 * float(matthews_corrcoef(gold, outputs))}


def f1_with_invalid(predictions: Texts, references: Texts, groups: Groups = ()) -> dict[str, float]:
  """F1 of class '1', where an output other than '0' or '1' counts as the wrong class.

  Raises DataError if there are no rows or a reference is not '0' or '1'.
  """
  from sklearn.metrics import f1_score

  outputs, gold = _aligned(predictions, references)
  if strange := set(gold) - {'0', '1'}:
    raise DataError(
      'F1 is defined for two classes only.', expected="references '0' and '1'", got=repr(strange)
    )
  positive = gold == '1'
  outputs_positive = np.where(outputs == '1', True, np.where(outputs == '0', False, ~positive))
  zero: Any = 0  # the stubs of scikit-learn know only the default
  return {'f1': 100 * float(f1_score(positive, outputs_positive, zero_division=zero))}


def pearson(predictions: Texts, references: Texts, groups: Groups = ()) -> dict[str, float]:
  """Pearson correlation of the numbers; an output without one is -1.0, an undefined result 0.

  Raises DataError if there are no rows or a reference is not a finite number.
  """
  from scipy.stats import pearsonr

  return {'pearson': _correlation(pearsonr, predictions, references)}


def spearman(predictions: Texts, references: Texts, groups: Groups = ()) -> dict[str, float]:
  """Spearman correlation, with the rules of `pearson`."""
  from scipy.stats import spearmanr

  return {'spearman': _correlation(spearmanr, predictions, references)}


def exact_match_by_group(predictions: Texts, references: Texts, groups: Groups) -> dict[str, float]:
  """Share of groups (MultiRC: questions) whose rows are all right.

  Raises DataError if there are no rows or not one group per row.
  """
  outputs, gold = _aligned(predictions, references)
  if len(groups) != len(gold):
    raise DataError(
      'Exact match needs the group of every row.',
      expected=f'{len(gold)} groups',
      got=f'{len(groups)}',
    )
  right: dict[Hashable, bool] = {}
  for group, same in zip(groups, outputs == gold):
    right[group] = right.get(group, True) and bool(same)
  return {'exact_match': 100 * sum(right.values()) / len(right)}


def score(
  metrics: Iterable[Metric], predictions: Texts, references: Texts, groups: Groups = ()
) -> dict[str, float]:
  """All `metrics` in one table, and their mean as 'average', by which the best step is chosen."""
  scores: dict[str, float] = {}
  for metric in metrics:
    scores |= metric(predictions, references, groups)
  return scores | {'average': math.fsum(scores.values()) / len(scores)}


def count_invalid(predictions: Texts, labels: Sequence[str] | None) -> int:
  """Number of outputs that are none of `labels`, or no finite number where `labels` is None."""
  if labels is None:
    return sum(_number(text) is None for text in predictions)
  return sum(text.strip() not in labels for text in predictions)


def _aligned(predictions: Texts, references: Texts) -> tuple[np.ndarray, np.ndarray]:
  if len(predictions) != len(references) or not len(references):
    raise DataError(
      'There is nothing to score.' if not len(references) else 'Outputs and references differ.',
      expected='one prediction per reference, at least one',
      got=f'{len(predictions)} predictions, {len(references)} references',
    )
  return _stripped(predictions), _stripped(references)


def _stripped(texts: Texts) -> np.ndarray:
  # dtype object: NumPy's fixed-width strings would drop trailing NULs and so equate unequal texts.
  return np.array([text.strip() for text in texts], dtype=object)


def _number(text: str) -> float | None:
  try:
    number = float(text)
  except ValueError:
    return None
  return number if math.isfinite(number) else None


def _correlation(function: Callable, predictions: Texts, references: Texts) -> float:
  outputs, gold = (list(map(_number, texts)) for texts in _aligned(predictions, references))
  if None in gold:
    row = gold.index(None)
    raise DataError(
      'A reference is not a finite number.', where=f'row {row + 1}', got=repr(references[row])
    )
  if len(gold) < 2:
    return 0.0  # one point has no correlation
  with warnings.catch_warnings():
    # SciPy warns where a side is constant; the answer, NaN, is defined to be 0 below.
    warnings.simplefilter('ignore')
    result = function([UNPARSABLE if x is None else x for x in outputs], gold).statistic
  return 0.0 if math.isnan(result) else 100 * float(result)
