"""`experiments.verify` sees whatever is wrong with a folder, says where, and changes nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from compacter_jax import adapter_file, sealed, t5, tensor_file
from compacter_jax.checkpoints import manifest
from compacter_jax.errors import ConfigError, PreemptedError, WeightsError
from experiments import finetune, folders, pretraining, pretraining_job, verify
from experiments.configs import HERE, read_config
from experiments.inputs import read_inputs
from experiments.preemption import Preemption
from experiments.verifying import verify as verified
from tests import corpora
from tests.conftest import save_small
from tests.test_resume import job

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """A small T5 with the shipped vocabulary, in Hugging Face's format."""
  sizes = {'d_model': 32, 'd_kv': 8, 'd_ff': 16, 'heads': 2}
  cfg = t5.Config(vocab=8_192, encoder_layers=1, decoder_layers=1, dropout=0.1, **sizes)
  return save_small(tmp_path_factory.mktemp('base'), cfg)


@pytest.fixture(scope='module')
def runs(base, tmp_path_factory):
  """The folders of a run that was left at step 5, and of the same run when it has ended."""
  out, settings = tmp_path_factory.mktemp('runs'), job(base, steps=7)
  inputs = read_inputs(settings)
  with jax.numpy_dtype_promotion('standard'), pytest.MonkeyPatch.context() as patch:
    patch.setattr(Preemption, '__call__', lambda self, step: step == 5)
    with pytest.raises(PreemptedError):
      finetune.run(settings, inputs, out / 'left', quiet=True)
    patch.undo()
    shutil.copytree(out / 'left', out / 'ended')
    finetune.run(settings, inputs, out / 'ended', quiet=True)
  return out


@pytest.fixture
def left(runs, tmp_path):
  return shutil.copytree(runs / 'left', tmp_path / 'left')


@pytest.fixture
def ended(runs, tmp_path):
  return shutil.copytree(runs / 'ended', tmp_path / 'ended')


def files(folder):
  return sorted(p for p in folder.rglob('*') if p.is_file() and not p.name.startswith('.'))


def snapshot(folder):
  """All that a change would show in."""
  stats = {path: os.lstat(path) for path in [folder, *folder.rglob('*')]}
  return {path: (s.st_mtime_ns, s.st_size, s.st_ino, s.st_mode) for path, s in stats.items()}


def wrong(folder):
  """The parts that are wrong with a folder, which stays as it is, and the exit code."""
  before = snapshot(folder)
  report = verified(folder)
  assert snapshot(folder) == before
  return {part.name: part.error for part in report.parts if part.error}, report.code


def test_nothing_is_wrong_with_what_nobody_touched(left, ended, base):
  for folder, kind in (left, 'not ended'), (ended, 'has ended'), (base, 'T5'):
    report = verified(folder)
    assert kind in report.kind and report.code == 0 and not wrong(folder)[0]
    assert 'nothing is wrong' in report.text()
  told = {part.name: part.told for part in verified(left).parts}
  assert set(told) == {
    'config.json', 'settings', 'metrics.jsonl', *map('checkpoints/{}'.format, ('.lock', 4, 5))
  }  # fmt: skip
  assert told['checkpoints/.lock'] == 'nobody is at work here'
  told = [part.name for part in verified(ended).parts]
  assert set(told) == {'results.json', *finetune.FILES}
  assert 'of a run' in verified(left / 'checkpoints').kind
  for path in ended / 'adapter', *files(ended / 'adapter'):
    assert verified(path).kind == 'an adapter' and verified(path).code == 0


def cut(path, outside):
  path.write_bytes(path.read_bytes()[:-9])


def emptied(path, outside):
  path.write_bytes(b'')


def flipped(path, outside):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def deleted(path, outside):
  path.unlink()


def linked(path, outside):
  """The same bytes, but elsewhere."""
  path.rename(outside / 'same')
  path.symlink_to(outside / 'same')


def piped(path, outside):
  """Whoever opens it to read waits for ever."""
  path.unlink()
  os.mkfifo(path)


DAMAGES = cut, emptied, flipped, deleted, linked, piped


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('which', ['left', 'ended'])
def test_every_damage_to_every_file_of_a_run_is_seen(which, damage, runs, tmp_path):
  for number, name in enumerate(p.relative_to(runs / which) for p in files(runs / which)):
    folder = shutil.copytree(runs / which, tmp_path / str(number))
    (tmp_path / f'outside{number}').mkdir()
    damage(folder / name, tmp_path / f'outside{number}')
    found, code = wrong(folder)
    step = '/'.join(name.parts[:2])
    named = [str(name) in f'{part} {error}' or part == step for part, error in found.items()]
    # Without its results a run is taken for one that was left, and then it lacks checkpoints.
    assert any(named) or name.name == 'results.json', (name, found)
    assert code == 4, (name, found)


