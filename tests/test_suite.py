"""A suite of runs: what is planned, what is made once, what is chosen, what is told of it."""

import dataclasses
import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import pytest

from compacter_jax import t5, train
from compacter_jax.errors import ConfigError, DataError
from experiments import finetune, suites
from experiments.flops import count_flops
from experiments.report import page, records
from experiments.suite import __main__ as command
from experiments.suite import collect, plan, setup
from experiments.suite.definition import Suite
from experiments.suite.plan import (
  FINAL,
  LOW,
  OPTIONS,
  RANDOM,
  RANDOM_SEARCH,
  SEARCH,
  Place,
  Plan,
  Run,
)
from experiments.suite.runs import Runner
from tests.conftest import save_small

SUITE = Suite(
  name='small',
  model='nano',
  methods={'full': 'full fine-tuning', 'compacter': 'Compacter'},
  tasks={'quickstart': {'steps': 2}},
  settings={
    'batch_size': 4,
    'eval_every': 1,
    'optim.warmup': 1,
    'mesh.devices': 1,
    'data.max_source': 32,  # one width of all batches
    'data.max_train': 12,
    'data.max_validation': 8,
    'data.max_test': 8,
  },
  seeds=(42, 1),
  rates=(1e-3, 1e-2),
  search_tasks=('quickstart',),
  low_resource={'methods': ('full',), 'tasks': ('quickstart',), 'rows': (4, 8), 'steps': 2},
  random_base={'methods': ('compacter',), 'tasks': ('quickstart',)},
  fitted=True,
)

LESS = {'low_resource': None, 'random_base': None}  # of the parts


pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """A small T5 with the shipped vocabulary, in Hugging Face's format."""
  folder = tmp_path_factory.mktemp('base')
  sizes = {'d_model': 32, 'd_kv': 8, 'd_ff': 16, 'heads': 2}
  cfg = t5.Config(vocab=8_192, encoder_layers=1, decoder_layers=1, **sizes)
  return save_small(folder, cfg)


def place(base):
  return Place(str(base), cache='')


@pytest.fixture(scope='module')
def made(base, tmp_path_factory):
  """A runner that made every run, its folder, and how often each training step was compiled."""
  workdir = tmp_path_factory.mktemp('suite') / 'w'
  runner, programs, compiled = Runner(SUITE, place(base), workdir), [], []
  build, clear = train.make_step, jax.clear_caches

  def built(*args, **kwargs):
    programs.append(build(*args, **kwargs))
    return programs[-1]

  def cleared():
    compiled.extend(step._cache_size() for step in programs)
    programs.clear()
    clear()

  finetune._program.cache_clear()
  with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion('standard'):
    patch.setattr(train, 'make_step', built)
    patch.setattr(jax, 'clear_caches', cleared)
    runner.begin()
    runner.work()
    cleared()
  return runner, workdir, compiled


def reached(score):
  return {'validation': {'average': score}}


def filled(suite, score):
  """A plan of which every run reached what `score` gives for it."""
  return Plan(suite, lambda run: reached(score(run)))


def test_nothing_is_planned_on_what_is_not_known():
  nothing = Plan(SUITE, lambda run: None)
  assert {run.part for run in nothing.runs()} == {SEARCH, RANDOM_SEARCH}
  assert nothing.rate('full') is None
  planned = {SEARCH: 4, OPTIONS: 0, FINAL: 4, LOW: 4, RANDOM_SEARCH: 2, RANDOM: 2}
  assert nothing.planned() == planned


def test_the_rate_is_the_best_mean_over_the_search_tasks():
  suite = dataclasses.replace(
    SUITE,
    tasks={'cola': {}, 'sst2': {}, 'mrpc': {}},
    search_tasks=('cola', 'sst2'),
    **LESS,
  )
  scores = {('cola', 1e-3): 50, ('cola', 1e-2): 10, ('sst2', 1e-3): 60, ('sst2', 1e-2): 90}
  full = filled(suite, lambda run: scores[run.task, dict(run.changes)['optim.rate']])
  assert full.rate('full') == 1e-3  # 55 to 50, though 90 is the best of all
  assert {dict(run.changes)['optim.rate'] for run in full.final('full')} == {1e-3}
  assert len(list(full.final('full'))) == 3 * 2


