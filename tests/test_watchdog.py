"""Work that hangs ends the process, and nothing else does."""

import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.checkpoints import Checkpoints
from compacter_jax.errors import PeerError
from compacter_jax.placement import Placement
from experiments import finetune, guard, watchdog
from experiments.inputs import read_inputs
from experiments.soak.runs import save_base
from experiments.watchdog import FEW, Watchdog
from tests.runs import CHANGES, Command, job, results

SHORT = 0.05  # seconds that a hanging step may take here
HANGS = """
import time
from compacter_jax.placement import Placement
from experiments import commandline, run

real, made = Placement.batch, []

def sleeps_for_ever():
  print('slept at', time.time(), flush=True)
  time.sleep(10**6)

def batch(self, rows):
  made.append(1)
  if len(made) == 12:
    sleeps_for_ever()
  return real(self, rows)

Placement.batch = batch
commandline.start(run.main, run.__doc__, several=True)
"""


@pytest.fixture
def ended(monkeypatch):
  """Is set when the process would end; the error is its attribute."""
  event = threading.Event()

  def end(error, stacks):
    assert stacks
    event.error = error
    event.set()

  monkeypatch.setattr(guard, 'end', end)
  return event


def usual(dog, shape=(2, 3)):
  """What is needed to know how long a step takes, and one more, which is not over."""
  for _ in range(FEW + 2):
    dog.begin('step', shape)


def test_a_step_that_hangs_ends_the_process(ended):
  with Watchdog(SHORT).watching() as dog:
    usual(dog)
    assert ended.wait(60)
  assert isinstance(ended.error, PeerError)
  assert ended.error.exit_code == 8
  assert 'step does not end' in str(ended.error)


def quiet(dog):
  """Long enough that it would have seen one that hangs."""
  time.sleep(10 * SHORT)
  dog.rest()


@pytest.mark.parametrize('known', [False, True])
def test_what_is_compiled_first_has_a_limit_of_its_own(known, ended, monkeypatch):
  monkeypatch.setattr(watchdog, 'UNKNOWN', 5 * SHORT)
  with Watchdog(SHORT).watching() as dog:
    if known:
      usual(dog)
    dog.begin('step', (4, 5))
    assert ended.wait(60)
  assert 'A step does not end' in str(ended.error)
  assert '0.25 s at most; usual: not known' in str(ended.error)


def test_it_lets_be_what_is_compiled_first(ended):
  with Watchdog(SHORT).watching() as dog:
    usual(dog)
    dog.begin('step', (4, 5))
    quiet(dog)
  assert not ended.is_set()


def test_it_lets_be_the_first_few_and_what_lies_between(ended):
  with Watchdog(SHORT).watching() as dog:
    for _ in range(FEW):
      dog.begin('step', (2, 3))
    quiet(dog)
    usual(dog)
    dog.rest()
    quiet(dog)
    dog.begin('batch of an evaluation', (2, 3))  # another kind: nothing is known of it
    quiet(dog)
    for _ in range(2 * FEW):
      dog.wait('save')
    quiet(dog)
  assert not ended.is_set()


def test_what_is_ten_times_as_long_as_usual_has_no_end(ended):
  """And nothing less, however long it takes."""
  dog = Watchdog(SHORT)
  usual(dog)
  dog._durations['step'].extend([1.0] * 100)
  dog._elapsed = 9.9
  assert dog._late() is None
  dog._elapsed = 10.1
  assert 'more than 10.1 s' in str(dog._late())


def test_zero_is_for_no_watchdog(ended):
  with Watchdog(0).watching() as dog:
    usual(dog)
    quiet(dog)
  assert not ended.is_set()


def test_a_watched_step_is_the_same_step():
  dog, seen = Watchdog(SHORT), []
  step = lambda state, frozen, batch: (state + 1, {'loss': jnp.float32(state)})
  watched = dog.steps(step)
  batch = {'source': np.zeros((2, 3)), 'target': np.zeros((2, 1))}
  for state in range(2 * FEW):
    after, metrics = watched(state, {}, batch)
    seen.append((after, float(metrics['loss'])))
  assert seen == [(state + 1, state) for state in range(2 * FEW)]
  assert len(dog._durations['step']) == 2 * FEW - 2  # not the first one, nor the one that runs


@pytest.mark.parametrize(
  ('of', 'place', 'calls', 'kind'),
  [
    (Placement, 'batch', 11, 'step'),
    (Placement, 'table', 8, 'batch of an evaluation'),
    (Placement, 'batch', 1, 'wait for rows'),
    (Placement, 'batch', 2, 'step'),  # of which nothing is known yet
    (Checkpoints, 'save', 1, 'save'),
  ],
)
def test_a_run_that_hangs_is_seen(
  of, place, calls, kind, ended, tmp_path, monkeypatch, standard_promotion
):
  """Where rows are laid out for a step, or for a batch of an evaluation, or it saves."""
  monkeypatch.setattr(watchdog, 'UNKNOWN', 2.0)
  spans = {'save_every': 0, 'eval_every': 11, 'eval_batch_size': 2}
  mine = job(save_base(tmp_path / 'base'), watchdog=1.0, **spans)
  real, made = getattr(of, place), []

  def hangs(self, *args):
    made.append(1)
    if len(made) == calls:
      ended.clear()  # should the machine itself have been so slow before
      assert ended.wait(60)
      assert f'A {kind} does not end' in str(ended.error)
    return real(self, *args)

  monkeypatch.setattr(of, place, hangs)
  finetune.run(mine, read_inputs(mine), tmp_path / 'w', quiet=True)
  assert results(tmp_path / 'w')['steps'] == 11


def test_a_step_that_sleeps_for_ever_ends_its_process(tmp_path):
  """A real one, in which nothing is replaced but the rows of a step: they never come."""
  limit, base = 4.0, save_base(tmp_path / 'base')
  changes = CHANGES | {'model': base, 'watchdog': limit, 'steps': 20, 'eval_every': 20}
  env = {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  run = Command(changes, tmp_path / 'w', tmp_path / 'log', ('-c', HANGS), env=env)
  assert run.ended() == 8, run.told()
  assert run.since('slept at') < limit + 10
  stacks, _, error = run.told().partition('PeerError: A step does not end.')
  assert error and 'in sleeps_for_ever' in stacks and 'experiments/run.py' in stacks
