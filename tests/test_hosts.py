"""A run over two hosts: the same numbers as on one, and no way to end that loses work.

Two processes with two devices each. What befalls one of them it does to itself, at a given look for
a wish to end, so that nothing depends on how fast the machine is.
"""

import json
import re
import shutil
import signal
import socket
import time
from random import Random

import jax
import numpy as np
import pytest

from compacter_jax import t5
from compacter_jax.checkpoints import manifest, verify
from experiments import finetune, pretraining, pretraining_job, schema
from experiments.configs import HERE, read_config
from experiments.inputs import read_inputs
from experiments.soak.runs import save_base
from tests import corpora
from tests.runs import CHANGES, CONFIG, Command, adapter, job, notes, results

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from compacter_jax import evaluate
from experiments import commandline, run
from experiments.preemption import Preemption
from experiments.watchdog import Watchdog

plan, log, out = json.loads(os.environ['PLAN']), Path(os.environ['LOG']), os.environ['OUT']
real_look, real_predict, looks, written = Preemption.__call__, evaluate.predict, [], []

def look(self, step):
  looks.append(step)
  time.sleep(plan.get('slow', 0))
  if len(looks) == plan['look']:
    print('signal', time.time(), flush=True)
    os.kill(os.getpid(), plan['signal'])
    while plan['signal'] == signal.SIGTERM and 'SIGTERM caught' not in log.read_text():
      time.sleep(0.05)  # JAX looks for it once a second
    if plan.get('twice'):
      os.kill(os.getpid(), plan['signal'])
  if len(looks) == plan.get('asleep'):
    Watchdog._late = lambda self: None  # so that the others see it before this one does
    print('asleep', time.time(), flush=True)
    time.sleep(10**6)
  return real_look(self, step)

def predict(*args):
  predictions = real_predict(*args)
  print('predicted', json.dumps(predictions), flush=True)
  return predictions

def audit(event, args):
  if event == 'open' and isinstance(args[0], str) and args[0].startswith(out):
    if set(args[1] or '') & set('wax+') and not args[0].startswith(out + '/checkpoints'):
      print('wrote', args[0], flush=True)

def full(*args, **kwargs):
  saves.append(1)
  if len(saves) < plan['full']:
    return real_commit(*args, **kwargs)
  print('full', time.time(), flush=True)
  raise OSError(28, 'No space left on device')

if plan.get('full'):
  from orbax.checkpoint._src.checkpointers import async_checkpointer
  saves, real_commit = [], async_checkpointer._background_wait_for_commit_futures
  async_checkpointer._background_wait_for_commit_futures = full
Preemption.__call__, evaluate.predict = look, predict
sys.addaudithook(audit)
commandline.start(run.main, run.__doc__, several=True)
"""
# 24 steps with an evaluation after every 8 of them, each of 61 rows in 16 batches of 4.
SETTINGS = CHANGES | {
  'steps': 24,
  'eval_every': 8,
  'eval_batch_size': 4,
  'data.max_validation': 61,
  'mesh.devices': 0,
  'watchdog': 60.0,
}
PRETRAIN = HERE / 'pretrain_nano.py'
HEARTBEAT = 5
SHAPE = {'d_model': 16, 'd_kv': 4, 'd_ff': 24, 'heads': 2, 'encoder_layers': 1, 'decoder_layers': 1}
NEVER = {'look': 0, 'signal': 0}
SOON = 10  # seconds from a signal or an error to the end: five and a step, where nothing else runs
# Stacks of all threads, among them the main one's, which is in a step.
WAITED = re.compile(r'Thread 0x[^$]*training.py", line \d+ in run[^$]*PeerError')


pytestmark = [pytest.mark.processes, pytest.mark.usefixtures('standard_promotion')]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder with a T5, and what programs are kept in."""
  folder = tmp_path_factory.mktemp('hosts')
  save_base(folder / 'base')
  return folder


def settings(place):
  return {k: v for k, v in SETTINGS.items()} | {'model': str(place / 'base')}


@pytest.fixture(scope='module')
def one(place):
  """The folder of a run in one process on four devices."""
  alone(place, place / 'one', devices=4)
  return place / 'one'