def test_a_rate_that_failed_is_not_taken_and_a_method_that_fails_throughout_has_none():
  fails = Plan(SUITE, lambda run: reached(0) if run.changes[0][1] == 1e-3 else {'failed': 'NaN'})
  assert fails.rate('full') == 1e-3
  assert Plan(SUITE, lambda run: {'failed': 'NaN'}).rate('full') is None
  assert not list(Plan(SUITE, lambda run: {'failed': 'NaN'}).final('full'))


def test_random_weights_have_rates_of_their_own():
  scores = {1e-3: 50, 1e-2: 60}

  def score(run):
    rate = dict(run.changes)['optim.rate']
    return scores[rate] if run.part == RANDOM_SEARCH else -scores[rate]

  full = filled(SUITE, score)
  assert full.rate('compacter') == 1e-3
  assert [(dict(r.changes), r.seed) for r in full.random('compacter')] == [
    ({'optim.rate': 1e-2, 'random_base': True}, seed) for seed in SUITE.seeds
  ]
  assert not list(full.random('full'))


def test_options_are_picked_for_each_task():
  names = {'method.adapters.reduction': (8, 4), 'method.adapters.n': (2, 4)}
  suite = dataclasses.replace(
    SUITE,
    tasks={'cola': {}, 'mrpc': {}},
    rates=(),
    search_tasks=(),
    options={'compacter': names},
    **LESS,
  )
  best = {'cola': (8, 4), 'mrpc': (4, 2)}

  def score(run):
    chosen = dict(run.changes)
    return (chosen['method.adapters.reduction'], chosen['method.adapters.n']) == best[run.task]

  full = filled(suite, score)
  assert len(list(full.options('compacter'))) == 8
  assert not list(full.options('full'))
  for task, (reduction, n) in best.items():
    (picked,) = {run.changes for run in full.final('compacter') if run.task == task}
    assert dict(picked) == {
      'optim.rate': 3e-3,
      'method.adapters.reduction': reduction,
      'method.adapters.n': n,
    }
  assert full.planned()[OPTIONS] == 8
  nothing = Plan(suite, lambda run: None)
  assert [run.part for run in nothing.runs()] == [OPTIONS] * 8 + [FINAL] * 4
  assert not list(nothing.final('compacter'))


def test_every_run_is_made_and_the_plan_holds(made):
  runner, _, _ = made
  counts = {part: 0 for part in records.PARTS}
  for run in runner.plan.runs():
    counts[run.part] += 1
    assert runner.result(run) is not None
  assert counts == runner.plan.planned()


def test_equal_jobs_are_made_once(made):
  """The search made what the first seed counts with."""
  runner, workdir, _ = made
  folders = {runner.folder(run) for run in runner.plan.runs()}
  assert len(folders) == len(runner.plan.runs()) - len(SUITE.methods) - 1  # and on random weights
  assert {path.parent for path in workdir.glob('runs/*/*/*/results.json')} == folders


def test_nothing_is_made_twice_and_what_was_interrupted_is_made_again(made, base, tmp_path, capsys):
  _, workdir, _ = made
  copy = tmp_path / 'w'
  shutil.copytree(workdir, copy)
  before = {path: path.stat().st_mtime_ns for path in copy.glob('runs/*/*/*/results.json')}
  again = Runner(SUITE, place(base), copy)
  again.begin()
  again.work()
  assert capsys.readouterr().out == ''
  assert before == {path: path.stat().st_mtime_ns for path in before}
  gone = min(before)
  want = json.loads(gone.read_text())['validation']
  gone.unlink()
  (gone.parent / 'metrics.jsonl').write_text('half a li')
  again = Runner(SUITE, place(base), copy)
  again.work()
  assert 'left' in capsys.readouterr().out
  assert json.loads(gone.read_text())['validation'] == want
  assert 'half' not in (gone.parent / 'metrics.jsonl').read_text()


def test_a_limit_stops_after_so_many_runs(base, tmp_path):
  runner = Runner(SUITE, place(base), tmp_path / 'w')
  runner.begin()
  runner.work(lambda run: run.part == SEARCH, most=1)
  assert len(list(tmp_path.glob('w/runs/*/*/*/results.json'))) == 1


def test_the_runs_of_a_method_on_a_task_share_one_program(made):
  runner, workdir, compiled = made
  assert len(list(workdir.glob('runs/*/*/*/results.json'))) == 13
  # In each stretch of a method: few rows and random weights need no other program.
  stretches = [method for method, _ in itertools.groupby(run.method for run in runner.plan.runs())]
  assert compiled == [1] * len(stretches)


