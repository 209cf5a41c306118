"""Training: the step's arithmetic, the schedule, accumulation, and the loop."""

import dataclasses
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compacter_jax import optim, t5, train
from compacter_jax.chaining import chain
from compacter_jax.errors import ConfigError, NumericsError
from compacter_jax.methods.compacter import Compacter
from compacter_jax.methods.unfreeze import Unfreeze
from compacter_jax.model import Model

CFG = t5.Config(
  vocab=48, d_model=16, d_kv=4, d_ff=24, heads=4, encoder_layers=2, decoder_layers=2, dropout=0.2
)
MODEL = Model(CFG, chain(norms=Unfreeze('.*norm/scale'), adapters=Compacter(n=2, width=4)))


pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.fixture(scope='module')
def frozen():
  return t5.random_weights(CFG, jax.random.key(0))


def batches(rows=8):
  random = np.random.default_rng(0)
  while True:
    source = random.integers(2, 48, (rows, 6), dtype=np.int32)
    target = np.where(np.arange(4) < random.integers(1, 5, (rows, 1)), source[:, :4], 0)
    yield {'source': source, 'target': target.astype(np.int32)}


def begin(frozen, optimizer, seed=0, **options):
  state = train.start(MODEL.init(jax.random.key(1), frozen), optimizer, seed)
  return state, train.make_step(MODEL, optimizer, **options)


def test_training_lowers_the_loss_and_leaves_frozen_weights(frozen):
  optimizer = optim.build(optim.Optim(rate=3e-2, warmup=5, decay=0.1), 60)
  state, step = begin(frozen, optimizer, dropout=False)
  before = jax.tree.map(np.array, frozen)
  batch, reports = next(batches()), []
  state = train.fit(step, state, MODEL.trim(frozen), iter([batch] * 60), 60, reports.append, 10)
  assert reports[-1].loss < 0.75 * reports[0].loss
  assert [r.step for r in reports] == [9, 19, 29, 39, 49, 60]
  chex.assert_trees_all_equal(before, frozen)


