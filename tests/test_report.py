"""The results page: its mathematics, what it says of partial records, and when its check is red."""

import copy
import dataclasses
import itertools
import json
import os
import random
import re
import statistics as plain
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from compacter_jax.errors import ConfigError, DataError, StorageError
from experiments.report import (
  agreement,
  beside_paper,
  labels,
  page,
  paper,
  records,
  series,
  skill,
  summary,
  tables,
)
from experiments.report.markdown import listed
from experiments.report.statistics import (
  Spread,
  chance,
  difference,
  pareto,
  rank_correlation,
  ranks,
)
from tests.report_records import SEEDS, SIZES, TASKS, values

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def whole():
  return records.parse(values())


def small(*runs, rows=('full', 'compacter', 'prompt'), tasks=('cola', 'rte'), **changes):
  """Records of a few runs, each (row, task, seed, score) of the final part, or a whole dict."""
  made = values()
  made['rows'] = [row for row in made['rows'] if row['name'] in rows]
  made['tasks'] = [task for task in made['tasks'] if task['name'] in tasks]
  template = next(run for run in made['runs'] if run['part'] == 'final') | {'curve': []}
  made['runs'] = []
  for run in runs:
    if not isinstance(run, dict):
      row, task, seed, score = run
      run = {'row': row, 'task': task, 'seed': seed, 'validation': score, 'test': score}
    made['runs'].append(template | {'scores': {}} | run)
  return records.parse(made | {'planned': {}} | changes)


# ---- mathematics


def test_a_spread_is_the_mean_and_the_deviation_between_seeds():
  spread = Spread((1.0, 2.0, 4.0))
  assert (spread.count, spread.mean) == (3, pytest.approx(7 / 3))
  assert spread.deviation == pytest.approx(((16 + 1 + 25) / 9 / 2) ** 0.5)
  assert Spread((5.0,)).deviation is None and Spread((5.0,)).mean == 5


def test_a_difference_has_welchs_interval():
  rng = np.random.default_rng(0)
  for sizes in ((2, 2), (3, 3), (3, 5), (2, 7)):
    one, other = (rng.normal(0, 1 + n, n) for n in sizes)
    gap, margin = difference(Spread(tuple(one)), Spread(tuple(other)))
    interval = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert (gap - margin, gap + margin) == pytest.approx((interval.low, interval.high))
  assert difference(Spread((3.0,)), Spread((1.0, 2.0))) == (1.5, None)
  # Models that give all rows one answer score the same with each seed, but for no rounding.
  for score in 3.0, 50.917431192660544:
    for other in Spread((1.0, 1.0)), Spread((0.5, 1.5)):
      gap, margin = difference(Spread((score,) * 3), other)
      assert (gap, margin) == (pytest.approx(score - 1), None)