def test_a_run_that_diverges_is_told_and_the_others_go_on(base, tmp_path, capsys):
  longer, full = {'quickstart': {'steps': 4}}, {'full': 'full fine-tuning'}
  wild = {'rates': (1e-3, 1e30), 'tasks': longer, 'methods': full, 'seeds': (42,)}
  wild = dataclasses.replace(SUITE, **wild, **LESS)
  runner = Runner(wild, place(base), tmp_path / 'w')
  runner.begin()
  runner.work()
  assert runner.plan.rate('full') == 1e-3
  failed = list(tmp_path.glob('w/runs/*/*/*/failed.json'))
  assert failed
  assert 'step' in json.loads(failed[0].read_text())['failed']
  found = collect.collect(wild, place(base), runner, tmp_path / 'w')
  assert any(run.failed for run in found.of(records.SEARCH))
  assert not any(run.failed for run in found.of(records.FINAL))


def test_another_t5_is_refused(made, base, tmp_path):
  _, workdir, _ = made
  cfg, weights = t5.load(base, 'float32')
  weights = dict(weights) | {'token_embedding': weights['token_embedding'] + 1}
  t5.save(tmp_path / 'other', cfg, weights)
  before = (workdir / 'suite.json').read_bytes()
  with pytest.raises(ConfigError, match='another suite') as caught:
    Runner(SUITE, place(tmp_path / 'other'), workdir).begin()
  assert 'base' in str(caught.value)
  assert (workdir / 'suite.json').read_bytes() == before


def test_what_the_last_run_lacks_is_told_before_the_first(base, tmp_path):
  changed = lambda **changes: dataclasses.replace(SUITE, **changes)
  for suite, error, told in (
    (changed(tasks={**SUITE.tasks, 'sst2': {}}), DataError, 'sst2 has not been prepared'),
    (changed(method_settings={'compacter': {'method.adapters.n': 3}}), ConfigError, 'n=3'),
    (changed(settings={**SUITE.settings, 'mesh.tensor': 3}), ConfigError, 'No mesh of'),
  ):
    runner = Runner(suite, place(base), tmp_path / 'w')
    with pytest.raises(error, match=told):
      runner.begin()
    assert not (tmp_path / 'w').exists()
  runner = Runner(changed(tasks={**SUITE.tasks, 'sst2': {}}), place(base), tmp_path / 'w')
  runner.begin(lambda run: run.task == 'quickstart')  # its rows are there


def test_what_is_there_needs_no_rows(made, base, monkeypatch):
  monkeypatch.setattr('experiments.rows.read', lambda *_: pytest.fail('read rows'))
  Runner(SUITE, place(base), made[1]).begin()


def test_records_are_what_the_folders_hold(made, base, tmp_path):
  runner, workdir, _ = made
  found = collect.collect(SUITE, place(base), runner, workdir)
  records.write(tmp_path / 'records.json', found)
  assert records.read(tmp_path / 'records.json') == found
  assert len(found.runs) == sum(found.planned.values()) == 16
  for run in found.of(records.FINAL):
    (path,) = [
      runner.folder(r)
      for r in runner.plan.final(run.row)
      if (r.task, r.seed) == (run.task, run.seed)
    ]
    held = json.loads((path / 'results.json').read_text())
    assert (run.test, run.validation) == (held['test']['average'], held['validation']['average'])
    assert run.train_rows == 12
    assert [step for step, _ in run.curve] == [1, 2]
  assert {run.train_rows for run in found.of(records.LOW)} == {4, 8}
  (task,) = found.tasks
  assert (task.train, task.validation, task.test) == (12, 8, 8)
  assert found.rows[0].file_bytes > found.rows[1].file_bytes > 0
  page.write(tmp_path / 'page', found)
  assert 'Compacter' in (tmp_path / 'page/results.md').read_text()


def test_runs_that_others_made_are_not_made_again(made, base, tmp_path, capsys):
  """A suite on two machines: each makes a method, and either ends with the whole."""
  runner, workdir, _ = made
  whole = collect.collect(SUITE, place(base), runner, workdir)
  parts = []
  for name in SUITE.methods:
    runs = tuple(run for run in whole.runs if run.row == name)
    parts.append(tmp_path / f'{name}.json')
    records.write(parts[-1], dataclasses.replace(whole, runs=runs))
  here = tmp_path / 'w'
  shutil.copytree(workdir / 'runs' / 'full', here / 'runs' / 'full')
  for others in [parts[1]], parts:  # a run that is here and there is counted once
    again = Runner(SUITE, place(base), here, others)
    again.begin()
    again.work()
    assert capsys.readouterr().out == ''
    found = collect.collect(SUITE, place(base), again, here)
    assert found == whole