def test_the_time_that_is_left_is_not_told_by_the_compiler(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(train.time, 'perf_counter', lambda: now[0])

  def step(state, frozen, batch):
    now[0] += 1 if state else 100  # the first call compiles
    return state + 1, {'loss': np.float32(1), 'grad_norm': np.float32(1)}

  reports = []
  train.fit(step, 0, {}, iter([{'source': np.zeros((8, 4))}] * 12), 12, reports.append, 4)
  assert [each.step for each in reports] == [3, 7, 12]
  assert [each.seconds_per_step for each in reports[:2]] == [1.0, 1.0]
  assert [each.examples_per_second for each in reports[:2]] == [8.0, 8.0]


def test_loss_is_the_mean_over_the_labels_of_the_batch(frozen):
  batch = next(batches())
  tuned = MODEL.init(jax.random.key(1), frozen)
  from compacter_jax.model import shift_right

  logits = MODEL.logits(tuned, frozen, batch['source'], shift_right(batch['target'], CFG))
  log = jax.nn.log_softmax(logits)
  rows, columns = np.nonzero(batch['target'])
  picked = log[rows, columns, batch['target'][rows, columns]]
  np.testing.assert_allclose(MODEL.loss(tuned, frozen, batch), -picked.mean(), rtol=1e-5)


def test_labels_may_be_padded_as_hugging_face_has_it(frozen):
  tuned, batch = MODEL.init(jax.random.key(1), frozen), next(batches())
  target = np.where(batch['target'] == CFG.pad_id, -100, batch['target'])
  assert (target < 0).any()
  want, got = (MODEL.loss_sum(tuned, frozen, each) for each in (batch, {**batch, 'target': target}))
  chex.assert_trees_all_equal(got, want)


@pytest.mark.parametrize('accumulate', [2, 4])
def test_accumulation_equals_the_whole_batch(frozen, accumulate):
  # Rows have unequal numbers of labels: a mean of the parts' means would differ.
  sgd = optax.sgd(1.0)
  state, whole = begin(frozen, sgd, dropout=False)
  other, parts = begin(frozen, sgd, dropout=False, accumulate=accumulate)
  batch = next(batches())
  state, a = whole(state, MODEL.trim(frozen), batch)
  other, b = parts(other, MODEL.trim(frozen), batch)
  np.testing.assert_allclose(a['loss'], b['loss'], rtol=1e-6)
  chex.assert_trees_all_close(state.tuned, other.tuned, rtol=1e-5, atol=1e-6)


def test_dropout_is_a_function_of_seed_and_step(frozen):
  optimizer, batch = optax.sgd(0.0), next(batches())

  def losses(seed):
    state, step = begin(frozen, optimizer, seed=seed)
    out = []
    for _ in range(2):
      state, metrics = step(state, MODEL.trim(frozen), batch)
      out.append(float(metrics['loss']))
    return out

  first = losses(1)
  assert first == losses(1)
  assert first[0] != first[1]
  assert first != losses(2)


def test_a_step_that_is_not_finite_changes_nothing_and_stops_the_loop(frozen):
  optimizer = optim.build(optim.Optim(warmup=0), 10)
  bad = dict(MODEL.trim(frozen)) | {'token_embedding': frozen['token_embedding'].at[5].set(jnp.nan)}
  state, step = begin(frozen, optimizer)
  before = jax.tree.map(np.array, state)
  state, metrics = step(state, bad, next(batches()))
  assert not metrics['finite']
  chex.assert_trees_all_equal(before.tuned, jax.tree.map(np.array, state.tuned))
  chex.assert_trees_all_equal(before.opt, jax.tree.map(np.array, state.opt))
  state, step = begin(frozen, optimizer)
  with pytest.raises(NumericsError, match='step 1'):
    train.fit(step, state, bad, batches(), 5, every=2)


@pytest.mark.parametrize(
  ('optimizer', 'schedule'),
  [('adamw', 'cosine'), ('adafactor', 'constant'), ('adafactor', 'inverse_sqrt')],
)
def test_every_optimizer_learns(frozen, optimizer, schedule):
  built = optim.build(optim.Optim(optimizer, 1e-2, schedule, warmup=2), 20)
  state, step = begin(frozen, built, dropout=False)
  batch, losses = next(batches()), []
  for _ in range(20):
    state, metrics = step(state, MODEL.trim(frozen), batch)
    losses.append(float(metrics['loss']))
  assert losses[-1] < losses[0]


def test_the_published_schedule():
  rate = optim.schedule(optim.Optim(rate=3e-3, warmup=500), 1_000)
  want = {0: 0.0, 250: 1.5e-3, 500: 3e-3, 750: 1.5e-3, 1_000: 0.0}
  for step, value in want.items():
    np.testing.assert_allclose(rate(step), value, atol=1e-9)


@pytest.mark.parametrize('warmup', [0, 3, 20])
def test_schedules_are_those_of_optax(warmup):
  for name, after in {
    'linear': optax.linear_schedule(0.5, 0.0, max(12 - warmup, 1)),
    'cosine': optax.cosine_decay_schedule(0.5, max(12 - warmup, 1)),
    'constant': optax.constant_schedule(0.5),
  }.items():
    rise = optax.linear_schedule(0.0, 0.5, warmup)
    want = optax.join_schedules([rise, after], [warmup]) if warmup else after
    rate = optim.schedule(optim.Optim(rate=0.5, schedule=name, warmup=warmup), jnp.int32(12))
    steps = range(30)
    np.testing.assert_allclose([rate(n) for n in steps], [want(n) for n in steps], atol=1e-7)


@pytest.mark.parametrize('warmup', [1, 100, 10_000])
def test_the_schedule_of_t5(warmup):
  """Raffel et al. 2020, 3.1.2: 1 / sqrt(max(n, k)); here the first k steps rise instead."""
  rate = optim.schedule(optim.Optim(rate=warmup**-0.5, schedule='inverse_sqrt', warmup=warmup), 9)
  for n in warmup, warmup + 1, 4 * warmup, 123_456:
    np.testing.assert_allclose(rate(jnp.int32(n)), max(n, warmup) ** -0.5, rtol=1e-6)
  for n in 0, warmup // 2, warmup - 1:
    np.testing.assert_allclose(rate(jnp.int32(n)), n / warmup * warmup**-0.5, rtol=1e-5, atol=1e-9)


def test_the_schedule_of_t5_without_a_warmup():
  rate = optim.schedule(optim.Optim(rate=0.5, schedule='inverse_sqrt', warmup=0), 9)
  np.testing.assert_allclose([rate(n) for n in (0, 3, 99)], [0.5, 0.25, 0.05], rtol=1e-6)


def test_adamw_is_the_published_update():
  # Two steps by hand: b1 0.9, b2 0.999, decoupled decay.
  build = optim.build(optim.Optim(rate=0.1, schedule='constant', warmup=0, decay=0.5, clip=0), 10)
  w, state = jnp.float32(2.0), build.init(jnp.float32(2.0))
  want, m, v = 2.0, 0.0, 0.0
  for step, g in enumerate((0.3, -0.2), 1):
    update, state = build.update(jnp.float32(g), state, w)
    w = optax.apply_updates(w, update)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    scaled = (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)) ** 0.5 + 1e-8)
    want -= 0.1 * (scaled + 0.5 * want)
    np.testing.assert_allclose(w, want, rtol=1e-5)