def test_ranks_and_their_correlation():
  assert ranks([10, 30, 20, 30]).tolist() == [1, 3.5, 2, 3.5]
  # 1 - 6 sum d^2 / n (n^2 - 1) with d = 0, 1, -1, 0
  assert rank_correlation([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(1 - 6 * 2 / 60)
  assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
  assert rank_correlation([1, 2], [1, 2]) is None
  assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
  rng = np.random.default_rng(0)
  for _ in range(20):
    one, other = rng.integers(0, 6, (2, 9))
    assert ranks(one) == pytest.approx(stats.rankdata(one))
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


@pytest.mark.parametrize('count', [5, 8, 12])
def test_chance_is_what_random_orders_give(count):
  rng = np.random.default_rng(0)
  orders = rng.permuted(np.tile(np.arange(count), (4_000, 1)), axis=1)
  found = np.array([np.corrcoef(np.arange(count), order)[0, 1] for order in orders])
  for level in -0.5, 0.0, 0.5, 0.9:
    assert chance(level, count) == pytest.approx(np.mean(found >= level - 1e-9), abs=0.03)


def test_the_chance_of_a_perfect_order_is_one_of_all():
  assert chance(1.0, 3) == pytest.approx(1 / 6)
  assert chance(1.0, 6) == pytest.approx(1 / 720)
  assert chance(1.0, 12) < 1e-6


def test_the_pareto_front_is_what_no_other_point_beats():
  rng = random.Random(0)
  for _ in range(200):
    points = [(rng.randrange(6), rng.randrange(6)) for _ in range(rng.randrange(1, 9))]
    beaten = [
      any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
      for point in points
    ]
    front = pareto(*zip(*points))
    assert sorted(front) == [i for i in range(len(points)) if not beaten[i]]
    assert [points[i] for i in front] == sorted(points[i] for i in front)


def test_an_average_is_of_seeds_that_have_all_tasks():
  found = small(
    ('full', 'cola', 1, 10), ('full', 'rte', 1, 50), ('full', 'cola', 2, 20),
    ('full', 'rte', 2, 70), ('full', 'cola', 3, 99), ('prompt', 'cola', 1, 30),
  )  # fmt: skip
  assert summary.average(found, 'full') == Spread((30, 45))
  assert summary.average(found, 'prompt') is None
  assert summary.average(found, 'prompt', ['cola']) == Spread((30,))
  assert summary.average(found, 'compacter') is None
  text = page.page(found)
  assert '| Full fine-tuning | 37.5 ± 10.6 (2 of 3) | 43.0 ± 48.8 | 60.0 ± 14.1 (2 of 3) |' in text
  assert '| Prompt-R | - | 30.0 (1 of 3) | - |' in text
  assert '- final, Full fine-tuning: RTE (seed 3).' in text
  assert '- final, Prompt-R: CoLA (seeds 2, 3) and RTE (seeds 1, 2, 3).' in text
  assert '**Not complete**: 12 runs missing, 0 failed' in text


def test_what_is_missing_is_the_rest_of_the_grid(whole):
  assert not any(summary.missing(whole, part) for part in records.TOLD)
  for part in records.TOLD:
    runs = whole.of(part)
    for gone in random.Random(0).sample(runs, 3):
      kept = tuple(run for run in whole.runs if run is not gone)
      cut = dataclasses.replace(whole, runs=kept)
      assert summary.missing(cut, part) == [gone.key]
  searched = tuple(run for run in whole.of('search') if run.row != 'full')
  bare = dataclasses.replace(whole, runs=searched)
  absent = [('search', 'full', task, 42, None) for task in ('cola', 'rte')]
  assert summary.missing(bare, 'search') == absent
  assert summary.missing(bare, 'final') == []  # nothing tells what there should be


def test_runs_that_only_chose_are_not_on_the_page():
  full = {'row': 'full', 'task': 'cola', 'seed': 1, 'test': 40.0, 'validation': 40.0, 'job': 'a'}
  chose = full | {'part': 'random_search', 'rate': 0.3, 'test': 43.21, 'job': 'b'}
  plain_page, text = (
    re.sub('fingerprint `.*?`', '', page.page(small(*runs)))
    for runs in ([full], [full, chose, chose | {'part': 'options', 'job': 'c'}])
  )
  took = re.compile(r'took [\d.]+ hours')
  chosen = ' Chosen on validation rows, never on test rows: options.'
  assert chosen in text and '43.2' not in text
  assert took.sub('', text.replace(chosen, '')) == took.sub('', plain_page)


def test_a_run_that_two_parts_share_took_its_time_once():
  full = {'row': 'full', 'task': 'cola', 'seed': 1, 'test': 40.0, 'validation': 40.0, 'job': 'a'}
  full['seconds'] = 3600.0
  for job, hours in ('a', '1.0'), ('b', '2.0'):
    text = page.page(small(full, full | {'part': 'search', 'job': job}))
    assert f'The runs took {hours} hours' in text


# ---- beside the paper


@pytest.mark.parametrize('benchmark', paper.BENCHMARKS, ids=lambda each: each.title)
def test_recalled_rows_give_their_printed_averages(benchmark):
  assert set(benchmark.rows) == set(paper.TITLES) == set(paper.COSTS)
  for row, cells in benchmark.rows.items():
    assert len(cells) == len(benchmark.tasks) + 2
    every = [number for task in benchmark.tasks for number in benchmark.numbers(row, task)]
    # 84.975 is printed as 84.97
    assert benchmark.printed(row) == pytest.approx(np.mean(every), abs=0.0055), row
    assert 0 < benchmark.trained(row) <= 100
  row, tasks = 'compacter', list(benchmark.tasks)[:2]
  each = [np.mean(benchmark.numbers(row, task)) for task in tasks]
  assert benchmark.average(row, tasks) == pytest.approx(np.mean(each))


def test_printed_changes_of_memory_divide_by_the_methods_own():
  full = paper.COSTS['full']
  for row, cost in paper.COSTS.items():
    if row != 'full':
      assert 100 * (cost.memory - full.memory) / cost.memory == pytest.approx(
        cost.printed, abs=0.006
      )
  assert paper.COSTS['compacter_pp'].memory_change == pytest.approx(-29.55, abs=0.005)
  assert paper.COSTS['compacter_pp'].time_change == pytest.approx(-26.51, abs=0.005)


def both(row, *scores):
  """Runs whose averages over the two tasks are the scores, one for each seed."""
  return [(row, task, seed, score) for seed, score in enumerate(scores) for task in ('cola', 'rte')]


def test_pairs_agree_disagree_or_stay_open():
  # In the paper, over CoLA and RTE: compacter 70.7, full 66.9, adapterdrop 67.0, prompt 27.6.
  found = small(
    *both('full', 50, 51, 52), *both('compacter', 40, 41, 42), *both('prompt', 30, 50, 10),
    *both('adapterdrop', 50, 51, 53),
    rows=('full', 'compacter', 'prompt', 'adapterdrop'),
  )  # fmt: skip
  ordering = agreement.ordering(found, paper.GLUE)
  assert ordering.published['compacter'] == pytest.approx((63.75 + 77.70) / 2)
  pairs = {(pair.high, pair.low): pair for pair in ordering.pairs()}
  verdicts = {key: pair.verdict for key, pair in pairs.items()}
  assert verdicts == {
    ('compacter', 'full'): agreement.DISAGREES,
    ('compacter', 'adapterdrop'): agreement.DISAGREES,
    ('compacter', 'prompt'): agreement.OPEN,  # its seeds are far apart
    ('full', 'prompt'): agreement.OPEN,
    ('adapterdrop', 'prompt'): agreement.OPEN,
  }  # adapterdrop and full are too close in the paper
  assert pairs['compacter', 'full'].here == pytest.approx(-10)
  published = [pair.published for pair in ordering.pairs()]
  assert published == sorted(published, reverse=True) and min(published) > ordering.gap
  assert len(dataclasses.replace(ordering, gap=0).pairs()) == 6
  text = page.page(found)
  assert '- Full fine-tuning is above Compacter (n = 4) by 10.0 ± 2.3 points; the paper' in text
  assert '0 clearly agree, 2 clearly disagree and 3 are open' in text


def test_agreement_needs_more_than_one_seed():
  found = small(*both('full', 50), *both('compacter', 60), *both('prompt', 10))
  ordering = agreement.ordering(found, paper.GLUE)
  assert {pair.verdict for pair in ordering.pairs()} == {agreement.OPEN}
  assert ordering.correlation == pytest.approx(1)
  assert 'One seed each has no deviation' in page.page(found)
  twice = small(*both('full', 50, 51), *both('compacter', 60, 61), *both('prompt', 10, 11))
  verdicts = [pair.verdict for pair in agreement.ordering(twice, paper.GLUE).pairs()]
  assert verdicts == [agreement.AGREES] * 3


def test_correlations_are_of_the_shared_tasks_and_of_what_does_not_stand_out(whole):
  ordering = agreement.ordering(whole, paper.GLUE)
  assert ordering.tasks == list(TASKS)
  ours = [ordering.ours[row].mean for row in paper.TITLES]
  for theirs, found in (
    ([paper.GLUE.average(row, list(TASKS)) for row in paper.TITLES], ordering.correlation),
    ([paper.GLUE.printed(row) for row in paper.TITLES], ordering.printed_correlation),
  ):
    assert found == pytest.approx(stats.spearmanr(ours, theirs).statistic)
  assert set(paper.TITLES) - set(ordering.near) == {'prompt', 'prompt_vocabulary'}
  kept = [(ordering.ours[row].mean, ordering.published[row]) for row in ordering.near]
  assert ordering.near_correlation == pytest.approx(stats.spearmanr(*zip(*kept)).statistic)
  assert not agreement.ordering(whole, paper.SUPERGLUE).tasks


# ---- the file


def test_what_is_written_is_read(whole, tmp_path):
  file = tmp_path / 'records.json'
  records.write(file, whole)
  assert records.read(file) == whole
  lines = file.read_text().splitlines()
  assert sum('"part"' in line for line in lines) == len(whole.runs)
  one = records.fingerprint(whole)
  file.write_text(json.dumps(json.loads(file.read_text()), indent=3))
  assert records.fingerprint(records.read(file)) == one
  with pytest.raises(StorageError):
    records.write(tmp_path / 'absent/records.json', whole)


def test_what_cannot_be_read_is_not_written(whole, tmp_path):
  run = whole.runs[0]
  with pytest.raises(ConfigError, match='the same'):
    dataclasses.replace(whole, runs=(run, run))
  wrong = dataclasses.replace(whole, base=records.Base('many', '0'))
  with pytest.raises(ConfigError, match='base.parameters'):
    records.write(tmp_path / 'records.json', wrong)
  assert not list(tmp_path.iterdir())


def changed(*path, to=..., drop=False):
  """The made-up records with one value replaced, removed or, where it is callable, made anew."""
  made = values()
  inner = made
  for key in path[:-1]:
    inner = inner[key]
  if drop:
    del inner[path[-1]]
  else:
    inner[path[-1]] = to(inner.get(path[-1])) if callable(to) else to
  return made


FAULTS = [
  (changed('rows', drop=True), 'rows'),
  (changed('more', to=1), "'more'"),
  (changed('runs', to={}), 'runs'),
  (changed('runs', 7, 'sed', to=1), "runs[7] has no setting 'sed'"),
  (changed('runs', 7, 'seed', to='42'), 'runs[7].seed'),
  (changed('runs', 7, 'seed', drop=True), 'runs[7]'),
  (changed('runs', 7, 'test', to=float('nan')), 'runs[7].test'),
  (changed('runs', 7, 'test', to=True), 'runs[7].test'),
  (changed('runs', 80, 'test', to=None), 'runs[80].test'),
  (changed('runs', 0, 'validation', to=None), 'runs[0].validation'),
  (changed('runs', 7, 'failed', to='loss nan'), 'runs[7]'),
  (changed('runs', 7, 'part', to='finale'), "did you mean 'final'"),
  (changed('runs', 7, 'row', to='compactor'), "did you mean 'compacter'"),
  (changed('runs', 7, 'task', to='colla'), "did you mean 'cola'"),
  (changed('runs', 7, 'curve', to=[[1, 2, 3]]), 'runs[7].curve'),
  (changed('runs', 7, 'curve', to=[[2, 5.0], [1, 4.0]]), 'runs[7].curve'),
  (changed('runs', 7, 'curve', to=[[1, 'x']]), 'runs[7].curve'),
  (changed('runs', 7, 'scores', to={'f1': 'high'}), 'runs[7].scores.f1'),
  (changed('runs', to=lambda runs: [*runs, runs[80]]), 'runs'),
  (changed('rows', to=lambda rows: [*rows, rows[0]]), 'full'),
  (changed('base', to=7), 'base'),
  (changed('base', 'parameters', to=-1.5), 'base.parameters'),
  (changed('versions', to={'jax': 1}), 'versions'),
  (changed('planned', to={'last': 1}), 'last'),
  ([], 'an object'),
]


@pytest.mark.parametrize('made, told', FAULTS, ids=range(len(FAULTS)))
def test_wrong_records_are_told_with_the_place(made, told, tmp_path):
  file = tmp_path / 'records.json'
  file.write_text(json.dumps(made))
  with pytest.raises(DataError) as caught:
    records.read(file)
  assert told in str(caught.value) and 'records.json' in str(caught.value)


@pytest.mark.parametrize(
  'content', [b'', b'{', b'\xff', b'{"suite": 1, "suite": 2}', b'[' * 100_000], ids=range(5)
)
def test_damaged_files_are_told(content, tmp_path):
  file = tmp_path / 'records.json'
  file.write_bytes(content)
  with pytest.raises(DataError, match='damaged'):
    records.read(file)
  with pytest.raises(DataError, match='cannot be read'):
    records.read(tmp_path / 'none.json')


def test_files_cut_anywhere_are_told(tmp_path):
  file = tmp_path / 'records.json'
  records.write(file, small(('full', 'cola', 1, 10)))
  whole = file.read_bytes()
  for length in range(0, len(whole) - 3, 37):
    file.write_bytes(whole[:length])
    with pytest.raises(DataError):
      records.read(file)


# ---- the page


def cells(text, start):
  """The cells of the first table line that starts with this cell, below the scores' heading."""
  after = text[text.index('## Scores and costs') :]
  line = next(line for line in after.splitlines() if line.startswith(f'| {start} |'))
  return [cell.strip() for cell in line.strip('|').split('|')]


def test_every_cell_of_the_main_table_is_the_mean_of_its_runs(whole):
  made, text = values(), page.page(whole)
  for row in made['rows']:
    found = cells(text, row['title'])
    score = {
      (run['task'], run['seed']): run['test']
      for run in made['runs']
      if run['part'] == 'final' and run['row'] == row['name']
    }
    for cell, task in zip(found[2:], TASKS):
      each = [score[task, seed] for seed in SEEDS]
      assert cell == f'{plain.fmean(each):.1f} ± {plain.stdev(each):.1f}'
    each = [plain.fmean(score[task, seed] for task in TASKS) for seed in SEEDS]
    assert found[1] == f'{plain.fmean(each):.1f} ± {plain.stdev(each):.1f}'
    assert found[8] == f'{row["trained"]:,}' and found[12] == f'{row["time"]:.2f}'
  likely = [task['constant'] for task in made['tasks']]
  expected = [f'{plain.fmean(likely):.1f}', *(f'{score:.1f}' for score in likely)]
  assert cells(text, '*best single answer*')[1:8] == expected


def test_the_search_shows_every_rate_and_what_was_chosen():
  template = {'part': 'search', 'row': 'full', 'seed': 1}
  runs = [
    template | {'rate': rate, 'task': task, 'validation': score}
    for rate, both in ((0.001, (10, 20)), (0.01, (30, 41)), (0.1, (50, 61)))
    for task, score in zip(('cola', 'rte'), both)
  ]
  lost = template | {'row': 'compacter', 'validation': None, 'test': None, 'scores': None}
  runs += [lost | {'rate': 0.1, 'task': 'cola', 'failed': 'loss\nis | nan'}]
  runs += [template | {'row': 'compacter', 'rate': 0.01, 'task': 'rte', 'validation': 7}]
  text = page.page(small(*runs))
  assert '| method | 0.001 | 0.01 | 0.1 |' in text
  assert '| Full fine-tuning | 15.0 | **35.5** | 55.5 |' in text
  assert '| Compacter (n = 4) |  | 1 of 2 runs | 1 of 2 failed |' in text
  assert '- Full fine-tuning: 0.1 is better on validation rows than the chosen rate.' in text
  assert '- Compacter (n = 4): the chosen rate 0.01 has no whole search.' in text
  assert 'smallest tried' in text and ': Compacter (n = 4).' in text
  assert 'failed (search of rates): Compacter (n = 4), CoLA, seed 1, rate 0.1' in text
  assert 'loss is | nan' in text and '\nis | nan' not in text


def test_failed_runs_have_no_score_and_are_named():
  failed = {'row': 'full', 'task': 'rte', 'seed': 2, 'validation': None, 'test': None}
  failed |= {'scores': None, 'failed': 'Not finite.', 'curve': [[100, 5.0]]}
  runs = [*both('full', 50, 52), ('full', 'cola', 2, 54), failed, *both('compacter', 10, 11, 12)]
  found = small(*runs)
  assert summary.average(found, 'full') == Spread((50, 52))
  text = page.page(found)
  assert '51.0 ± 1.4 (2 of 3)' in text and 'RTE, seed 2, rate 0.01' in text
  assert 'looks better and steadier than it is' in text and '1 failed' in text
  assert not series.curves(found)


def test_few_rows_are_averaged_and_compared_where_both_have_them():
  low = lambda row, size, task, seed, score: {
    'part': 'low_resource', 'row': row, 'train_rows': size, 'task': task, 'seed': seed,
    'validation': score, 'test': score,
  }  # fmt: skip
  runs = [
    low(row, 100, task, seed, base + seed)
    for row, base in (('full', 50), ('compacter', 60))
    for task in ('cola', 'rte')
    for seed in (1, 2, 3)
  ]
  runs += [low('full', 500, 'rte', 1, 70)]
  found = small(*runs)
  assert series.few_rows(found) == {
    'full': [(100, Spread((51, 52, 53)))],
    'compacter': [(100, Spread((61, 62, 63)))],
  }
  (told,) = tables.compared(found)
  assert told.startswith('With 100 rows Compacter (n = 4) is 10.0 points above full') and (
    'clearly so (± 2.3 at 95 %)' in told
  )
  text = page.page(found)
  assert '| average | Full fine-tuning | 52.0 ± 1.0 | - |' in text
  assert '| RTE | Full fine-tuning | 52.0 ± 1.0 | 70.0 (1 of 3) |' in text
  assert '- few training rows, Compacter (n = 4): RTE of 500 rows (seeds 1, 2, 3).' in text


def test_pretrained_weights_are_told_apart_from_random_ones_by_their_seeds():
  random = lambda row, seed, score: {
    'part': 'random_base', 'row': row, 'task': 'rte', 'seed': seed, 'validation': score,
    'test': score,
  }  # fmt: skip
  final = lambda *args: random(*args) | {'part': 'final'}
  runs = [final('compacter', seed, 60 + seed) for seed in (1, 2, 3)]
  runs += [random('compacter', seed, 50 + seed) for seed in (1, 2, 3)]
  runs += [final('full', seed, 50 + 9 * seed) for seed in (1, 2, 3)]
  runs += [random('full', seed, 50 + 8 * seed) for seed in (1, 2)]
  text = page.page(small(*runs))
  assert '| RTE | Compacter (n = 4) | 62.0 ± 1.0 | 52.0 ± 1.0 |' in text
  assert 'Compacter (n = 4) on RTE: pretrained weights are 10.0 points above random ones' in text
  assert 'and clearly so (± 2.3 at 95 %)' in text
  assert '| RTE | Full fine-tuning | 68.0 ± 9.0 | 62.0 ± 5.7 (2 of 3) |' in text
  assert 'on RTE: pretrained weights are 6.0 points above random ones, which is not clear' in text
  assert '- random weights, Full fine-tuning: RTE (seed 3).' in text
  assert 'Missing: there is no run on random weights.' in page.page(small(*runs[:3]))


def test_curves_are_of_the_steps_that_all_seeds_have():
  curve = lambda seed, points: {
    'row': 'full', 'task': 'rte', 'seed': seed, 'validation': 1.0, 'test': 1.0, 'curve': points,
  }  # fmt: skip
  more = [[4, 40], [5, 50]]
  found = small(
    curve(1, [[1, 10], [2, 20], [3, 30], *more[:1]]), curve(2, [[2, 22], [3, 34], *more])
  )
  expected = [(2, Spread((20, 22))), (3, Spread((30, 34))), (4, Spread((40, 40)))]
  assert series.curves(found) == {'rte': {'full': expected}}
  short = small(curve(1, [[1, 10], [2, 20]]))
  assert not series.curves(short)  # two points are no curve


def test_every_score_is_in_the_page():
  """Whatever final or low-resource score changes by a point, the page says so."""
  made = values()
  rng = random.Random(0)
  plainly = lambda made: re.sub('fingerprint `.*?`', '', page.page(records.parse(made)))
  before = plainly(made)
  for part, score in (('final', 'test'), ('low_resource', 'test'), ('search', 'validation')):
    for run in rng.sample([run for run in made['runs'] if run['part'] == part], 8):
      kept, run[score] = run[score], run[score] + 1
      assert plainly(made) != before, run
      run[score] = kept
  assert plainly(made) == before


def test_any_part_of_the_records_makes_a_page_that_says_what_is_missing():
  made = values()
  rng = random.Random(0)
  for share in (0, 0.01, 0.05, 0.3, 0.7, 0.98):
    cut = copy.deepcopy(made)
    cut['runs'] = [run for run in cut['runs'] if rng.random() < share]
    for row in cut['rows']:
      for name in 'rate', 'time', 'memory', 'file_bytes':
        if rng.random() > share:
          row[name] = None
    text = page.page(records.parse(cut))
    assert 'Nothing: every method' not in text and not re.search(r'\b(nan|inf|None)\b', text)
    assert 'planned runs are there' in text or 'there is no run.' in text
    assert text == page.page(records.parse(cut))
  for name in 'rows', 'tasks':
    empty = copy.deepcopy(made) | {'runs': [], name: [], 'planned': {}}
    assert 'Nothing was run yet.' in page.page(records.parse(empty))


def test_a_whole_suite_lacks_nothing_unless_more_was_planned(whole):
  assert 'Nothing: every method has the runs of all others' in page.page(whole)
  made = changed('planned', 'final', to=217)
  assert '- final: 216 of 217 planned runs are there.' in page.page(records.parse(made))


def test_methods_are_told_apart_from_full_fine_tuning_by_their_seeds():
  rows = 'full', 'adapter', 'compacter', 'prompt', 'bitfit'
  runs = both('full', 50, 51, 52), both('adapter', 60, 61, 62), both('compacter', 50, 52, 54)
  text = page.page(small(*sum(runs, []), *both('prompt', 1, 2, 3), *both('bitfit', 9), rows=rows))
  assert (
    '- Full fine-tuning has 51.0 % on average over 2 tasks. Beside it, clearly above: Adapter; '
    'clearly below: Prompt-R; too close to call: Compacter (n = 4); of seeds that cannot tell: '
    'BitFit (1 of 3 seeds).'
  ) in text


def test_what_no_method_learns_is_said():
  found = small(*both('full', 50, 51), *both('compacter', 57, 58))
  assert 'On RTE no method is clearly above' in page.page(found)  # 53.2 + 2 x 4.2
  better = small(*both('full', 50, 51), *both('compacter', 80, 81))
  assert 'no method is clearly above' not in page.page(better)


def test_the_order_is_of_what_was_learned():
  """CoLA is at its constant and prompt at no rate better than one answer: both are left out."""
  rows = 'full', 'adapter', 'compacter', 'prompt'
  scores = {
    'full': (0, 70, 60),
    'adapter': (0, 80, 70),
    'compacter': (0, 75, 40),
    'prompt': (0, 53, 0),
  }
  runs = [
    (row, task, seed, score + seed * (task != 'cola'))
    for row, each in scores.items()
    for task, score in zip(('cola', 'rte', 'stsb'), each)
    for seed in (1, 2, 3)
  ]
  search = [
    {'part': 'search', 'row': row, 'task': 'rte', 'seed': 42, 'rate': rate, 'validation': score}
    for row in rows
    for rate, score in ((0.01, 53.0), (0.1, 53.0 if row == 'prompt' else 60.0))
  ]
  found = small(
    *runs, *[run | {'test': None} for run in search], rows=rows, tasks=('cola', 'rte', 'stsb'),
    seeds=[1, 2, 3], absent=['MultiRC'],
  )  # fmt: skip
  found = dataclasses.replace(
    found, tasks=tuple(dataclasses.replace(t, constant_validation=53.0) for t in found.tasks)
  )
  assert [task.name for task in skill.unlearnt(found)] == ['cola']
  assert skill.untuned(found) == ['prompt']
  (ordering,) = beside_paper.learnt_orderings(found)
  assert sorted(ordering.tasks) == ['rte', 'stsb']
  assert set(ordering.ours) == {'full', 'adapter', 'compacter'}
  text = page.page(found)
  assert 'Left out, because no method learned it: CoLA.' in text
  assert 'Left out, because no rate that was tried made it learn: Prompt-R.' in text
  assert '- Prompt-R: no rate is better than the best single answer, so that it was not' in text
  assert '4 methods on 3 of 4 tasks' in text and '| average of 3 of 4 tasks |' in text
  assert '- MultiRC: there is no run, and no average has it.' in text
  assert '| with all that was left out | 4 |' in text and '| RTE alone | 3 |' in text


def test_where_nothing_was_learned_no_order_is_told():
  text = page.page(small(*both('full', 0, 0), *both('compacter', 0, 0), *both('prompt', 0, 0)))
  assert 'On CoLA and RTE nothing was learned that could be compared.' in text
  assert 'rank correlation' not in text


def test_runs_of_several_states_of_the_code_are_told():
  one, two = ({'row': 'full', 'task': 'rte', 'seed': seed, 'code': f'{seed}'} for seed in (1, 2))
  score = {'validation': 50.0, 'test': 50.0}
  assert 'made by 2 states of the code' in page.page(small(one | score, two | score))
  assert 'states of the code' not in page.page(small(one | score))


def test_unlike_runs_are_pointed_out():
  other = {'row': 'full', 'task': 'rte', 'seed': 1, 'rate': 0.5, 'train_rows': 77, 'invalid': 2}
  text = page.page(small(other | {'validation': 50.0, 'test': 50.0}))
  assert '- Full fine-tuning: final runs have the rate 0.5, not the chosen one.' in text
  assert '- Full fine-tuning: final runs on RTE trained on 77 rows.' in text
  assert '- Full fine-tuning: 2 outputs on test rows' in text


def test_a_list_reads_as_one():
  assert [listed(names) for names in ([], ['a'], ['a', 'b'], ['a', 'b', 'c'])] == [
    '', 'a', 'a and b', 'a, b and c',
  ]  # fmt: skip


# ---- pictures and the command


def test_names_cover_nothing_and_stay_inside():
  rng = np.random.default_rng(0)
  bounds = np.array([0, 0, 900, 600])
  for _ in range(10):
    points = rng.uniform((60, 60), (840, 540), (12, 2))
    sizes = np.stack([rng.uniform(40, 120, 12), np.full(12, 16)], 1)
    taken = np.concatenate([points - 5, points + 5], 1)
    corners = labels.place(points, sizes, bounds, taken)
    assert (corners >= 0).all() and (corners + sizes <= bounds[2:]).all()
    for i, j in itertools.combinations(range(12), 2):
      apart = (corners[i] + sizes[i] <= corners[j]) | (corners[j] + sizes[j] <= corners[i])
      assert apart.any(), (i, j)
    for corner, size in zip(corners, sizes):
      inside = (taken[:, :2] < corner + size) & (corner < taken[:, 2:])
      assert not inside.all(1).any()


@pytest.fixture(scope='module')
def folder(whole, tmp_path_factory):
  out = tmp_path_factory.mktemp('report')
  records.write(out / 'records.json', whole)
  (out / 'results_head.md').write_text('What stands\nin front.\n')
  page.write(out, whole)
  return out


def test_pictures_have_their_size_and_their_records(folder, whole):
  from matplotlib.image import imread

  for each in page.PICTURES:
    assert imread(folder / each.file).shape[:2] == (600, 900)
    assert f'Source\0{records.fingerprint(whole)}'.encode() in (folder / each.file).read_bytes()
    assert f'({each.file})' in (folder / page.PAGE).read_text()
  assert page.page(whole, 'X').startswith('# Results: glue_nano\n\nX\n\n## ')
  assert 'What stands\nin front.' in (folder / page.PAGE).read_text()


def test_equal_records_give_equal_bytes_whatever_the_users_settings(folder, whole, tmp_path):
  import matplotlib

  (tmp_path / 'results_head.md').write_bytes((folder / 'results_head.md').read_bytes())
  with matplotlib.rc_context({'font.size': 30, 'savefig.dpi': 20}):
    written = page.write(tmp_path, whole)
  assert len(written) == 5
  for path in written:
    assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_pictures_of_almost_nothing_are_drawn(tmp_path):
  one = {'row': 'prompt', 'task': 'rte', 'seed': 1, 'validation': 50.0, 'test': 50.0}
  runs = (
    one | {'curve': [[5, 50.0], [6, 50.0], [7, 50.0]]},
    one | {'part': 'low_resource', 'train_rows': 1},
  )
  page.write(tmp_path, small(*runs, tasks=('rte',)))
  assert {each.file for each in page.PICTURES} < {path.name for path in tmp_path.iterdir()}


def test_pictures_without_data_are_neither_drawn_nor_left(folder, tmp_path):
  made = values()
  made['runs'] = [run for run in made['runs'] if run['part'] == 'search']
  bare = records.parse(made)
  for each in page.PICTURES:
    (tmp_path / each.file).write_bytes(b'of other records')
  page.write(tmp_path, bare)
  assert [path.name for path in tmp_path.iterdir()] == [page.PAGE]
  text = (tmp_path / page.PAGE).read_text()
  assert text.count('missing, there is no data for it') == 4 and '![' not in text
  page.check(tmp_path, bare)
  (tmp_path / page.PICTURES[2].file).write_bytes((folder / page.PICTURES[2].file).read_bytes())
  with pytest.raises(DataError, match='picture'):
    page.check(tmp_path, bare)


def test_the_check_sees_one_digit_anywhere(folder, whole, tmp_path):
  page.check(folder, whole)
  for seed in range(6):
    made = values()
    run = random.Random(seed).choice(made['runs'])
    run['test'] = round(run['test'] + 0.01, 2)
    with pytest.raises(DataError, match='not what the records make'):
      page.check(folder, records.parse(made))
  for file in folder.iterdir():
    (tmp_path / file.name).write_bytes(file.read_bytes())
  text = (folder / page.PAGE).read_text()
  for wrong in (text.replace('61.76', '61.77', 1), text + '\n', text[:-200], ''):
    (tmp_path / page.PAGE).write_text(wrong)
    with pytest.raises(DataError, match='line'):
      page.check(tmp_path, whole)
  (tmp_path / page.PAGE).write_text(text)
  page.check(tmp_path, whole)
  picture = page.PICTURES[0]
  (tmp_path / picture.file).write_bytes(picture.draw(whole, 'of others'))
  with pytest.raises(DataError, match=picture.file):
    page.check(tmp_path, whole)
  (tmp_path / picture.file).unlink()
  with pytest.raises(DataError, match=picture.file):
    page.check(tmp_path, whole)


def command(*flags, code=('-m', 'experiments.report')):
  return subprocess.run(
    [sys.executable, *code, *map(str, flags)],
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
  )


def test_the_command_checks_and_says_how_to_mend(folder, tmp_path):
  done = command('--records', folder / 'records.json', '--check', folder)
  assert not done.returncode and not done.stderr, done.stderr
  text = (folder / 'records.json').read_text()
  (tmp_path / 'records.json').write_text(text.replace('"seconds": 60.5', '"seconds": 60.6', 1))
  done = command('--records', tmp_path / 'records.json', '--check', folder)
  assert done.returncode == 3 and 'Traceback' not in done.stderr
  assert f'--write {folder}' in done.stderr and 'results.md, line' in done.stderr
  assert command('--records', tmp_path / 'records.json').returncode == 2
  done = command('--records', tmp_path / 'records.json', '--write', tmp_path / 'records.json/x')
  assert done.returncode == 6 and 'Traceback' not in done.stderr


def test_neither_jax_nor_matplotlib_is_loaded_before_it_is_needed():
  code = (
    'import experiments.report.page, sys; print({"jax", "matplotlib", "scipy"} & {*sys.modules})'
  )
  assert command(code=('-c', code)).stdout.strip() == 'set()'


def test_sizes_of_the_made_up_suite(whole):
  """What the other tests rest on."""
  assert summary.sizes(whole) == list(SIZES) and summary.seeds(whole, 'final') == sorted(SEEDS)
  assert {len(line) for line in series.few_rows(whole).values()} == {len(SIZES)}
  assert set(series.curves(whole)) == set(TASKS)
