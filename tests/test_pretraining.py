"""Pretraining from files of text: what a run leaves, what interrupts it, what it refuses."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from compacter_jax import t5, train
from compacter_jax.checkpoints import Checkpoints
from compacter_jax.data.corpus import chunks_of, token_stream
from compacter_jax.data.denoised import Denoised
from compacter_jax.data.sentencepiece_tokenizer import SentencePieceTokenizer
from compacter_jax.errors import (
  CompacterError,
  ConfigError,
  DataError,
  InUseError,
  NumericsError,
  PreemptedError,
  StorageError,
  WeightsError,
)  # fmt: skip
from compacter_jax.model import Model
from experiments import finetune, folders, pretrain, pretraining, pretraining_log, schema
from experiments.configs import HERE, read_config
from experiments.inputs import read_inputs
from experiments.preemption import Preemption
from experiments.pretraining_folder import begun
from experiments.pretraining_inputs import read
from experiments.pretraining_job import job as job_of
from tests import corpora

ROOT = Path(__file__).parents[1]
LEFT = {
  'config.json', 'metrics.jsonl', 'events', 'loss.png', 'results.json', 'model',
}  # fmt: skip


pytestmark = pytest.mark.usefixtures('standard_promotion')


CACHE = {
  'jax_persistent_cache_min_compile_time_secs': 0,
  'jax_persistent_cache_min_entry_size_bytes': 0,
}


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
  """Every start of a run compiles anew, here once for all."""
  folder = str(tmp_path_factory.mktemp('programs'))
  names = [*CACHE, 'jax_compilation_cache_dir']
  before = {name: getattr(jax.config, name) for name in names}
  for name, value in {**CACHE, 'jax_compilation_cache_dir': folder}.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield folder
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  return corpora.write(tmp_path_factory.mktemp('text') / 'text')


def settings(text, **changes):
  """The shipped config on a small text and a tiny T5, with dotted names changed."""
  config = read_config(HERE / 'pretrain_nano.py')
  config.text.dir, config.text.dev_chunks, config.pieces = str(text), 10, 100
  config.task.chunk = 24
  sizes = {'d_model': 16, 'd_kv': 4, 'd_ff': 24, 'heads': 2}
  config.shape.update(sizes | {'encoder_layers': 1, 'decoder_layers': 1})
  config.steps, config.batch_size, config.optim.warmup = 40, 8, 5
  config.save_every, config.eval_every, config.log_every = 15, 20, 4
  config.mesh.devices = 1
  config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in changes.items()})
  return job_of(config.to_dict())


# All that may matter to resuming, changed from what is shipped.
OTHER = {
  'optim__optimizer': 'adamw', 'optim__schedule': 'inverse_sqrt', 'task__objective': 'prefix_lm',
  'dropout': True, 'accumulate': 2, 'saved_dtype': 'float32', 'seed': 7, 'dtype': 'float32',
  'remat': 'full', 'unroll': 1,
}  # fmt: skip


def trained(job, out):
  """Makes a run: its folder, its results, and the weights behind its last step."""
  states = []
  keep = pretraining.Pretraining.kept

  def kept(self, state, step):
    states[:] = [jax.device_get(state.tuned.weights)]
    return keep(self, state, step)

  with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion('standard'):
    patch.setattr(pretraining.Pretraining, 'kept', kept)
    return out, pretraining.run(job, out, quiet=True), states[0]


@pytest.fixture(scope='module')
def whole(text, tmp_path_factory):
  """The folder of a run that nothing interrupted, its results, and the weights it ended with."""
  return trained(settings(text), tmp_path_factory.mktemp('whole') / 'w')


def notes(folder):
  """The lines of metrics.jsonl but for the speeds, which differ from run to run."""
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  speeds = 'examples_per_second', 'seconds_per_step', 'waited'
  return [{k: v for k, v in json.loads(line).items() if k not in speeds} for line in lines]


def bits(folder):
  """All that two runs of the same settings must have alike, to the bit."""
  files = ['config.json']
  files += [f'model/{name}' for name in ('model.safetensors', 'config.json', 'spiece.model')]
  results = folders.results(folder)
  told = {k: results[k] for k in ('dev_loss', 'steps', 'ids', 'ids_seen', 'parameters')}
  return notes(folder), told, [(folder / name).read_bytes() for name in files]


def files_of(folder):
  return {path: path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def test_a_run_leaves_all_it_promises(text, whole):
  out, results, _ = whole
  assert {path.name for path in out.iterdir()} == LEFT
  assert folders.results(out) == results
  assert job_of(json.loads((out / 'config.json').read_text())) == settings(text)
  found = notes(out)
  dev = {line['step']: line['dev_loss'] for line in found if 'dev_loss' in line}
  assert list(dev) == [20, 40]
  losses = [line['loss'] for line in found if 'loss' in line]
  assert [line['step'] for line in found if 'loss' in line][-3:] == [31, 35, 40]
  # At first 256 rows are as likely; most ids of the made language are known after 40 steps.
  assert abs(losses[0] - np.log(256)) < 1
  assert losses[-1] < losses[0] - 0.7 and dev[40] < dev[20] and results['dev_loss'] == dev[40]
  assert results['ids_seen'] == 40 * 8 * 24
  assert results['parameters'] == t5.count(t5.read_config(out / 'model'))
  assert results['since_last_start']['step'] == 0


def test_the_same_run_again_has_the_same_bits(text, whole, tmp_path):
  pretraining.run(settings(text), tmp_path / 'w', quiet=True)
  assert bits(tmp_path / 'w') == bits(whole[0])


def test_the_model_is_what_was_trained(whole, other):
  for (out, _, want), dtype in ((whole, 'bfloat16'), (other, 'float32')):
    cfg, weights = t5.load(out / 'model')
    assert cfg.vocab == 256  # 100 pieces and 100 sentinels, up to the next multiple of 128
    assert weights.keys() == want.keys()
    for path, weight in weights.items():
      assert weight.dtype == dtype
      assert np.array_equal(np.asarray(weight), want[path].astype(weight.dtype))


@pytest.fixture(scope='module')
def other(text, tmp_path_factory):
  """The same of a run with all other settings."""
  return trained(settings(text, **OTHER), tmp_path_factory.mktemp('other') / 'w')


def test_the_dev_loss_is_that_of_all_dev_chunks(text, whole):
  out, results, weights = whole
  cfg = t5.read_config(out / 'model')
  tokenizer = SentencePieceTokenizer(out / 'model/spiece.model')
  chunks = chunks_of(token_stream([text / 'part-dev.txt'], tokenizer), 24)
  assert len(chunks) % 8  # so that the last batch is not full
  draw = Denoised(settings(text).task, tokenizer.eos_id, tokenizer.vocab_size - 1)
  batch = draw.dev(chunks)
  total, count = jax.jit(Model(cfg, dtype=settings(text).dtype).loss_sum)({}, weights, batch)
  assert count == batch['target'].size
  np.testing.assert_allclose(results['dev_loss'], total / count, rtol=1e-5)


class Killed(Exception):
  """Stands for whatever ends a process."""


def interrupted(job, out, step, late):
  """Starts a run that ends before, or after, the checkpoint of that step."""
  save = Checkpoints.save

  def ending(self, at, *args, **kwargs):
    if late or at != step:
      save(self, at, *args, **kwargs)
    if at == step:
      raise Killed

  with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
    patch.setattr(Checkpoints, 'save', ending)
    pretraining.run(job, out, quiet=True)
  assert not (out / 'results.json').exists()


def test_interrupted_at_every_checkpoint_the_bits_are_the_same(text, whole, tmp_path):
  """One run that ends before and after each of its four checkpoints, and goes on each time."""
  out = tmp_path / 'w'
  for step in 15, 20, 30, 40:
    for late in False, True:
      interrupted(settings(text), out, step, late)
  results = pretraining.run(settings(text), out, quiet=True)
  assert results['since_last_start']['step'] == 40
  assert bits(out) == bits(whole[0])


def test_interrupted_with_other_settings_the_bits_are_the_same(text, other, tmp_path):
  job, out = settings(text, **OTHER), tmp_path / 'w'
  interrupted(job, out, 20, late=True)
  results = pretraining.run(job, out, quiet=True)
  assert results['since_last_start']['step'] == 20
  assert bits(out) == bits(other[0])


def test_interrupted_while_the_end_is_written(text, whole, tmp_path, monkeypatch):
  shutil.copytree(whole[0], tmp_path / 'w')
  (tmp_path / 'w/results.json').unlink()
  pretraining.run(settings(text), tmp_path / 'w', quiet=True)
  assert bits(tmp_path / 'w') == bits(whole[0])  # the last dev loss stands there once


KILLED = """
import json, os, signal, sys
import jax
for name, value in json.loads(sys.argv[3]).items():
  jax.config.update(name, value)