@pytest.mark.parametrize('settings', [{}, {'optimizer': 'adafactor', 'decay': 1e-5}])
def test_runs_of_other_rates_steps_and_seeds_share_a_program(frozen, settings):
  """And yet train as each would alone."""
  jobs = [optim.Optim(rate=rate, schedule='cosine', warmup=2, **settings) for rate in (1e-3, 3e-2)]
  _, shared = begin(frozen, optim.build(dataclasses.replace(jobs[0], rate=1.0), 1))
  ends = []
  for seed, job in enumerate(jobs):
    state, own = begin(frozen, optim.build(job, 10 + seed), seed)
    other, _ = begin(frozen, optim.build(job, 10 + seed), seed)
    for batch in itertools.islice(batches(), 4):
      state, _ = shared(state, MODEL.trim(frozen), batch)
      other, _ = own(other, MODEL.trim(frozen), batch)
    chex.assert_trees_all_equal(state, other)
    ends.append(state)
  assert shared._cache_size() == 1
  first = MODEL.init(jax.random.key(1), frozen)
  far = lambda a, b: float(jnp.abs(a - b).max())
  small, large = (max(jax.tree.leaves(jax.tree.map(far, end.tuned, first))) for end in ends)
  assert 0 < small < large / 5


def test_adafactor_is_that_of_optax():
  job = optim.Optim('adafactor', 1e-2, warmup=2, decay=0.01, clip=0)
  rate = optim.schedule(job, 9)
  ours, theirs = optim.build(job, 9), optax.adafactor(rate, weight_decay_rate=0.01)
  a = b = {'w': jax.random.normal(jax.random.key(0), (130, 140))}
  ours_state, theirs_state = ours.init(a), theirs.init(b)
  with jax.numpy_dtype_promotion('standard'):
    for i in range(9):
      g = {'w': jax.random.normal(jax.random.key(i), (130, 140))}
      update, ours_state = ours.update(g, ours_state, a)
      a = optax.apply_updates(a, update)
      update, theirs_state = theirs.update(g, theirs_state, b)
      b = optax.apply_updates(b, update)
  chex.assert_trees_all_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
  ('field', 'value'), [('optimizer', 'adam'), ('schedule', 'liner'), ('rate', -1.0), ('b1', 1.0)]
)
def test_settings_that_cannot_be_are_refused(field, value):
  with pytest.raises(ConfigError, match=field):
    dataclasses.replace(optim.Optim(), **{field: value})


def test_a_batch_that_cannot_be_cut_names_the_parts_that_can():
  with pytest.raises(ConfigError, match=r'\[1, 2, 5, 10\]'):
    train.check_batch(10, 4)


@given(st.integers(1, 60), st.integers(0, 20), st.integers(0, 20), st.integers(0, 70))
def test_stops(steps, evaluate, save, first):
  found = list(train.stops(first, steps, evaluate, save))
  taken = [step for now, until, _ in found for step in range(now, until)]
  assert taken == list(range(first, steps))
  ends = {until: due for _, until, due in found}
  due = lambda i, each: each > 0 and i % each == 0
  between = range(first + 1, steps)
  last = {steps} if first < steps else set()
  assert set(ends) == {i for i in between if due(i, save) or due(i, evaluate)} | last
  assert {i for i, told in ends.items() if told} == {i for i in between if due(i, evaluate)} | last
