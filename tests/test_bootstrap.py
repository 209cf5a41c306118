"""Intervals: each resample is the metric of the rows drawn, and all of them spread as they must."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compacter_jax import bootstrap, generation_metrics, metrics
from compacter_jax.bootstrap import draw, intervals
from compacter_jax.data.registry import CHANGES, TASKS
from compacter_jax.errors import ConfigError, DataError
from compacter_jax.weighted_metrics import METRICS, Rows, weighted
from experiments.benchmarks import intervals as benchmark

DIGITS = ['0', '1', '2', ' 1', 'x', 'y', '']
NUMBERS = ['0.0', '1.5', '2.5', '2.5', '5.0', 'x']
WORDS = ['the cat sat', 'the cat sat on a mat', 'a dog', 'cat', 'x', '']
ROWS = {
  'accuracy': (DIGITS, DIGITS),
  'f1_with_invalid': (DIGITS, ['0', '1']),
  'macro_f1': (DIGITS, ['0', '1', '2']),
  'matthews': (DIGITS, ['0', '1', '2']),
  'pearson': (NUMBERS, NUMBERS[:-1]),
  'spearman': (NUMBERS, NUMBERS[:-1]),
  'exact_match_by_group': (DIGITS, ['0', '1']),
  'parity_by_group': (DIGITS, ['0', '1']),
  'counted_once': (DIGITS, ['0', '1']),
  'squad_exact_match': (WORDS, WORDS[:3]),
  'squad_f1': (WORDS, WORDS[:3]),
  'referent_accuracy': (WORDS, WORDS[:3]),
  'exact_match': (WORDS, WORDS[:3]),
  'token_f1': (WORDS, WORDS[:3]),
  'rouge_l': (WORDS, WORDS[:3]),
  'bleu': (WORDS, WORDS[:3]),
}
KNOWN = [getattr(metrics, name, None) or generation_metrics.GENERATION.get(name) for name in ROWS]
KNOWN[list(ROWS).index('counted_once')] = metrics.once(metrics.accuracy)


def sample(name, n=200, seed=0, groups=40):
  """Outputs, of which most are right, references and groups."""
  random = np.random.default_rng(seed)
  outputs, gold = ROWS[name]
  references = random.choice(gold, n).tolist()
  kept = random.random(n) < 0.6
  predictions = [r if k else str(random.choice(outputs)) for r, k in zip(references, kept)]
  return predictions, references, random.integers(groups, size=n).tolist()


def test_every_metric_of_every_task_has_an_interval():
  changes = (change for style in CHANGES.values() for change in style.values())
  chosen = [task.metrics for task in TASKS.values()]
  chosen += [change['metrics'] for change in changes if 'metrics' in change]
  used = {metric.__name__ for each in chosen for metric in each}
  assert used | set(generation_metrics.GENERATION) <= set(METRICS) == set(ROWS)


def test_units_may_be_numbered_in_any_order():
  """Rows of one unit each, of which those at 0 and 1 are drawn: a constant side, so 0."""
  texts, unit = ['0', '0', '1', '0'], np.array([0, 2, 1, 3])
  scored = weighted(metrics.matthews, Rows(texts, texts, [], unit))
  assert scored.of(scored.columns)(np.array([[1.0, 0, 1, 0], [0, 1, 1, 0]])).tolist() == [0, 100]


@pytest.mark.parametrize('units', ['rows', 'groups', 'one row a group'])
@pytest.mark.parametrize('metric', KNOWN, ids=lambda m: m.__name__)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_weights_are_repetitions(metric, units, data):
  """What is computed from counts is what the metric says of rows that stand there as often."""
  n = data.draw(st.integers(1, 12))
  outputs, gold = ROWS[metric.__name__]
  rows = lambda values: data.draw(st.lists(st.sampled_from(values), min_size=n, max_size=n))
  predictions, references = rows(outputs), rows(gold)
  unit = np.arange(n)
  if units == 'groups':
    groups = rows(range(4))
    unit = np.unique(groups, return_inverse=True)[1]
  times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))[: unit.max() + 1]
  times[0] += 1
  # Each time that a group is drawn, it counts as another group.
  drawn = [(row, k) for row in range(n) for k in range(times[unit[row]])]
  told = 'squad' in metric.__name__  # whose groups name the right texts after their id
  right = lambda row: (references[row], 'cat') if told else ()
  groups = [((unit[row], k), *right(row)) for row, k in drawn]
  pick = lambda values: [values[row] for row, _ in drawn]
  if metric in generation_metrics.GENERATION.values():
    groups = []  # only there are groups right texts alone
  ((name, expected),) = metric(pick(predictions), pick(references), groups).items()
  alone = [(u, *right(row)) for row, u in enumerate(unit.tolist())] if groups else []
  scored = weighted(metric, Rows(predictions, references, alone, unit))
  assert scored
  score = scored.of(scored.columns)(np.stack([times, times + 1]).astype(float))
  assert scored.name == name
  assert score[0] == pytest.approx(expected, abs=1e-6)


def slow(task_metrics, predictions, references, groups, by_group, resamples, seed):
  """Intervals by the definition."""
  random, table = np.random.default_rng(seed), []
  units = [[row] for row in range(len(references))]
  if by_group:
    units = [[i for i, g in enumerate(groups) if g == group] for group in sorted(set(groups))]
  for _ in range(resamples):
    chosen = random.integers(len(units), size=len(units))
    rows = [(row, k) for k, unit in enumerate(chosen) for row in units[unit]]
    drawn = ([values[row] for row, _ in rows] for values in (predictions, references))
    table.append(metrics.score(task_metrics, *drawn, [k for _, k in rows]))
  return {
    name: np.percentile([row[name] for row in table], [2.5, 97.5]).tolist() for name in table[0]
  }


@pytest.mark.parametrize(
  'names',
  [
    ('f1_with_invalid', 'accuracy'),
    ('matthews',),
    ('spearman', 'pearson'),
    ('f1_with_invalid', 'exact_match_by_group'),
  ],
  ids='-'.join,
)
def test_intervals_are_those_of_direct_resampling(names, monkeypatch):
  chosen = [getattr(metrics, name) for name in names]
  args = chosen, *sample(names[0], n=60, groups=12)
  expected = slow(*args, 'exact_match_by_group' in names, resamples=500, seed=1)
  for few in 1, 500:  # either way of drawing
    monkeypatch.setattr(bootstrap, 'FEW', few)
    found = intervals(*args)
    assert found.keys() == expected.keys()
    for name, (low, high) in expected.items():
      width = high - low
      assert width > 5
      assert found[name] == pytest.approx([low, high], abs=0.2 * width)


@pytest.mark.parametrize('name', ['accuracy', 'pearson'])
def test_intervals_are_those_of_scipy(name):
  from scipy.stats import bootstrap as scipy_bootstrap

  predictions, references, _ = sample(name, n=150)
  if name == 'accuracy':
    right = [p.strip() == r.strip() for p, r in zip(predictions, references)]
    data, statistic, paired = (np.array(right, float),), np.mean, False
  else:
    number = lambda text: -1.0 if text == 'x' else float(text)
    data = tuple(np.array([number(t) for t in side]) for side in (predictions, references))
    statistic, paired = (lambda x, y: np.corrcoef(x, y)[0, 1]), True
  expected = scipy_bootstrap(
    data, statistic, paired=paired, vectorized=False, n_resamples=1_000, method='percentile', rng=2
  ).confidence_interval
  (found, _) = intervals([getattr(metrics, name)], predictions, references).values()
  width = 100 * (expected.high - expected.low)
  assert found == pytest.approx([100 * expected.low, 100 * expected.high], abs=0.15 * width)


def test_accuracy_is_within_what_the_binomial_says():
  gold = ['1'] * 1_000
  (low, high) = intervals([metrics.accuracy], ['1'] * 800 + ['0'] * 200, gold)['accuracy']
  error = 1.96 * 100 * math.sqrt(0.8 * 0.2 / 1_000)
  assert [low, high] == pytest.approx([80 - error, 80 + error], abs=0.25)


def test_groups_are_drawn_whole():
  # Rows of a group are all right or all wrong: ten times as few facts as rows.
  right = [g % 2 == 0 for g in range(40) for _ in range(10)]
  groups = [g for g in range(40) for _ in range(10)]
  predictions, gold = ['1' if r else '0' for r in right], ['1'] * 400
  both = [metrics.accuracy, metrics.exact_match_by_group]
  whole = intervals(both, predictions, gold, groups)['accuracy']
  alone = intervals([metrics.accuracy], predictions, gold, groups)['accuracy']
  assert (whole[1] - whole[0]) / (alone[1] - alone[0]) == pytest.approx(math.sqrt(10), rel=0.1)


def test_draws_are_resamples():
  random = np.random.default_rng(0)
  for sizes in np.array([3, 1, 6]), np.ones(bootstrap.FEW + 1, int):
    counts = draw(random, sizes, 4_000)
    assert (counts.sum(1) == sizes.sum()).all()
    p = sizes / sizes.sum()
    error = np.sqrt(sizes.sum() * p * (1 - p) / 4_000)
    assert np.abs((counts.mean(0) - sizes) / error).max() < 5
    assert counts.var(0) == pytest.approx(sizes.sum() * p * (1 - p), rel=0.25)


def test_the_seed_decides_and_threads_do_not(monkeypatch):
  args = [metrics.spearman], *sample('spearman')
  first = intervals(*args, resamples=300)
  assert intervals(*args, resamples=300) == first
  assert intervals(*args, resamples=300, seed=1) != first
  monkeypatch.setattr(bootstrap.os, 'cpu_count', lambda: 1)
  assert intervals(*args, resamples=300) == first
  monkeypatch.setattr(bootstrap, 'AT_ONCE', 1)  # every resample is a chunk, none like another
  low, high = intervals(*args, resamples=300)['spearman']
  assert high - low == pytest.approx(first['spearman'][1] - first['spearman'][0], rel=0.3)


def test_a_perfect_score_has_no_width():
  gold = ['0', '1', '1']
  assert intervals([metrics.accuracy], gold, gold) == {
    'accuracy': [100, 100],
    'average': [100, 100],
  }


def test_a_foreign_metric_has_no_interval():
  foreign = lambda predictions, references, groups: {'length': 1.0}
  found = intervals([metrics.accuracy, foreign], ['1', '0'], ['1', '1'])
  assert set(found) == {'accuracy'}
  assert intervals([foreign], ['1', '0'], ['1', '1']) == {}


@pytest.mark.parametrize('bad', [{'level': 0}, {'level': 1}, {'level': 95}, {'resamples': 0}])
def test_an_impossible_interval_is_refused(bad):
  with pytest.raises(ConfigError, match='interval'):
    intervals([metrics.accuracy], ['1'], ['1'], **bad)


def test_nothing_to_score_is_an_error():
  with pytest.raises(DataError, match='nothing to score'):
    intervals([metrics.accuracy], [], [])


@pytest.mark.parametrize('metric', KNOWN, ids=lambda m: m.__name__)
def test_ten_thousand_resamples_of_ten_thousand_rows_are_quick(metric):
  predictions, references, groups = sample(metric.__name__, n=10_000, groups=2_000)
  right = zip(groups, references)
  args = [metric], predictions, references, list(right if 'squad' in metric.__name__ else groups)
  metrics.score(*args)  # imports
  begin = time.process_time()
  intervals(*args)
  assert time.process_time() - begin < 4  # of two cores


def test_the_benchmark_has_a_line_for_each_metric(capsys):
  benchmark.main(['--rows=60', '--resamples=50', '--rounds=1'])
  lines = [line.split(' | ') for line in capsys.readouterr().out.splitlines()[4:]]
  names = ['accuracy', 'f1', 'matthews', 'pearson', 'pearson', 'spearman', 'spearman']
  assert [line[0] for line in lines] == [f'| {name}' for name in names]
  for _, _, score, interval, *_ in lines:
    low, high = map(float, interval.split(' to '))
    assert low < float(score) < high