from experiments import pretraining
from experiments.pretraining_job import job
from compacter_jax.checkpoints.store import Store
publish, steps = Store.publish, []

def killing(self, draft, described):
  steps.append(draft)
  if len(steps) == 2:
    os.kill(os.getpid(), signal.SIGKILL)
  publish(self, draft, described)

Store.publish = killing
pretraining.run(job(json.loads(sys.argv[1])), sys.argv[2], quiet=True)
"""


@pytest.fixture(scope='module')
def killed(whole, cache, tmp_path_factory):
  """The folder of a run that SIGKILL ended while it wrote its second checkpoint."""
  plain, out = (whole[0] / 'config.json').read_text(), tmp_path_factory.mktemp('killed') / 'w'
  flags = {**CACHE, 'jax_compilation_cache_dir': cache}
  flags |= {'jax_disable_most_optimizations': True, 'jax_num_cpu_devices': 8}  # as conftest.py
  command = [sys.executable, '-c', KILLED, plain, str(out), json.dumps(flags)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == -signal.SIGKILL, done.stderr
  return out


def test_killed_while_it_writes_a_checkpoint(text, whole, killed):
  assert [path.name for path in (killed / 'checkpoints').iterdir() if path.name.isdigit()] == ['15']
  # It had noted more than it had saved.
  assert [line['step'] for line in notes(killed) if 'dev_loss' in line] == [20]
  results = pretraining.run(settings(text), killed, quiet=True)
  assert results['since_last_start']['step'] == 15
  assert bits(killed) == bits(whole[0])
  assert {path.name for path in killed.iterdir()} == LEFT
  same_in_tensorboard(killed)
  same_in_tensorboard(whole[0])


def same_in_tensorboard(folder):
  lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
  told = {(k, note['step']): v for note in lines for k, v in note.items() if k != 'step'}
  found = events(folder / 'events')
  assert found.keys() == told.keys()
  assert all(np.float32(value) == found[key] for key, value in told.items())


def events(folder):
  """TensorBoard's files read back as TensorBoard does: values by name and step."""
  from tensorboardX.proto.event_pb2 import Event, SessionLog

  out = {}
  for path in sorted(folder.glob('events.out.tfevents.*'), key=lambda path: path.stat().st_mtime):
    content = path.read_bytes()
    while content:  # length, its checksum, the event, its checksum
      (size,) = struct.unpack('<Q', content[:8])
      event = Event.FromString(content[12 : 12 + size])
      content = content[16 + size :]
      if event.session_log.status == SessionLog.START:  # what comes again is dropped
        out = {key: value for key, value in out.items() if key[1] < event.step}
      out |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
  return out