def alone(place, out, devices):
  """The run in this process, begun or gone on with."""
  own = {k: v for k, v in settings(place).items() if k != 'model'}
  own |= {'mesh.devices': devices, 'eval_batch_size': 64}
  mine = job(place / 'base', **own)
  with jax.numpy_dtype_promotion('standard'):
    finetune.run(mine, read_inputs(mine), out, quiet=True)


class Pair:
  """Both processes of a run."""

  def __init__(
    self,
    place,
    out,
    name,
    plans=(NEVER, NEVER),
    changes=({}, {}),
    program=PROGRAM,
    base=None,
    config=CONFIG,
  ):
    with socket.create_server(('localhost', 0)) as free:
      address = f'localhost:{free.getsockname()[1]}'
    self.both = []
    for process in range(2):
      log = place / f'{name}{process}.log'
      env = {
        'PLAN': json.dumps(plans[process]),
        'LOG': str(log),
        'OUT': str(out),
        'JAX_NUM_CPU_DEVICES': '2',
        'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
        'JAX_COMPILATION_CACHE_DIR': str(place / 'programs'),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
      }
      flags = [f'--coordinator={address}', '--processes=2', f'--process={process}']
      flags += [f'--heartbeat_seconds={HEARTBEAT}']
      mine = (base or settings(place)) | changes[process]
      self.both.append(Command(mine, out, log, ('-c', program), flags, env, config))

  def __enter__(self):
    return self.both

  def __exit__(self, *_):
    for each in self.both:
      each.kill()


def predictions(command):
  """What was predicted, evaluation by evaluation."""
  return [json.loads(text) for text in re.findall(r'predicted (.*)', command.told())]


def assert_near(folder, other):
  """The same lines and arrays, but for rounding."""
  assert len(notes(folder)) == len(notes(other))
  for mine, its in zip(notes(folder), notes(other)):
    assert mine.keys() == its.keys() and mine['step'] == its['step']
    if 'loss' in mine:
      np.testing.assert_allclose(mine['loss'], its['loss'], rtol=1e-5)
    else:
      assert mine == its
  arrays = adapter(folder), adapter(other)
  assert arrays[0].keys() == arrays[1].keys()
  for name in arrays[0]:
    np.testing.assert_allclose(arrays[0][name], arrays[1][name], atol=5e-5, err_msg=name)
  for name in 'test', 'validation', 'position', 'rows':
    assert results(folder)[name] == results(other)[name]


def test_two_processes_train_and_evaluate_as_one_does(place, one):
  """Though one of them is slow, which is told."""
  out, slow = place / 'two', NEVER | {'slow': 0.1}
  with Pair(place, out, 'two', (NEVER, slow)) as (first, second):
    assert [first.ended(), second.ended()] == [0, 0], first.told() + second.told()
  assert_near(out, one)
  said = re.findall(r'note: process 1 .* is slow: its own part .* (\S+) s of', first.told())
  assert said and all(float(seconds) >= 0.1 for seconds in said)
  assert 'process 0 (' not in first.told()
  # Every row is predicted once on both: 61 validation rows at four evaluations, 16 test rows.
  assert [len(each) for each in predictions(second)][:4] == [61] * 4
  assert predictions(first) == predictions(second)
  written = re.findall(r'^wrote (.*)', first.told(), re.MULTILINE)
  assert {path.rpartition('/')[2].split('.')[0] for path in written} >= {'metrics'}
  assert 'wrote' not in second.told()
  mine = re.compile('predicted|Gloo|peer ranks')  # of this test, and of a library
  assert not [line for line in second.told().splitlines() if line and not mine.search(line)]
  assert not (out / 'checkpoints').exists()