def test_a_choice_among_options_rests_on_what_others_made(base, tmp_path):
  options = {'compacter': {'steps': (1, 2)}}
  suite = dataclasses.replace(SUITE, rates=(), search_tasks=(), options=options, **LESS)
  runner = Runner(suite, place(base), tmp_path / 'w')
  runner.begin()
  runner.work(lambda run: run.method == 'compacter')
  found = collect.collect(suite, place(base), runner, tmp_path / 'w')
  assert len(found.of(records.OPTIONS)) == 2
  records.write(tmp_path / 'records.json', found)
  again = Runner(suite, place(base), tmp_path / 'other', [tmp_path / 'records.json'])
  again.begin()
  assert again.plan.chosen('compacter', 'quickstart') is not None
  again.work(lambda run: run.method == 'compacter')
  assert not list(tmp_path.glob('other/runs/*/*/*/results.json'))


def test_records_of_another_suite_or_t5_are_refused(made, base, tmp_path):
  runner, workdir, _ = made
  whole = collect.collect(SUITE, place(base), runner, workdir)
  path = tmp_path / 'records.json'
  other = dataclasses.replace(whole.base, fingerprint='other')
  for changes in {'suite': 'other'}, {'base': other}:
    records.write(path, dataclasses.replace(whole, **changes))
    with pytest.raises(DataError, match='another suite') as caught:
      Runner(SUITE, place(base), tmp_path / 'w', [path]).begin()
    assert 'got: other' in str(caught.value) and str(path) in str(caught.value)
    assert not (tmp_path / 'w/suite.json').exists()


def test_what_others_ran_on_is_told(made, base, tmp_path):
  runner, workdir, _ = made
  whole = collect.collect(SUITE, place(base), runner, workdir)
  rows = tuple(dataclasses.replace(row, time=0.5, memory=0.25) for row in whole.rows)
  versions = whole.versions | {'jax': '0.0.1'}
  changed = dataclasses.replace(whole, rows=rows, device='abacus', versions=versions)
  known = tmp_path / 'records.json'
  records.write(known, changed)
  again = Runner(SUITE, place(base), tmp_path / 'w', [known])
  again.begin()
  found = collect.collect(SUITE, place(base), again, tmp_path / 'w')
  assert (found.device, found.versions) == ('abacus', versions)  # no run is of this machine
  mixed = Runner(SUITE, place(base), workdir, [known])
  mixed.begin()
  both = collect.collect(SUITE, place(base), mixed, workdir)
  assert both.device == f'abacus, {whole.device}'
  assert both.versions == versions | {'jax': f'0.0.1, {whole.versions["jax"]}'}
  assert [(row.time, row.memory) for row in found.rows] == [(0.5, 0.25)] * 2


def test_what_is_not_there_yet_makes_records_too(base, tmp_path):
  runner = Runner(SUITE, place(base), tmp_path / 'w')
  runner.begin()
  found = collect.collect(SUITE, place(base), runner, tmp_path / 'w')
  assert not found.runs
  page.write(tmp_path / 'page', found)


@pytest.mark.parametrize('name', suites.suite_names())
def test_every_suite_that_is_shipped_makes_jobs(name):
  suite = suites.read_suite(name)
  first = Plan(suite, lambda run: None)
  known = [run for run in first.runs()]
  known += [
    Run(FINAL, method, task, seed, ())
    for method, task, seed in itertools.product(suite.methods, suite.tasks, suite.seeds)
  ]
  fitting = dataclasses.replace(suite, model='nano')
  for run in known:
    plan.job(fitting, run, Place('nano'))
  for method, names in suite.options.items():
    for option, values in names.items():
      for value in values:
        plan.job(
          fitting,
          Run(OPTIONS, method, next(iter(suite.tasks)), 42, ((option, value),)),
          Place('nano'),
        )


@pytest.mark.parametrize(
  ('change', 'told'),
  [
    ({'methods': {'compactor': ''}}, 'compacter'),
    ({'seeds': ()}, 'seeds'),
    ({'rates': ()}, 'search_tasks'),
    ({'search_tasks': ('sst2',)}, 'search_tasks'),
    ({'options': {'adapter': {}}}, 'options'),
    ({'method_settings': {'adapter': {}}}, 'method_settings'),
    ({'low_resource': {'methods': ('full',), 'tasks': (), 'rows': (0,), 'steps': 1}}, 'rows'),
  ],
)
def test_suites_that_cannot_be_are_refused(change, told):
  with pytest.raises(ConfigError) as caught:
    dataclasses.replace(SUITE, **change)
  assert told in str(caught.value)