def test_a_start_from_nothing_drops_what_one_before_it_showed(tmp_path):
  for steps in (1, 2, 3), (1,):
    time.sleep(1.1)  # files of TensorBoard are named by the second
    with pretraining_log.Log(tmp_path, step=0) as log:
      for step in steps:
        log.add(step=step, loss=1 / step)
  assert events(tmp_path / 'events') == {('loss', 1): 1.0}


def test_a_run_that_has_ended_does_nothing_more(text, whole, monkeypatch, capsys):
  out, results, _ = whole
  before = files_of(out)
  monkeypatch.setattr(pretraining, 'read', lambda *args: pytest.fail('the text was read again'))
  pretrain.main(settings(text), str(out))
  told = capsys.readouterr().out
  assert f'{out}: this run has ended' in told
  assert f'dev loss {results["dev_loss"]:.4f} per target id; model: {out}/model' in told
  assert files_of(out) == before


@pytest.mark.parametrize('ended', [True, False])
def test_a_folder_of_another_run_is_refused(text, whole, left, tmp_path, ended):
  shutil.copytree(whole[0] if ended else left, tmp_path / 'w')
  before = files_of(tmp_path / 'w')
  with pytest.raises(ConfigError, match='other settings') as caught:
    pretraining.run(settings(text, optim__rate=0.5, steps=41), tmp_path / 'w', quiet=True)
  assert (caught.value.expected, caught.value.got) == (
    'steps=40, optim.rate=0.01', 'steps=41, optim.rate=0.5',
  )  # fmt: skip
  (tmp_path / 'w/config.json').write_text('{')
  with pytest.raises(WeightsError, match='config.json'):
    pretraining.run(settings(text), tmp_path / 'w', quiet=True)
  (tmp_path / 'w/config.json').write_bytes((whole[0] / 'config.json').read_bytes())
  assert files_of(tmp_path / 'w') == before


