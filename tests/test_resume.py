"""A fine-tuning run that is interrupted ends with the very bits of one that is not."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from compacter_jax import t5, tensor_file, train
from compacter_jax.checkpoints import Checkpoints
from compacter_jax.errors import NumericsError, PreemptedError, StorageError
from experiments import finetune, folders, schema
from experiments.configs import HERE, read_config
from experiments.evaluation import Evaluation
from experiments.inputs import read_inputs
from experiments.preemption import Preemption
from tests.conftest import save_small

SPEEDS = 'examples_per_second', 'seconds_per_step', 'waited'
ROOT = Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """A small T5 with the shipped vocabulary, in Hugging Face's format."""
  folder = tmp_path_factory.mktemp('base')
  sizes = {'d_model': 32, 'd_kv': 8, 'd_ff': 16, 'heads': 2}
  cfg = t5.Config(vocab=8_192, encoder_layers=1, decoder_layers=1, dropout=0.1, **sizes)
  return save_small(folder, cfg)


CHANGES = {
  'data.task': 'quickstart',
  'data.max_train': 20,  # so that a batch of 8 runs over the border of an epoch
  'data.max_validation': 16,
  'data.max_test': 16,
  'batch_size': 8,
  'accumulate': 2,
  'steps': 11,
  'eval_every': 4,
  'save_every': 3,
  'log_every': 2,
  'optim.warmup': 1,
  'mesh.devices': 1,
  'method.adapters.width': 8,
}


def job(base, **changes):
  config = read_config(HERE / 'compacter.py')
  config.update_from_flattened_dict(CHANGES | changes | {'model': str(base)})
  return schema.job(config.to_dict())


@pytest.fixture(scope='module')
def inputs(base):
  return read_inputs(job(base))


@pytest.fixture(scope='module')
def whole(base, inputs, tmp_path_factory):
  """The folder of a run that nothing interrupted."""
  out = tmp_path_factory.mktemp('whole') / 'w'
  with jax.numpy_dtype_promotion('standard'):
    finetune.run(job(base), inputs, out, quiet=True)
  return out


def notes(folder):
  """The lines of metrics.jsonl but for the speeds, which differ from run to run."""
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  return [{k: v for k, v in json.loads(line).items() if k not in SPEEDS} for line in lines]


def assert_same(folder, whole):
  assert notes(folder) == notes(whole)
  arrays = [tensor_file.read(each / 'adapter/adapter.safetensors') for each in (folder, whole)]
  assert arrays[0].keys() == arrays[1].keys()
  for name in arrays[0]:
    assert arrays[0][name].tobytes() == arrays[1][name].tobytes(), name
  told = [json.loads((each / 'results.json').read_text()) for each in (folder, whole)]
  for name in 'validation', 'test', 'intervals', 'position':
    assert told[0][name] == told[1][name]
  assert not (folder / 'checkpoints').exists()


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


