"""A fine-tuning run that is interrupted ends with the very bits of one that is not."""

import dataclasses
import gc
import itertools
import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from compacter_jax import t5, train
from compacter_jax.checkpoints import Checkpoints, room
from compacter_jax.checkpoints import arrays as stored
from compacter_jax.checkpoints import verify as verify_steps
from compacter_jax.checkpoints.layout import HOLDER
from compacter_jax.errors import (
  ConfigError,
  InUseError,
  NumericsError,
  PreemptedError,
  StorageError,
)
from experiments import finetune, folders, run, schema
from experiments.configs import read_config
from experiments.evaluation import Evaluation
from experiments.generation import Generation
from experiments.inputs import read_inputs
from experiments.preemption import Preemption
from experiments.soak.runs import save_base
from experiments.verifying import verify
from tests.runs import CHANGES, CONFIG, Command, adapter, assert_same, job, notes

pytestmark = pytest.mark.usefixtures('standard_promotion', 'checkpoints_stay')


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  return save_base(tmp_path_factory.mktemp('base'))


@pytest.fixture(scope='module')
def inputs(base):
  return read_inputs(job(base))


@pytest.fixture(scope='module')
def whole(base, inputs, tmp_path_factory, checkpoints_stay):
  """The folder of a run that nothing interrupted."""
  out = tmp_path_factory.mktemp('whole') / 'w'
  with jax.numpy_dtype_promotion('standard'):
    finetune.run(job(base), inputs, out, quiet=True)
  return out


# Seconds from a signal or an error to the end: five and a step, where nothing else runs.
SOON = 10


class Killed(BaseException):
  """Stands for whatever ends a process."""


def test_a_whole_run_reports_every_step_once(whole):
  steps = [note['step'] for note in notes(whole) if 'loss' in note]
  assert steps == [1, 3, 5, 7, 9, 11]
  assert [note['step'] for note in notes(whole) if 'validation' in note] == [4, 8, 11]


def kill_in(patch, what, name, at, after):
  """Makes the `at`-th call of a method end the process, before or after it did its work."""
  real, calls = getattr(what, name), []

  def called(*args, **kwargs):
    calls.append(1)
    if len(calls) == at and not after:
      raise Killed
    out = real(*args, **kwargs)
    if len(calls) == at:
      raise Killed
    return out

  patch.setattr(what, name, called)