def test_no_end_of_a_process_loses_work(place, one):
  out, term, kill, stop = place / 'w', signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP
  # The ninth look is before the second batch of the first evaluation.
  asked = {'look': 10, 'signal': term}
  with Pair(place, out, 'asked', (NEVER, asked)) as (first, second):
    assert [first.ended(), second.ended()] == [75, 75], first.told() + second.told()
    assert second.since('signal') < SOON
  for each in first, second:
    assert 'step 8 of 24' in each.told()
  assert not any('validation' in note for note in notes(out))
  assert manifest.read(out / 'checkpoints/8' / manifest.NAME).about['due']

  with Pair(place, out, 'twice', (asked | {'twice': True}, NEVER)) as (first, second):
    assert first.ended() == 130, first.told()
    assert first.since('signal') < SOON
    assert second.ended() == 8, second.told()

  # The evaluation is made again: 16 looks, and those before steps 8 to 10.
  lost = {'look': 19, 'signal': kill}
  with Pair(place, out, 'killed', (NEVER, lost)) as (first, second):
    assert second.ended() == -kill, second.told()
    gone = time.monotonic()
    assert first.ended() == 8, first.told()
    assert time.monotonic() - gone < HEARTBEAT + 5
    assert 'going on from step 8' in first.told()
    assert re.search(r'PeerError.*\n  where: process 1 \(', first.told()), first.told()

  with Pair(place, out, 'coordinator', (lost, NEVER)) as (first, second):
    assert first.ended() == -kill, first.told()
    gone = time.monotonic()
    assert second.ended() == 8, second.told()
    assert time.monotonic() - gone < HEARTBEAT + 5
    assert re.search(r'PeerError.*\n  where: process 0 \(', second.told()), second.told()

  stuck = {'look': 4, 'signal': stop}
  with Pair(place, out, 'stopped', (stuck, NEVER)) as (first, second):
    first.until('^signal ')
    assert second.ended() == 8, second.told()
    assert first.since('signal') < HEARTBEAT + 5
    assert re.search(r'PeerError.*\n  where: process 0 \(', second.told()), second.told()
    assert WAITED.search(second.told()), second.told()

  shutil.copytree(out, place / 'on_one')
  alone(place, out, devices=4)
  assert_near(out, one)
  alone(place, place / 'on_one', devices=1)
  assert_near(place / 'on_one', one)


def test_what_is_trained_may_be_split_among_processes(place):
  """Full fine-tuning, of which no process has an array whole, goes through all that a run does."""
  own = {k: v for k, v in settings(place).items() if not k.startswith('method.')}
  own |= {'steps': 6, 'eval_every': 3, 'save_every': 2, 'mesh.data': 1, 'mesh.fsdp': 4}
  config = read_config(HERE / 'full.py')
  config.update_from_flattened_dict(own | {'mesh.devices': 4, 'eval_batch_size': 64})
  mine = schema.job(config.to_dict())
  with jax.numpy_dtype_promotion('standard'):
    finetune.run(mine, read_inputs(mine), place / 'split', quiet=True)

  out, more = place / 'split_in_two', {'base': own, 'config': HERE / 'full.py'}
  asked = {'look': 3, 'signal': signal.SIGTERM}
  with Pair(place, out, 'asked_split', (NEVER, asked), **more) as (first, second):
    assert [first.ended(), second.ended()] == [75, 75], first.told() + second.told()
  with Pair(place, out, 'split', **more) as (first, second):
    assert [first.ended(), second.ended()] == [0, 0], first.told() + second.told()
  assert 'going on from step' in first.told()
  assert_near(out, place / 'split')


def test_a_process_that_sleeps_is_seen_by_the_others(place):
  """Though it gives signs of life; before the last step of a stretch, of all places."""
  limit, sleeps = 8.0, NEVER | {'asleep': 31}  # before step 15: 24 looks are behind step 8
  base = settings(place) | {'watchdog': limit}
  with Pair(place, place / 'asleep', 'asleep', (NEVER, sleeps), base=base) as (first, second):
    assert first.ended() == 8, first.told() + second.told()
    assert second.since('asleep') < limit + SOON
    assert second.ended() == 8, second.told()
  assert 'PeerError: A step does not end.' in first.told() and WAITED.search(first.told())
  assert re.search(r'PeerError.*\n  where: process 0 \(', second.told()), second.told()
  assert re.search(r'line \d+ in look', second.told()), second.told()


@pytest.mark.soak
def test_twenty_ends_of_either_process_lose_no_work(place, one):
  """Each at some look of its own, in a run that is begun anew whenever it gets to its end."""
  random, ends, done = Random(0), 0, 0
  while ends < 20 or not done:
    out, name, dead = place / f'again{done}', f'again{ends}', ends % 2
    plans = [NEVER, NEVER]
    if ends < 20:
      plans[dead] = {'look': random.randrange(1, 40), 'signal': signal.SIGKILL}
    with Pair(place, out, name, plans) as both:
      codes = [each.ended() for each in both]
      lost, other = both[dead], both[1 - dead]
      if codes == [0, 0]:
        assert_near(out, one)
        done += 1
        continue
      assert (codes[dead], codes[1 - dead]) == (-signal.SIGKILL, 8), lost.told() + other.told()
      assert re.search(rf'PeerError.*\n  where: process {dead} \(', other.told()), other.told()
      ends += 1