@pytest.mark.parametrize('at', range(1, 11))
def test_asked_to_end_before_any_step_it_saves_that_step(
  at, base, inputs, whole, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    patch.setattr(Preemption, '__call__', lambda self, step: step == at)
    with pytest.raises(PreemptedError, match='asked to end') as caught:
      finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert caught.value.exit_code == 75
  assert f'step {at} of 11' in str(caught.value)
  assert (tmp_path / f'w/checkpoints/{at}').is_dir()
  finetune.run(job(base), inputs, tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', whole)


def test_a_run_that_has_ended_does_nothing(base, inputs, whole, monkeypatch):
  before = {path: path.stat().st_mtime_ns for path in whole.rglob('*')}
  monkeypatch.setattr(train.Loop, 'run', lambda *_: pytest.fail('trained'))
  results = finetune.run(job(base), inputs, whole, quiet=True)
  assert results == json.loads((whole / 'results.json').read_text())
  assert before == {path: path.stat().st_mtime_ns for path in whole.rglob('*')}


def half(base, inputs, out):
  """A run that was left at step 5."""
  with pytest.MonkeyPatch.context() as patch, pytest.raises(PreemptedError):
    patch.setattr(Preemption, '__call__', lambda self, step: step == 5)
    finetune.run(job(base), inputs, out, quiet=True)


def test_other_settings_are_refused_and_named(base, inputs, tmp_path):
  half(base, inputs, tmp_path / 'w')
  before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
  for changes in {'optim.rate': 1e-5}, {'data.seed': 7}, {'batch_size': 10, 'accumulate': 1}:
    other = job(base, **changes)
    with pytest.raises(StorageError, match='other settings') as caught:
      finetune.run(other, inputs, tmp_path / 'w', quiet=True)
    assert all(name in str(caught.value) for name in changes)
  assert before == {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}


def test_settings_that_change_no_result_may_change(base, inputs, whole, tmp_path):
  half(base, inputs, tmp_path / 'w')
  free = job(base, **{'save_every': 5, 'eval_batch_size': 16, 'data.cache': ''})
  finetune.run(free, inputs, tmp_path / 'w', quiet=True)
  assert_same(tmp_path / 'w', whole)


def test_a_run_goes_on_with_other_devices(base, inputs, whole, tmp_path):
  """The same examples in the same order; the numbers differ by rounding."""
  half(base, inputs, tmp_path / 'w')
  other = job(base, **{'mesh.devices': 4, 'mesh.data': 2, 'mesh.fsdp': 2})
  finetune.run(other, inputs, tmp_path / 'w', quiet=True)
  for one, two in zip(notes(tmp_path / 'w'), notes(whole), strict=True):
    assert one['step'] == two['step']
    if 'loss' in one:
      np.testing.assert_allclose(one['loss'], two['loss'], rtol=1e-5)


def test_every_setting_is_either_free_or_not():
  """A name in FREE that no setting has would guard nothing."""
  config = schema.as_config(schema.job(read_config(HERE / 'compacter.py').to_dict()))
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


class Command:
  """`experiments.run` in a process of its own, whose output goes to a file."""

  def __init__(self, base, out, log):
    flags = [f'--config.{k}={v}' for k, v in (CHANGES | {'model': base, 'steps': 60}).items()]
    python = [sys.executable, '-m', 'experiments.run', f'--config={HERE / "compacter.py"}']
    env = os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
    self._log = log
    with log.open('w') as file:
      args = {'stdout': file, 'stderr': subprocess.STDOUT, 'cwd': ROOT, 'env': env}
      self._process = subprocess.Popen([*python, *flags, f'--workdir={out}'], **args)

  def until(self, pattern):
    """Waits for a line."""
    while not re.search(pattern, self.told(), re.MULTILINE):
      assert self._process.poll() is None, f'ended before {pattern}: {self.told()}'
      time.sleep(0.05)

  def told(self):
    return self._log.read_text()

  def send(self, number):
    self._process.send_signal(number)

  def ended(self):
    """The exit code; a process that hangs is ended."""
    try:
      return self._process.wait(timeout=180)
    finally:
      self._process.kill()
      self._process.wait()


def test_signals_end_a_process_with_everything_saved(base, tmp_path):
  """A real one: SIGTERM ends it within seconds, SIGKILL at any time, and it goes on from both."""
  begin = lambda name, n: Command(base, tmp_path / name, tmp_path / f'{name}{n}.log')
  whole = begin('whole', 1)
  asked = begin('w', 1)
  asked.until(r'^step 1\d/60')
  asked.send(signal.SIGTERM)
  asked_at = time.monotonic()
  assert asked.ended() == 75, asked.told()
  assert time.monotonic() - asked_at < 60  # a step and five seconds on a machine that is not busy
  assert 'the same command goes on with it' in asked.told()
  killed = begin('w', 2)
  killed.until('going on from step')
  killed.until(r'^step [34]\d/60')
  killed.send(signal.SIGKILL)
  assert killed.ended() == -signal.SIGKILL
  last = begin('w', 3)
  assert last.ended() == 0, last.told()
  assert 'going on from step' in last.told()
  assert whole.ended() == 0, whole.told()
  assert_same(tmp_path / 'w', tmp_path / 'whole')