def test_a_folder_that_became_a_link_is_not_followed(left, ended, tmp_path):
  for folder, name in (left, 'checkpoints'), (ended, 'adapter'):
    (folder / name).rename(tmp_path / f'my-{name}')
    (folder / name).symlink_to(tmp_path / f'my-{name}')
    found, code = wrong(folder)
    assert code == 4 and all('leads out of the folder' in str(error) for error in found.values())
    assert any(part.startswith(name) for part in found)


@pytest.mark.parametrize(
  ('name', 'read', 'stride'),
  [('adapter/adapter.json', adapter_file.describe, 1), ('results.json', folders.results, 9)],
)
def test_no_flipped_bit_of_a_file_with_a_hash_of_its_own_is_silent(name, read, stride, ended):
  path = ended / name
  content = path.read_bytes()
  for at in {*range(0, len(content), stride), *range(len(content) - 90, len(content))}:
    damaged = bytearray(content)
    damaged[at] ^= 1 << at % 8
    path.write_bytes(damaged)
    with pytest.raises(WeightsError):
      read(path.parent)
  path.write_bytes(content)
  read(path.parent)


def test_files_of_an_earlier_version_load_and_are_told(ended):
  for name in 'adapter/adapter.json', 'results.json':
    content = json.loads((ended / name).read_text())
    old = {k: v for k, v in content.items() if k not in (sealed.KEY, 'files')}
    (ended / name).write_text(json.dumps(old, indent=1))
  report = verified(ended)
  told = {part.name: part.told for part in report.parts}
  assert report.code == 0
  assert 'without a hash' in told['adapter/adapter.json']
  assert 'without a hash' in told['results.json']


def test_an_adapter_with_other_arrays_than_its_method_is_wrong(ended):
  arrays = ended / 'adapter/adapter.safetensors'
  described = adapter_file.describe(ended / 'adapter')
  tensor_file.write(arrays, dict(list(tensor_file.read(arrays).items())[1:]))
  sealed.write(ended / 'adapter/adapter.json', described | {'arrays': adapter_file._hash(arrays)})
  found, _ = wrong(ended / 'adapter')
  assert 'not those of the method' in str(found['adapter.safetensors'])


def without(folder, *names):
  """Checkpoints as an earlier version wrote them."""
  for path in folder.glob('checkpoints/*/manifest.json'):
    described = manifest.read(path)
    for name in names:
      del described.about[name]
    path.write_bytes(manifest.encode(described))


def test_settings_that_changed_are_not_those_of_the_checkpoints(left):
  config = json.loads((left / 'config.json').read_text())
  for name, value in ('save_every', 99), ('batch_size', 4):
    (left / 'config.json').write_text(json.dumps(config | {name: value}, indent=1))
    found, code = wrong(left)
    assert code == 4 and 'not those of the checkpoints' in str(found['settings'])


def test_checkpoints_of_an_earlier_version_know_what_identifies_the_run(left):
  without(left, 'config', 'notes_sha256')
  config = json.loads((left / 'config.json').read_text())
  assert wrong(left) == ({}, 0)
  (left / 'config.json').write_text(json.dumps(config | {'batch_size': 4}, indent=1))
  found, code = wrong(left)
  assert code == 4 and 'not those of the checkpoints' in str(found['settings'])


def test_where_no_checkpoint_is_left_that_is_said(left):
  for step in 4, 5:
    (left / f'checkpoints/{step}/manifest.json').unlink()
  found, code = wrong(left)
  assert code == 4 and 'none can be used' in str(found['checkpoints'])
  for step in 4, 5:
    name = f'checkpoints/quarantine-{step}-no-manifest'
    (left / f'checkpoints/{step}').rename(left / name)
  found, _ = wrong(left)
  assert set(found) == {'checkpoints'}


def test_a_run_before_its_first_checkpoint_is_right(left):
  shutil.rmtree(left / 'checkpoints/4')
  shutil.rmtree(left / 'checkpoints/5')
  assert wrong(left) == ({}, 0)
  (left / 'config.json').unlink()
  (left / 'metrics.jsonl').unlink()
  assert 'had not begun' in verified(left).text()


HOLDERS = {
  'is at work': {'pid': os.getpid()},
  'ended without': {'pid': 2**22 + 1},
  'another host': {'pid': 1, 'host': 'elsewhere'},
}


@pytest.mark.parametrize('told', HOLDERS)
def test_who_has_the_folder_is_told(told, left):
  import socket

  note = {'host': socket.gethostname(), 'run': 'r', 'since': 's'} | HOLDERS[told]
  (left / 'checkpoints/.holder.json').write_text(json.dumps(note))
  assert told in verified(left).text()
  assert wrong(left) == ({}, 0)


def test_a_step_that_a_run_removed_meanwhile_is_no_damage(left, monkeypatch):
  from compacter_jax.checkpoints import verifying

  real = verifying.check

  def removed(folder, step):
    if step == 4:
      shutil.rmtree(folder / '4')
    return real(folder, step)

  monkeypatch.setattr(verifying, 'check', removed)
  report = verified(left)
  assert report.code == 0 and 'checkpoints/4' not in [part.name for part in report.parts]