def test_processes_that_differ_do_not_begin(place):
  changes = {}, {'optim.rate': 0.5}
  with Pair(place, place / 'other', 'other', changes=changes) as (first, second):
    assert [first.ended(), second.ended()] == [8, 8], first.told() + second.told()
  host = socket.gethostname()
  for each in first, second:
    assert 'where: config.optim.rate' in each.told()
    assert f'process 0 ({host}): 0.003; process 1 ({host}): 0.5' in each.told()
  assert not (place / 'other').exists()


def test_a_process_that_fails_alone_ends_the_other_one(place):
  changes = {}, {'model': str(place / 'nothing')}
  with Pair(place, place / 'alone', 'alone', changes=changes) as (first, second):
    assert [second.ended(), first.ended()] == [4, 8], first.told() + second.told()
  assert re.search(r'PeerError: .* failed.\n  where: process 1 \(.*\n  got: Weig', first.told())
  assert not (place / 'alone').exists()


def test_a_disk_that_is_full_for_one_ends_both_in_seconds(place):
  """Though the other one waits where all meet who have written their parts."""
  out, full = place / 'full', NEVER | {'full': 4}  # the save of step 9
  with Pair(place, out, 'full', (NEVER, full)) as (first, second):
    assert [first.ended(), second.ended()] == [8, 6], first.told() + second.told()
    assert second.since('full') < SOON
  assert re.search(r'PeerError: .* failed.\n  where: process 1 \(.*\n  got: Stor', first.told())
  assert 'No space left on device' in second.told()
  assert [(each.step, each.reason) for each in verify(out / 'checkpoints')] == [(8, ''), (6, '')]


def test_two_processes_pretrain_as_one_does(place):
  """One is asked to end; they go on, and end with what one process computes."""
  base = {
    'text.dir': str(corpora.write(place / 'text')),
    'text.dev_chunks': 10,
    'pieces': 100,
    'task.chunk': 24,
    **{f'shape.{name}': size for name, size in SHAPE.items()},
    'steps': 12,
    'batch_size': 8,
    'optim.warmup': 2,
    'eval_every': 6,
    'save_every': 5,
    'log_every': 2,
    'dtype': 'float32',
    'saved_dtype': 'float32',
    'mesh.fsdp': 2,
  }
  config = read_config(PRETRAIN)
  config.update_from_flattened_dict(base | {'mesh.devices': 4})
  alone = pretraining_job.job(config.to_dict())
  with jax.numpy_dtype_promotion('standard'):
    want = pretraining.run(alone, place / 'alone', quiet=True)

  out, program = place / 'both', PROGRAM.replace('run.main, run', 'pretrain.main, pretrain')
  program = program.replace('several=True', 'pretrain.job, several=True')
  program = program.replace('commandline, run', 'commandline, pretrain')
  more = {'program': program, 'base': base, 'config': PRETRAIN}
  asked = {'look': 5, 'signal': signal.SIGTERM}
  with Pair(place, out, 'asked_pretraining', (NEVER, asked), **more) as (first, second):
    assert [first.ended(), second.ended()] == [75, 75], first.told() + second.told()
  with Pair(place, out, 'pretraining', **more) as (first, second):
    assert [first.ended(), second.ended()] == [0, 0], first.told() + second.told()
  assert 'going on from step' in first.told() and 'step 12' not in second.told()
  written = re.findall(r'^wrote (.*)', second.told(), re.MULTILINE)
  assert not written
  got = results(out)
  assert got['dev_loss'] == pytest.approx(want['dev_loss'], abs=1e-5)
  assert len(notes(out)) == len(notes(place / 'alone'))
  mine, its = (t5.load(folder / 'model')[1] for folder in (out, place / 'alone'))
  for path in its:
    np.testing.assert_allclose(mine[path], its[path], atol=5e-5, err_msg=path)
  assert not (out / 'checkpoints').exists()