PLACES = {
  'before a step': (train, 'examples_in', False),
  'before a checkpoint': (Checkpoints, 'save', False),
  'behind a checkpoint': (Checkpoints, 'save', True),
  'in an evaluation': (Evaluation, 'score', False),
  'behind an evaluation': (Evaluation, 'score', True),
}


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('at', [1, 2, 3])
def test_a_run_that_was_killed_ends_with_the_same_bits(
  place, at, base, inputs, whole, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    what, name, after = PLACES[place]
    kill_in(patch, what, name, at, after)
    with pytest.raises(Killed):
      finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', whole)


def test_a_run_that_is_killed_again_and_again_gets_there(
  base, inputs, whole, tmp_path, monkeypatch
):
  for _ in range(40):
    with monkeypatch.context() as patch:
      kill_in(patch, train, 'examples_in', 5, True)  # less than two checkpoints further each time
      try:
        finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
      except Killed:
        continue
    break
  else:
    pytest.fail('no end')
  assert_same(tmp_path / 'w', whole)


# It looks before each of 11 steps, and before each batch of 3 evaluations and 2 reports.
@pytest.mark.parametrize('look', range(16))
def test_asked_to_end_at_any_look_it_saves_all(look, base, inputs, whole, tmp_path, monkeypatch):
  looks = itertools.count()
  with monkeypatch.context() as patch:
    patch.setattr(Preemption, '__call__', lambda self, step: next(looks) == look)
    with pytest.raises(PreemptedError, match='asked to end') as caught:
      finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert caught.value.exit_code == 75
  assert next(looks) == look + 1
  at = re.search(r'step (\d+) of 11', str(caught.value))[1]
  assert (tmp_path / f'w/checkpoints/{at}').is_dir()
  finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', whole)


@pytest.mark.parametrize('moment, at', [('reads', 0), ('compiles', 1)])
def test_asked_while_it_is_not_looking_it_ends_at_the_next_step(
  moment, at, base, whole, tmp_path, monkeypatch
):
  ask = lambda: os.kill(os.getpid(), signal.SIGTERM)
  begun, asked = [], []
  build = train.make_step

  def reading(mine):
    ask()
    return read_inputs(mine)

  def built(*args, **kwargs):
    step = build(*args, **kwargs)

    def first(*inputs):
      if not begun:
        begun.append(time.monotonic())
        threading.Timer(0.2, lambda: (ask(), asked.append(time.monotonic()))).start()
        out = jax.block_until_ready(step(*inputs))
        begun.append(time.monotonic())
        return out
      return step(*inputs)

    return first

  finetune._program.cache_clear()
  with monkeypatch.context() as patch:
    if moment == 'reads':
      patch.setattr('experiments.inputs.read_inputs', reading)
    else:
      patch.setattr(train, 'make_step', built)
    with pytest.raises(PreemptedError, match=f'step {at} of 11'):
      run.main(job(base), str(tmp_path / 'w'))
  finetune._program.cache_clear()
  assert moment == 'reads' or begun[0] < asked[0] < begun[1]
  run.main(job(base), str(tmp_path / 'w'))
  assert_same(tmp_path / 'w', whole)


def test_asked_in_an_evaluation_it_does_not_finish_it(base, inputs, whole, tmp_path, monkeypatch):
  """Of four batches the second one is not begun, and all four are made when the run goes on."""
  small, tables = job(base, eval_batch_size=4), []
  real = Generation._table
  monkeypatch.setattr(Generation, '_table', lambda *args: tables.append(1) or real(*args))
  looks = itertools.count()
  with monkeypatch.context() as patch, pytest.raises(PreemptedError, match='step 4 of 11'):
    patch.setattr(Preemption, '__call__', lambda self, step: next(looks) == 5)
    finetune.run(small, inputs, tmp_path / 'w', quiet=True)
  assert len(tables) == 2  # the second one was about to be laid out
  finetune.run(small, inputs, tmp_path / 'w', quiet=True)
  assert len(tables) == 2 + 5 * 4
  assert_same(tmp_path / 'w', whole)


def test_a_run_that_has_ended_does_nothing(base, inputs, whole, tmp_path, monkeypatch):
  out = shutil.copytree(whole, tmp_path / 'w', ignore=shutil.ignore_patterns('checkpoints'))
  before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
  monkeypatch.setattr(train.Loop, 'run', lambda *_: pytest.fail('trained'))
  results = finetune.run(job(base), inputs, out, quiet=True)
  assert results == json.loads((out / 'results.json').read_text())
  assert before == {path: path.stat().st_mtime_ns for path in out.rglob('*')}


def test_a_run_that_has_ended_was_of_its_own_weights_and_answers(base, inputs, whole):
  """Their paths may change; results of others would be told as those of this command."""
  test = inputs.splits['test']
  others = {
    'base': {'base': 'another'},
    'answers': {'splits': inputs.splits | {'test': dataclasses.replace(test, groups=[0] * 16)}},
    'metrics': {'task': dataclasses.replace(inputs.task, metrics=())},
  }
  for name, change in others.items():
    with pytest.raises(ConfigError, match='was of something else') as caught:
      finetune.run(job(base), dataclasses.replace(inputs, **change), whole, quiet=True)
    assert caught.value.where == f'{whole}: {name}'


def test_a_run_that_was_killed_behind_its_results_leaves_no_checkpoints(
  base, inputs, whole, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    kill_in(patch, folders, 'write_results', 1, True)
    with pytest.raises(Killed):
      finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  left = tmp_path / 'w/checkpoints'
  assert left.exists()
  with Checkpoints(left, {}).claim():  # the start that ended it is not yet gone
    finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
    assert left.exists()
  finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', whole)


def test_the_clock_may_jump_by_years(base, inputs, whole, tmp_path, monkeypatch):
  """It is left ten years ago, and goes on in ten years and in another time zone."""
  real, years = time.time, 10 * 365 * 86_400
  monkeypatch.setattr(time, 'time', lambda: real() - years)
  half(base, inputs, tmp_path / 'w')
  monkeypatch.setattr(time, 'time', lambda: real() + years)
  monkeypatch.setenv('TZ', 'Pacific/Kiritimati')
  time.tzset()
  try:
    finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  finally:
    monkeypatch.undo()
    time.tzset()
  assert_same(tmp_path / 'w', whole)


def test_a_clock_that_leaps_in_a_save_ends_nothing(base, inputs, whole, tmp_path, monkeypatch):
  """Every look at it is a day later; Orbax, which times its saves by it, waits ten minutes."""
  real, days = time.time, itertools.count()
  monkeypatch.setattr(time, 'time', lambda: real() + 86_400 * next(days))
  finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  monkeypatch.undo()
  assert next(days) > 30  # the clock was looked at
  assert_same(tmp_path / 'w', whole)


def test_too_little_room_is_told_before_the_first_step(base, inputs, tmp_path, monkeypatch):
  monkeypatch.setattr(room, 'free', lambda folder: 1_000)
  monkeypatch.setattr(train.Loop, 'run', lambda *_: pytest.fail('trained'))
  with pytest.raises(StorageError, match='too little room') as caught:
    finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert caught.value.exit_code == 6 and caught.value.got == '1,000 bytes are free'


def half(base, inputs, out, **changes):
  """A run that was left at step 5."""
  with pytest.MonkeyPatch.context() as patch, pytest.raises(PreemptedError):
    patch.setattr(Preemption, '__call__', lambda self, step: step == 5)
    finetune.run(job(base, **changes), inputs, out, quiet=True)


def test_the_note_of_a_process_on_another_host_holds_until_it_is_overruled(
  base, inputs, whole, tmp_path
):
  half(base, inputs, tmp_path / 'w')
  note = {'host': 'elsewhere', 'pid': 1, 'run': 'x', 'since': 'then'}
  (tmp_path / 'w/checkpoints' / HOLDER).write_text(json.dumps(note))
  with pytest.raises(InUseError, match='--force_unlock'):
    finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  finetune.run(job(base), inputs, tmp_path / 'w', quiet=True, force=True)
  assert_same(tmp_path / 'w', whole)


def test_other_settings_are_refused_and_named(base, inputs, tmp_path):
  half(base, inputs, tmp_path / 'w')
  before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
  for changes in {'optim.rate': 1e-5}, {'data.seed': 7}, {'batch_size': 10, 'accumulate': 1}:
    other = job(base, **changes)
    with pytest.raises(ConfigError, match='other settings') as caught:
      finetune.run(other, inputs, tmp_path / 'w', quiet=True)
    assert all(name in str(caught.value) for name in changes)
  assert before == {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}


def test_a_folder_of_another_run_is_refused_before_anything_is_read(base, inputs, tmp_path):
  half(base, inputs, tmp_path / 'w')
  with pytest.raises(ConfigError, match='other settings'):
    run.main(job('absent', **{'optim.rate': 1e-5, 'data.dir': 'absent'}), str(tmp_path / 'w'))


def test_settings_that_change_no_result_may_change(base, inputs, whole, tmp_path):
  half(base, inputs, tmp_path / 'w')
  free = job(base, **{'save_every': 5, 'eval_batch_size': 16, 'data.cache': ''})
  finetune.run(free, inputs, tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', whole)


def test_a_run_goes_on_with_other_devices(base, inputs, tmp_path):
  """The same examples in the same order; the numbers differ by rounding."""
  once = {'eval_every': CHANGES['steps']}  # so that the adapter holds the last arrays
  finetune.run(job(base, **once), inputs, tmp_path / 'whole', quiet=True)
  half(base, inputs, tmp_path / 'w', **once)
  other = job(base, **once, **{'mesh.devices': 4, 'mesh.data': 2, 'mesh.fsdp': 2})
  finetune.run(other, inputs, tmp_path / 'w', quiet=True)
  for one, two in zip(notes(tmp_path / 'w'), notes(tmp_path / 'whole'), strict=True):
    assert one['step'] == two['step']
    if 'loss' in one:
      np.testing.assert_allclose(one['loss'], two['loss'], rtol=1e-5)
    else:
      assert one == two  # the scores of the validation rows
  arrays, whole = adapter(tmp_path / 'w'), adapter(tmp_path / 'whole')
  assert arrays.keys() == whole.keys()
  for name in arrays:
    np.testing.assert_allclose(arrays[name], whole[name], rtol=0, atol=5e-5, err_msg=name)


def test_a_packed_run_goes_on_with_devices_that_cannot_share_its_lines(
  base, inputs, tmp_path, capsys
):
  packed = {'data.batching': 'packed', 'accumulate': 1}
  finetune.run(job(base, **packed), inputs, tmp_path / 'whole', quiet=True)
  with pytest.MonkeyPatch.context() as patch, pytest.raises(PreemptedError):
    patch.setattr(Preemption, '__call__', lambda self, step: step == 5)
    finetune.run(job(base, **packed), inputs, tmp_path / 'w', quiet=True)
  finetune.run(job(base, **packed, **{'mesh.devices': 8}), inputs, tmp_path / 'w')
  told = 'the same rows are packed in another way: 8 devices share 8 lines'
  assert told in capsys.readouterr().out
  for one, two in zip(notes(tmp_path / 'w'), notes(tmp_path / 'whole'), strict=True):
    if 'loss' in one:
      np.testing.assert_allclose(one['loss'], two['loss'], rtol=0.05)  # other dropout


def test_going_on_takes_no_more_memory_than_training(base, tmp_path, monkeypatch):
  """Of full fine-tuning: nothing but T5's own weights is there when the checkpoint is read."""
  config = read_config(CONFIG.with_name('full.py'))
  own = {name: value for name, value in CHANGES.items() if not name.startswith('method.')}
  config.update_from_flattened_dict(own | {'model': str(base)})
  settings = schema.job(config.to_dict())
  shape, real, held = t5.shapes(t5.read_config(base))['token_embedding'], stored.read, []

  def tables():
    gc.collect()
    return sum(array.shape == shape for array in jax.live_arrays())

  def read(*args):
    held.append(tables())
    return real(*args)

  with pytest.MonkeyPatch.context() as patch, pytest.raises(PreemptedError):
    patch.setattr(Preemption, '__call__', lambda self, step: step == 5)
    finetune.run(settings, read_inputs(settings), tmp_path / 'w', quiet=True)
  before = tables()
  monkeypatch.setattr(stored, 'read', read)
  finetune.run(settings, read_inputs(settings), tmp_path / 'w', quiet=True)
  assert held == [before + 1]


def test_what_a_killed_process_was_writing_is_removed(base, inputs, whole, tmp_path):
  half(base, inputs, tmp_path / 'w')
  drafts = [tmp_path / 'w' / name for name in ('.results.json.1a.tmp', 'adapter/.adapter.1a.tmp')]
  for draft in drafts:
    draft.parent.mkdir(exist_ok=True)
    draft.touch()
  finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert not any(draft.exists() for draft in drafts)
  assert_same(tmp_path / 'w', whole)


def test_what_cannot_be_removed_is_told(base, inputs, tmp_path, monkeypatch):
  def broken(path, **kwargs):
    raise OSError(5, 'Input/output error')

  (tmp_path / '.results.json.1a.tmp').touch()
  monkeypatch.setattr(Path, 'unlink', broken)
  with pytest.raises(StorageError, match=r'results.json.1a.tmp'):
    finetune.run(job(base), inputs, tmp_path, quiet=True)


def test_every_setting_is_either_free_or_not():
  """A name in FREE that no setting has would guard nothing."""
  config = schema.as_config(schema.job(read_config(CONFIG).to_dict()))
  assert set(schema.FREE) <= {name for name, _ in folders.flat(config)}


def test_a_damaged_checkpoint_is_told_and_an_older_one_taken(base, inputs, whole, tmp_path, capsys):
  half(base, inputs, tmp_path / 'w')
  (file, *_) = sorted((tmp_path / 'w/checkpoints/5').rglob('*'), key=lambda p: -p.stat().st_size)
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)
  finetune.run(job(base), inputs, tmp_path / 'w')
  assert 'going on from step 4' in capsys.readouterr().out
  assert_same(tmp_path / 'w', whole)


def test_steps_that_are_not_finite_are_not_saved(base, inputs, tmp_path):
  """The second update is wild; its loss is no number, and would be in the checkpoint of step 3."""
  wild = job(base, **{'optim.rate': 1e30, 'log_every': 100})
  with pytest.raises(NumericsError, match='step 3'):
    finetune.run(wild, inputs, tmp_path / 'w', quiet=True)
  assert not [path.name for path in (tmp_path / 'w/checkpoints').iterdir() if path.name.isdigit()]


def test_asked_while_a_checkpoint_is_written_it_waits_for_that_one_and_saves_another(
  base, inputs, whole, tmp_path, monkeypatch
):
  real, asked = stored.write, []

  def write(*args):
    if not asked:
      asked.append(time.monotonic())
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(1)  # the next step has ended by then
    return real(*args)

  with monkeypatch.context() as patch, pytest.raises(PreemptedError, match=r'step [34] of 11'):
    patch.setattr(stored, 'write', write)
    finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert time.monotonic() - asked[0] < SOON
  assert all(not found.reason for found in verify_steps(tmp_path / 'w/checkpoints'))
  finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', whole)


@pytest.fixture(scope='module')
def begun(base, tmp_path_factory):
  """Starts a run of 60 steps in a process of its own; programs are compiled once for all."""
  folder = tmp_path_factory.mktemp('begun')
  env = {
    'JAX_COMPILATION_CACHE_DIR': str(folder / 'programs'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
  changes, logs = CHANGES | {'model': base, 'steps': 60}, itertools.count()
  return lambda out, program=('-m', 'experiments.soak.keeping'), **own: Command(
    changes, out, folder / f'{next(logs)}.log', program, env=env | own
  )


@pytest.fixture(scope='module')
def process(begun, tmp_path_factory):
  """The folder of such a run that nothing interrupted."""
  out = tmp_path_factory.mktemp('process') / 'w'
  run = begun(out)
  assert run.ended() == 0, run.told()
  return out


@pytest.mark.processes
def test_signals_end_a_process_with_everything_saved(begun, process, tmp_path):
  """A real one: SIGTERM ends it within seconds, SIGKILL at any time, and it goes on from both."""
  asked = begun(tmp_path / 'w')
  asked.until(r'^step 1\d/60')
  asked.send(signal.SIGTERM)
  asked_at = time.monotonic()
  assert asked.ended() == 75, asked.told()
  assert time.monotonic() - asked_at < SOON
  assert 'the same command goes on with it' in asked.told()
  killed = begun(tmp_path / 'w')
  killed.until('going on from step')
  killed.until(r'^step [34]\d/60')
  killed.send(signal.SIGKILL)
  assert killed.ended() == -signal.SIGKILL
  last = begun(tmp_path / 'w')
  assert last.ended() == 0, last.told()
  assert 'going on from step' in last.told()
  assert_same(tmp_path / 'w', process)


FULL = """
import errno, time
from compacter_jax.checkpoints import Checkpoints
from experiments import commandline, run
from experiments.soak import disk

real = Checkpoints.save

def save(self, step, *args, **kwargs):
  if step == 21:
    self.wait()  # for step 20
    print('full', time.time(), flush=True)
    disk.fail(self._folder.parent, 20, errno.ENOSPC)
  return real(self, step, *args, **kwargs)

Checkpoints.save = save
commandline.start(run.main, run.__doc__, several=True)
"""


@pytest.mark.processes
def test_a_disk_that_fills_up_ends_a_process_in_seconds(begun, process, shim, tmp_path):
  """From a call on that lies in the midst of a save, whatever is written below the folder."""
  full = begun(tmp_path / 'w', ('-c', FULL), LD_PRELOAD=str(shim))
  assert full.ended() == 6, full.told()
  assert full.since('full') < SOON
  # Of the checkpoint, or of the notes where a step ends sooner.
  assert 'No space left on device' in full.told().partition('\nStorageError: ')[2], full.told()
  report = verify(tmp_path / 'w')
  assert report.code == 0, report.text()
  assert [found.step for found in verify_steps(tmp_path / 'w/checkpoints')] == [20, 18]
  again = begun(tmp_path / 'w')
  assert again.ended() == 0, again.told()
  assert 'going on from step 20' in again.told()
  assert_same(tmp_path / 'w', process)