def test_a_t5_is_read_whole(base, tmp_path):
  folder = shutil.copytree(base, tmp_path / 't5')
  weights = tensor_file.read(folder / 'model.safetensors')
  name = next(iter(weights))
  weights[name].reshape(-1)[3] = np.nan
  tensor_file.write(folder / 'model.safetensors', weights)
  found, code = wrong(folder)
  assert code == 4 and f'{name} has 1 numbers that are not finite' in str(found['weights'])
  for damage in set(DAMAGES) - {flipped}:  # a T5 has no hash to see a bit by
    for number, path in enumerate(files(base)):
      if damage is deleted and path.name == 'spiece.model':
        continue  # weights alone are a T5 too
      copy = shutil.copytree(base, tmp_path / f'{damage.__name__}{number}')
      (tmp_path / f'out{damage.__name__}{number}').mkdir()
      damage(copy / path.name, tmp_path / f'out{damage.__name__}{number}')
      found, code = wrong(copy)
      assert code in (2, 4) and found, (path, damage)
  (folder / 'spiece.model').unlink()
  assert 'none is here' in verified(folder).text()


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
  """Folders of a pretraining run that was asked to end, and of one that has ended."""
  folder = tmp_path_factory.mktemp('pretrained')
  text = corpora.write(folder / 'text')
  config = read_config(HERE / 'pretrain_nano.py')
  config.text.dir, config.text.dev_chunks, config.pieces = str(text), 4, 100
  config.task.chunk, config.mesh.devices = 24, 1
  config.shape.update({'d_model': 16, 'd_kv': 4, 'd_ff': 24, 'heads': 2})
  config.shape.update({'encoder_layers': 1, 'decoder_layers': 1})
  config.steps, config.batch_size, config.optim.warmup, config.log_every = 4, 8, 1, 1
  job = pretraining_job.job(config.to_dict())
  with jax.numpy_dtype_promotion('standard'):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PreemptedError):
      patch.setattr(Preemption, '__call__', lambda self, step: step == 2)
      pretraining.run(job, folder / 'left', quiet=True)
    shutil.copytree(folder / 'left', folder / 'ended')
    pretraining.run(job, folder / 'ended', quiet=True)
  return folder


def test_a_pretraining_run_is_known(pretrained):
  for name in 'left', 'ended':
    assert 'pretraining' in verified(pretrained / name).kind
    assert wrong(pretrained / name) == ({}, 0)


@pytest.mark.parametrize(
  ('name', 'file', 'parts'),
  [
    ('left', 'config.json', {'settings'}),
    ('left', 'metrics.jsonl', {'metrics.jsonl'}),
    ('left', 'checkpoints/2/arrays/_METADATA', {'checkpoints/2', 'checkpoints'}),
    ('ended', 'model/model.safetensors', {'model/model.safetensors'}),
    ('ended', 'model/spiece.model', {'model/spiece.model', 'model/tokenizer'}),
    ('ended', 'loss.png', {'loss.png'}),
    ('ended', 'metrics.jsonl', {'metrics.jsonl'}),
    ('ended', 'results.json', {'results.json'}),
  ],
)
def test_damage_to_a_pretraining_run_is_seen(pretrained, tmp_path, name, file, parts):
  shutil.copytree(pretrained / name, tmp_path / 'w')
  path = tmp_path / 'w' / file
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  found, code = wrong(tmp_path / 'w')
  assert code != 0 and found and set(found) <= parts | {file}, found


def test_what_is_none_of_these_is_refused(tmp_path):
  (tmp_path / 'notes.txt').touch()
  for path in tmp_path, tmp_path / 'absent', tmp_path / 'notes.txt':
    with pytest.raises(ConfigError, match='no'):
      verified(path)


def test_the_command_prints_text_or_json_and_ends_with_the_code(left, capsys):
  flipped(left / 'checkpoints/5/arrays/_METADATA', None)
  with pytest.raises(SystemExit) as caught:
    verify.main([str(left)])
  assert caught.value.code == 4
  shown = capsys.readouterr().out
  assert 'wrong  checkpoints/5' in shown and 'other bytes' in shown and '1 of 6 parts' in shown
  with pytest.raises(SystemExit) as caught:
    verify.main([str(left), '--format=json'])
  told = json.loads(capsys.readouterr().out)
  assert caught.value.code == told['code'] == 4
  (part,) = (part for part in told['parts'] if not part['ok'])
  assert part['name'] == 'checkpoints/5' and part['exit_code'] == 4 and part['fix']


def test_the_command_works_as_one(tmp_path):
  command = [sys.executable, '-m', 'experiments.verify', str(tmp_path)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 2 and 'an empty folder' in done.stderr