def test_a_change_of_no_setting_is_refused():
  wrong = dataclasses.replace(SUITE, settings={'optim.rat': 1.0})
  with pytest.raises(ConfigError, match=r'optim\.rat') as caught:
    plan.job(wrong, Run(FINAL, 'full', 'quickstart', 1, ()), Place('nano'))
  assert "'rate'" in str(caught.value)


def test_a_method_has_settings_of_its_own():
  own = {'full': {'batch_size': 2, 'optim.rate': 0.5}}
  suite = dataclasses.replace(SUITE, method_settings=own)
  run = Run(SEARCH, 'full', 'quickstart', 1, (('optim.rate', 0.25),))
  made = plan.job(suite, run, Place('nano'))
  assert (made.batch_size, made.optim.rate) == (2, 0.25)  # the rate of a search is the search's
  other = plan.job(suite, dataclasses.replace(run, method='compacter'), Place('nano'))
  assert other.batch_size == 4


def test_flags_choose_which_runs_are_made():
  def told(*flags):
    wanted = command.chosen(SUITE, command._flags(['--suite=x', '--dry_run', *flags]))
    runs = filled(SUITE, lambda run: 1).runs()
    return {(run.part, run.method) for run in runs if wanted(run)}

  every = {(part, method) for part in (SEARCH, FINAL) for method in SUITE.methods}
  assert told() == every | {(LOW, 'full'), (RANDOM, 'compacter'), (RANDOM_SEARCH, 'compacter')}
  assert told('--methods', 'full') == {(SEARCH, 'full'), (FINAL, 'full'), (LOW, 'full')}
  assert told('--only', 'low_resource') == {(LOW, 'full')}
  with pytest.raises(ConfigError, match='compactor'):
    told('--methods', 'compactor')


def test_products_are_counted():
  x, w = jnp.ones((3, 4)), jnp.ones((4, 4))

  def function(x, w):
    turn = lambda y, _: (y @ w, None)
    y, _ = jax.lax.scan(turn, x, None, length=5)
    return jax.jit(jnp.sum)(y @ w)

  assert count_flops(function, x, w) == 6 * 2 * 3 * 4 * 4
  # The gradient in x: each product once more; the first of the sum's gradient is one as well.
  assert count_flops(jax.grad(function), x, w) == 12 * 2 * 3 * 4 * 4


def test_a_dry_run_tells_what_it_takes(capsys):
  suite = dataclasses.replace(SUITE, **LESS)
  from experiments.suite import budget

  told = budget.text(suite, sustained=1.0)
  lines = {line.split('|')[1].strip(): line for line in told.splitlines() if line.startswith('| ')}
  assert lines['full'].split('|')[2].strip() == '3'  # a search is a final run too
  assert lines['all'].split('|')[2].strip() == '6'
  assert lines['all'].split('|')[3].strip() == '12'
  assert '4 search, 4 final runs' in told


def test_what_differs_from_the_paper_is_told():
  suite = suites.read_suite('glue_nano')
  found = setup.of(suite, plan.Place(suite.model))
  assert found['batch_size'] == ['32', '32 (copa and multirc), 100 (all others)']
  assert found['epochs'] == [
    '4 (mrpc), 3 (stsb), 20 (copa), 1 (multirc), 2 (all others)',
    '3 (multirc and sst2), 20 (all others)',
  ]
  assert found['method.length'] == ['20', '100']
  assert found['optim.warmup'][0] == '25 (copa), 6 (multirc), 100 (all others)'
  assert found['method.adapters.n'] == ['4', '12 (phm_adapter), 4 (all others)']
  assert not {'seed', 'optim.rate', 'data.task', 'data.seed'} & set(found)


def test_each_seed_may_draw_its_few_rows():
  known = {'validation': {'average': 1.0}}
  for redraw, drawn in (False, {-1}), (True, {42, 1}):
    few = dataclasses.replace(SUITE.few, redraw=redraw)
    suite = dataclasses.replace(SUITE, low_resource=few)
    runs = plan.Plan(suite, lambda run: known).low_resource('full')
    jobs = [plan.job(suite, run, plan.Place('nano')) for run in runs]
    assert {job.data.sample_seed for job in jobs} == drawn
    assert all(job.seed == job.data.sample_seed for job in jobs if redraw)