def test_a_folder_of_fine_tuning_is_refused(text, tmp_path):
  folders.write_json(tmp_path / 'config.json', {'method': {'name': 'compacter'}})
  with pytest.raises(ConfigError, match='another command'):
    pretraining.run(settings(text), tmp_path, quiet=True)


@pytest.fixture(scope='module')
def left(text, tmp_path_factory):
  """The folder of a run that was asked to end behind 25 of 40 steps."""
  out = tmp_path_factory.mktemp('left') / 'w'
  with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion('standard'):
    patch.setattr(Preemption, '__call__', lambda self, step: step == 25)
    with pytest.raises(PreemptedError, match='step 25 of 40'):
      pretraining.run(settings(text), out, quiet=True)
  return out


def test_asked_to_end_it_saves_all_and_goes_on(text, whole, left, tmp_path):
  shutil.copytree(left, tmp_path / 'w')
  results = pretraining.run(settings(text), tmp_path / 'w', quiet=True)
  assert results['since_last_start']['step'] == 25
  assert bits(tmp_path / 'w') == bits(whole[0])


@pytest.mark.parametrize('part', ['0', 'dev'])
def test_another_text_is_not_gone_on_with(text, left, tmp_path, part):
  shutil.copytree(left, tmp_path / 'w')
  shutil.copytree(text, tmp_path / 'text')
  path = tmp_path / f'text/part-{part}.txt'
  path.write_text(path.read_text().replace('.', '!', 1))
  before = files_of(tmp_path / 'w/checkpoints/25')
  with pytest.raises(ConfigError, match='another') as caught:
    pretraining.run(settings(tmp_path / 'text'), tmp_path / 'w', quiet=True)
  assert f'{"train" if part == "0" else "dev"} text' in str(caught.value)
  assert files_of(tmp_path / 'w/checkpoints/25') == before


def test_the_text_may_lie_elsewhere(text, whole, left, tmp_path):
  shutil.copytree(left, tmp_path / 'w')
  shutil.copytree(text, tmp_path / 'text')
  pretraining.run(settings(tmp_path / 'text', remat='dots'), tmp_path / 'w', quiet=True)
  assert bits(tmp_path / 'w')[1]['dev_loss'] == pytest.approx(whole[1]['dev_loss'], abs=1e-3)


