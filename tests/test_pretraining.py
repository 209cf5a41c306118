"""Pretraining from files of text: what a run leaves, what interrupts it, what it refuses."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import filelock
import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from compacter_jax import t5, tensor_file
from compacter_jax.data.corpus import chunks_of, token_stream
from compacter_jax.data.denoised import Denoised
from compacter_jax.data.sentencepiece_tokenizer import SentencePieceTokenizer
from compacter_jax.errors import (
  CompacterError,
  ConfigError,
  DataError,
  NumericsError,
  StorageError,
  WeightsError,
)  # fmt: skip
from compacter_jax.model import Model
from experiments import finetune, folders, pretrain, pretraining, pretraining_log, schema
from experiments.configs import HERE, read_config
from experiments.inputs import read_inputs
from experiments.pretraining_folder import begun
from experiments.pretraining_inputs import read
from experiments.pretraining_job import job as job_of
from tests import corpora

ROOT = Path(__file__).parents[1]
LEFT = {
  'config.json', 'metrics.jsonl', 'events', 'loss.png', 'results.json', 'state.safetensors',
  'model', '.lock',
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
  config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in changes.items()})
  return job_of(config.to_dict())


# All that may matter to resuming, changed from what is shipped.
OTHER = {
  'optim__optimizer': 'adamw', 'optim__schedule': 'inverse_sqrt', 'task__objective': 'prefix_lm',
  'dropout': True, 'accumulate': 2, 'saved_dtype': 'float32', 'seed': 7, 'dtype': 'float32',
  'remat': 'full', 'unroll': 1,
}  # fmt: skip


@pytest.fixture(scope='module')
def whole(text, tmp_path_factory):
  """The folder of a run that nothing interrupted, and its results."""
  out = tmp_path_factory.mktemp('whole') / 'w'
  with jax.numpy_dtype_promotion('standard'):
    return out, pretraining.run(settings(text), out, quiet=True)


def notes(folder):
  """The lines of metrics.jsonl but for the speeds, which differ from run to run."""
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  speeds = 'examples_per_second', 'seconds_per_step', 'waited'
  return [{k: v for k, v in json.loads(line).items() if k not in speeds} for line in lines]


def bits(folder):
  """All that two runs of the same settings must have alike, to the bit."""
  files = ['config.json', 'state.safetensors']
  files += [f'model/{name}' for name in ('model.safetensors', 'config.json', 'spiece.model')]
  results = json.loads((folder / 'results.json').read_text())
  told = {k: results[k] for k in ('dev_loss', 'steps', 'ids', 'ids_seen', 'parameters')}
  return notes(folder), told, [(folder / name).read_bytes() for name in files]


def files_of(folder):
  return {path: path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def test_a_run_leaves_all_it_promises(text, whole):
  out, results = whole
  assert {path.name for path in out.iterdir()} == LEFT
  assert json.loads((out / 'results.json').read_text()) == results
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


def trained(folder):
  """The weights of the last checkpoint."""
  state = tensor_file.read(folder / 'state.safetensors')
  named = {name.partition(".tuned.weights['")[2]: array for name, array in state.items()}
  return {name.removesuffix("']"): array for name, array in named.items() if name}


def test_the_model_is_what_was_trained(whole, other):
  for (out, _), dtype in ((whole, 'bfloat16'), (other, 'float32')):
    cfg, weights = t5.load(out / 'model')
    assert cfg.vocab == 256  # 100 pieces and 100 sentinels, up to the next multiple of 128
    want = trained(out)
    assert weights.keys() == want.keys()
    for path, weight in weights.items():
      assert weight.dtype == dtype
      assert np.array_equal(np.asarray(weight), want[path].astype(weight.dtype))


@pytest.fixture(scope='module')
def other(text, tmp_path_factory):
  """The same of a run with all other settings."""
  out = tmp_path_factory.mktemp('other') / 'w'
  with jax.numpy_dtype_promotion('standard'):
    return out, pretraining.run(settings(text, **OTHER), out, quiet=True)


def test_the_dev_loss_is_that_of_all_dev_chunks(text, whole):
  out, results = whole
  cfg, weights = t5.read_config(out / 'model'), trained(out)
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
  save = pretraining.save_state

  def ending(path, state, about):
    if late or state.step != step:
      save(path, state, about)
    if state.step == step:
      raise Killed

  with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
    patch.setattr(pretraining, 'save_state', ending)
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
replace, states = os.replace, []

def killing(draft, path):
  if path.name == 'state.safetensors':
    states.append(path)
    if len(states) == 2:
      os.kill(os.getpid(), signal.SIGKILL)
  replace(draft, path)

os.replace = killing
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
  assert list(killed.glob('.state.safetensors.*.tmp'))
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


def test_a_run_that_has_ended_does_nothing_more(text, whole, monkeypatch, capsys):
  out, results = whole
  before = files_of(out)
  monkeypatch.setattr(pretraining, 'read', lambda *args: pytest.fail('the text was read again'))
  pretrain.main(settings(text), str(out))
  told = capsys.readouterr().out
  assert f'{out}: this run has ended' in told
  assert f'dev loss {results["dev_loss"]:.4f} per target id; model: {out}/model' in told
  assert files_of(out) == before


@pytest.mark.parametrize('ended', [True, False])
def test_a_folder_of_another_run_is_refused(text, whole, tmp_path, ended):
  shutil.copytree(whole[0], tmp_path / 'w')
  if not ended:
    (tmp_path / 'w/results.json').unlink()
  before = files_of(tmp_path / 'w')
  with pytest.raises(StorageError, match='other settings') as caught:
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
  with pytest.raises(StorageError, match='another command'):
    pretraining.run(settings(text), tmp_path, quiet=True)


@pytest.mark.parametrize('part', ['0', 'dev'])
def test_another_text_is_not_gone_on_with(text, whole, tmp_path, part):
  shutil.copytree(whole[0], tmp_path / 'w')
  shutil.copytree(text, tmp_path / 'text')
  (tmp_path / 'w/results.json').unlink()
  config = json.loads((tmp_path / 'w/config.json').read_text())
  config['text']['dir'] = str(tmp_path / 'text')  # as if it had been there from the beginning
  (tmp_path / 'w/config.json').write_text(json.dumps(config))
  with pytest.raises(WeightsError, match='another run') as caught:
    pretraining.run(settings(tmp_path / 'text'), tmp_path / 'w', quiet=True)
  assert 'text' in caught.value.got


def test_changed_text_is_told(text, tmp_path):
  """What a state belongs to: which part differs can be read off the message."""
  shutil.copytree(text, tmp_path / 'text')
  job = settings(tmp_path / 'text', tokenizer=str(t5.resolve('nano')))
  first = json.loads(read(job, tmp_path / 'w').about(job))
  for part, name in (('0', 'train text'), ('dev', 'dev text')):
    path = tmp_path / f'text/part-{part}.txt'
    content = path.read_text()
    path.write_text(content.replace('.', '!', 1))
    other = json.loads(read(job, tmp_path / 'w').about(job))
    assert [key for key in first if first[key] != other[key]] == [name]
    path.write_text(content)


def test_a_folder_is_used_by_one_process_at_a_time(text, whole, tmp_path):
  shutil.copytree(whole[0], tmp_path / 'w')
  (tmp_path / 'w/results.json').unlink()
  before = files_of(tmp_path / 'w')
  with filelock.FileLock(tmp_path / 'w/.lock'), pytest.raises(StorageError, match='going on'):
    pretraining.run(settings(text), tmp_path / 'w', quiet=True)
  assert files_of(tmp_path / 'w') == before


def test_a_damaged_checkpoint_is_refused(text, whole, tmp_path):
  shutil.copytree(whole[0], tmp_path / 'w')
  (tmp_path / 'w/results.json').unlink()
  path = tmp_path / 'w/state.safetensors'
  spoiled = bytearray(path.read_bytes())
  spoiled[-9] ^= 1
  path.write_bytes(spoiled)
  with pytest.raises(WeightsError, match='damaged'):
    pretraining.run(settings(text), tmp_path / 'w', quiet=True)


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
    pretraining.dev_loss(loss, {}, [{}])


def test_lines_that_a_crash_cut_off_are_left_out(tmp_path):
  assert pretraining_log.read_notes(tmp_path) == []
  (tmp_path / 'metrics.jsonl').write_text('{"step": 1}\n{"step": 2}\n{"st')
  assert pretraining_log.read_notes(tmp_path) == [{'step': 1}, {'step': 2}]
  (tmp_path / 'metrics.jsonl').write_text('{"st\n{"step": 2}\n')
  with pytest.raises(StorageError, match='metrics.jsonl'):
    pretraining_log.read_notes(tmp_path)