def test_changed_text_is_told(text, tmp_path):
  """What a state belongs to: which part differs can be read off the message."""
  shutil.copytree(text, tmp_path / 'text')
  job = settings(tmp_path / 'text', tokenizer=str(t5.resolve('nano')))
  first = read(job, tmp_path / 'w').identity(job)
  for part, name in (('0', 'train text'), ('dev', 'dev text')):
    path = tmp_path / f'text/part-{part}.txt'
    content = path.read_text()
    path.write_text(content.replace('.', '!', 1))
    other = read(job, tmp_path / 'w').identity(job)
    assert [key for key in first if first[key] != other[key]] == [name]
    path.write_text(content)


def test_another_t5_of_the_same_shape_is_another_run(text, whole, tmp_path):
  """Weights are told apart, wherever they lie: hosts with different ones must not begin."""
  cfg, weights = t5.load(whole[0] / 'model')
  altered = dict(weights) | {'token_embedding': weights['token_embedding'] * 2}
  for name, each in (('same', weights), ('other', altered)):
    t5.save(tmp_path / name, cfg, each)
  tokenizer = str(whole[0] / 'model/spiece.model')
  first, same, other = (
    read(job, tmp_path / 'w').identity(job)
    for job in (
      settings(text, model=str(folder), tokenizer=tokenizer)
      for folder in (whole[0] / 'model', tmp_path / 'same', tmp_path / 'other')
    )
  )
  assert first == same
  assert [name for name in first if first[name] != other[name]] == ['base']


def test_a_folder_is_used_by_one_process_at_a_time(text, left, tmp_path):
  shutil.copytree(left, tmp_path / 'w')
  with Checkpoints(tmp_path / 'w/checkpoints', {}).claim():
    before = files_of(tmp_path / 'w')
    with pytest.raises(InUseError):
      pretraining.run(settings(text), tmp_path / 'w', quiet=True)
    assert files_of(tmp_path / 'w') == before


def test_a_damaged_checkpoint_is_not_gone_on_with(text, whole, left, tmp_path, caplog):
  shutil.copytree(left, tmp_path / 'w')
  path = next(path for path in (tmp_path / 'w/checkpoints/25/arrays/d').iterdir())
  spoiled = bytearray(path.read_bytes())
  spoiled[len(spoiled) // 2] ^= 1
  path.write_bytes(spoiled)
  results = pretraining.run(settings(text), tmp_path / 'w', quiet=True)
  assert results['since_last_start']['step'] == 20  # the one before
  assert 'quarantine-25' in caplog.text
  assert bits(tmp_path / 'w') == bits(whole[0])


MESHES = {'fsdp': (1, 8, 1), 'all': (2, 2, 2)}


@pytest.mark.parametrize('mesh', MESHES.values(), ids=MESHES)
def test_a_mesh_changes_nothing_but_rounding(text, mesh, tmp_path):
  names = dict(zip(('mesh__data', 'mesh__fsdp', 'mesh__tensor'), mesh))
  changes = {'dtype': 'float32', 'steps': 12, 'saved_dtype': 'float32', 'save_every': 5}
  one, many = (settings(text, **changes, **own) for own in (
    {'mesh__devices': 1}, {'mesh__devices': int(np.prod(mesh)), **names},
  ))  # fmt: skip
  found = [pretraining.run(job, tmp_path / str(i), quiet=True) for i, job in enumerate((one, many))]
  assert found[0]['dev_loss'] == pytest.approx(found[1]['dev_loss'], abs=1e-5)
  first = [notes(tmp_path / str(i))[0]['loss'] for i in range(2)]
  assert first[0] == pytest.approx(first[1], abs=1e-5)
  weights = [t5.load(tmp_path / str(i) / 'model')[1] for i in range(2)]
  for path in weights[0]:
    np.testing.assert_allclose(weights[0][path], weights[1][path], atol=5e-5, err_msg=path)


def test_what_is_not_finite_and_what_leaps_is_told(text, tmp_path, monkeypatch):
  """The same policies as in fine-tuning, with the numbers of chunks."""
  build = train.make_step

  def built(*args, **kwargs):
    step = build(*args, **kwargs)

    def spoiled(state, frozen, batch):
      at = int(state.step)
      state, metrics = step(state, frozen, batch)
      if at == 14:
        metrics |= {'loss': metrics['loss'] * 10}
      if at == 16:
        metrics |= {'loss': metrics['loss'] * np.nan, 'finite': False}
      return state, metrics

    return spoiled

  monkeypatch.setattr(train, 'make_step', built)
  job = settings(text, steps=20, nonfinite='1', leap=3.0)
  results = pretraining.run(job, tmp_path / 'w', quiet=True)
  bad, leap = (
    [note for note in notes(tmp_path / 'w') if kind in note] for kind in ('nonfinite', 'leap')
  )
  assert results['skipped_steps'] == 1 and [note['step'] for note in bad] == [17]
  assert [note['step'] for note in leap] == [15]
  assert leap[0]['leap']['loss'] > 3 * leap[0]['leap']['median']
  assert len(bad[0]['nonfinite']['rows']) == len(leap[0]['leap']['rows']) == 8
  with pytest.raises(NumericsError, match='step 17'):
    pretraining.run(settings(text, steps=20), tmp_path / 'other', quiet=True)


def test_fine_tuning_starts_from_it(whole, tmp_path):
  config = read_config(HERE / 'bitfit.py')
  config.model, config.data.task = str(whole[0] / 'model'), 'quickstart'
  config.data.max_train = config.data.max_validation = config.data.max_test = 16
  config.batch_size, config.steps, config.data.max_target = 8, 2, 6
  job = schema.job(config.to_dict())
  results = finetune.run(job, read_inputs(job), tmp_path / 'w', quiet=True)
  assert results['steps'] == 2 and results['rows']['test'] == 16


def test_it_goes_on_from_the_shipped_t5(text, tmp_path):
  job = settings(text, model='nano', steps=2, batch_size=2, optim__warmup=0, text__dev_chunks=2)
  results = pretraining.run(job, tmp_path / 'w', quiet=True)
  assert results['parameters'] == t5.count(t5.read_config('nano'))
  (cfg, before), (saved, after) = t5.load('nano'), t5.load(tmp_path / 'w/model')
  assert cfg == saved
  moved = [path for path in before if not np.array_equal(before[path], after[path])]
  assert len(moved) > len(before) / 2
  # Far below chance, which is ln 8,192 = 9: it is the pretrained one that went on.
  assert notes(tmp_path / 'w')[0]['loss'] < 8
  vocabularies = [t5.resolve(m) / 'spiece.model' for m in ('nano', tmp_path / 'w/model')]
  assert vocabularies[0].read_bytes() == vocabularies[1].read_bytes()


def test_the_picture_shows_both_losses(whole, tmp_path):
  from matplotlib import image

  drawn = image.imread(whole[0] / 'loss.png')
  assert drawn.shape[:2] == (480, 840)
  shutil.copy(whole[0] / 'metrics.jsonl', tmp_path)
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines(keepends=True)
  for key in '"loss"', '"dev_loss"':
    part = [line for line in lines if key not in line] + lines[-1:]
    (tmp_path / 'metrics.jsonl').write_text(''.join(part))
    assert not np.array_equal(image.imread(pretraining_log.plot_loss(tmp_path)), drawn)


BAD = {
  'no text': ({'text__dir': ''}, ConfigError, '--config.text.dir=DIR'),
  'no such folder': ({'text__dir': '/absent'}, DataError, '/absent'),
  'no dev text': ({'text__dev': '*test*'}, DataError, r'\*test\*'),
  'no pattern': ({'text__train': ''}, ConfigError, 'pattern'),
  'dev text in training': ({'text__train': '*.txt'}, ConfigError, 'part-dev.txt'),
  'no dev chunks': ({'text__dev_chunks': 0}, ConfigError, 'dev_chunks'),
  'too short a text': ({'task__chunk': 1_900}, DataError, 'text.dev'),
  'too many spans': ({'task__chunk': 3_000}, ConfigError, 'sentinels'),
  'too many pieces': ({'pieces': 9_000}, ConfigError, 'at most'),
  'no pieces': ({'pieces': 0}, ConfigError, 'pieces'),
  'no such model': ({'model': '/absent'}, WeightsError, '/absent'),
  'no such tokenizer': ({'tokenizer': '/absent/spiece.model'}, WeightsError, 'spiece.model'),
  'a model without a tokenizer': ({'model': '{files}/bare'}, ConfigError, 'no spiece.model'),
  'ByT5': ({'tokenizer': '{files}/byt5'}, ConfigError, 'sentinels'),
  'no room for sentinels': (
    {'model': '{files}/bare', 'tokenizer': str(t5.resolve('nano'))}, ConfigError, '7950 pieces'
  ),
  'another end': (
    {'model': '{files}/end', 'tokenizer': str(t5.resolve('nano'))}, ConfigError, 'sequence 5'
  ),
  'float16': ({'dtype': 'float16'}, ConfigError, '65,504'),
  'unknown remat': ({'remat': 'all'}, ConfigError, 'remat'),
  'unknown dtype to save': ({'saved_dtype': 'float16'}, ConfigError, 'saved_dtype'),
  'parts of a batch': ({'accumulate': 3}, ConfigError, 'accumulate'),
  'a seed': ({'seed': 2**32}, ConfigError, 'seed'),
  'no steps': ({'steps': 0}, ConfigError, 'steps'),
  'never saved': ({'save_every': 0}, ConfigError, 'save_every'),
}  # fmt: skip


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """T5s that lack something."""
  folder = tmp_path_factory.mktemp('files')
  small = {'d_model': 8, 'd_kv': 4, 'd_ff': 8, 'heads': 2, 'encoder_layers': 1, 'decoder_layers': 1}
  for name, cfg in (
    ('bare', t5.Config(8_050, **small)),
    ('end', t5.Config(8_192, eos_id=5, **small)),
  ):
    weights = {path: np.zeros(shape, np.float32) for path, shape in t5.shapes(cfg).items()}
    t5.save(folder / name, cfg, weights)
  (folder / 'byt5').mkdir()
  (folder / 'byt5/tokenizer_config.json').write_text('{"tokenizer_class": "ByT5Tokenizer"}')
  return folder


@pytest.mark.parametrize(('changes', 'kind', 'message'), BAD.values(), ids=BAD)
def test_mistakes_are_told_before_anything_is_written(
  text, files, tmp_path, monkeypatch, changes, kind, message
):
  monkeypatch.setattr(jax, 'jit', lambda *args, **options: pytest.fail('something was compiled'))
  changes = {k: v.format(files=files) if isinstance(v, str) else v for k, v in changes.items()}
  with pytest.raises(CompacterError, match=message) as caught:
    pretraining.run(settings(text, **changes), tmp_path / 'w', quiet=True)
  assert type(caught.value) is kind
  assert not list(tmp_path.iterdir())


def test_a_workdir_that_can_be_none_is_refused(text, tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(StorageError, match='file'):
    pretraining.run(settings(text), tmp_path / 'file', quiet=True)


def test_the_command_tells_mistakes_without_a_traceback(tmp_path):
  command = [sys.executable, '-m', 'experiments.pretrain', f'--workdir={tmp_path / "w"}']
  command += ['--config=experiments/configs/pretrain_nano.py', '--config.text.dir=/absent']
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
  assert (done.returncode, 'Traceback' in done.stderr) == (3, False)
  assert '/absent' in done.stderr and not (tmp_path / 'w').exists()


def test_a_vocabulary_that_lies_there_is_not_taken(text, tmp_path):
  """Unless it is this run's."""
  (tmp_path / 'model').mkdir()
  shutil.copy(t5.resolve('nano') / 'spiece.model', tmp_path / 'model')
  assert not begun(settings(text), tmp_path)
  assert read(settings(text), tmp_path).tokenizer.vocab_size == 200


def test_a_dev_loss_that_is_not_finite_is_an_error():
  loss = lambda tuned, frozen, batch: (np.float32('inf'), 4)
  with pytest.raises(NumericsError, match='dev loss'):
    pretraining.dev_loss(loss, {}, [{'source': np.zeros((1, 1))}])
