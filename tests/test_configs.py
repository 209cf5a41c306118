"""Every config resolves, every key can be overridden, every mistake is told before any work."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from compacter_jax import methods, t5
from compacter_jax.errors import CompacterError, ConfigError
from compacter_jax.model import Model
from experiments import count, pretraining_job, schema
from experiments.configs import HERE, config_files, is_pretraining, read_config

ROOT = Path(__file__).parents[1]
CONFIGS = {path.stem: path for path in config_files()}
PRETRAINING = {path.stem: path for path in sorted(HERE.glob('*.py')) if is_pretraining(path)}
BASE = read_config(ROOT / 'experiments/configs/base.py')


@pytest.mark.parametrize('path', CONFIGS.values(), ids=CONFIGS)
def test_every_config_resolves(path):
  job = schema.job(read_config(path).to_dict())
  assert Model(t5.SIZES['t5-base'], job.method).count() > 0
  assert methods.from_config(methods.to_config(job.method)) == job.method
  assert '--config=experiments/configs/' + path.name in path.read_text()


@pytest.mark.parametrize('path', PRETRAINING.values(), ids=PRETRAINING)
def test_every_config_of_pretraining_resolves(path):
  config = read_config(path).to_dict()
  with pytest.raises(CompacterError, match='text.dir'):
    pretraining_job.job(config)
  config['text']['dir'] = 'DIR'
  job = pretraining_job.job(config)
  assert pretraining_job.job(json.loads(json.dumps(dataclasses.asdict(job)))) == job
  assert t5.count(job.shape) > 0
  assert '--config=experiments/configs/' + path.name in path.read_text()


def test_the_shipped_t5_has_the_shape_of_its_config():
  config = read_config(PRETRAINING['pretrain_nano']).to_dict()
  config['text']['dir'] = 'DIR'
  job, nano = pretraining_job.job(config), t5.read_config('nano')
  assert dataclasses.replace(job.shape, vocab=nano.vocab) == nano
  assert job.pieces + 100 <= nano.vocab < job.pieces + 100 + 128


UPPER = (5, 6, 7, 8, 9, 10, 11)
# Karimi Mahabadi et al. 2021 and its implementation: rate, parts of a batch, prefix, fields.
PUBLISHED = {
  'full': (3e-4, 1, True, {'where': '.*'}),
  'adapter': (3e-4, 1, False, {'reduction': 32, 'where': '.*/(self_attention|ffn)'}),
  'pfeiffer': (3e-4, 1, False, {'reduction': 32, 'where': '.*/self_attention'}),
  'pfeiffer_ffn': (3e-4, 1, False, {'reduction': 32, 'where': '.*/ffn'}),
  'adapterdrop': (3e-4, 1, False, {'encoder_layers': UPPER, 'decoder_layers': UPPER}),
  'low_rank_adapter': (3e-3, 1, False, {'rank': 1, 'reduction': 32}),
  'prompt': (3e-2, 2, True, {'length': 100, 'init': 'uniform', 'range': 0.5}),
  'prompt_vocabulary': (3e-1, 2, True, {'length': 100, 'init': 'vocabulary'}),
  'intrinsic_said': (3e-2, 2, True, {'dimension': 20_000, 'said': True}),
  'bitfit': (3e-4, 1, True, {}),
  'phm_adapter': (3e-3, 1, False, {'n': 12, 'rank': None, 'share_a': False, 'reduction': 32}),
  'compacter': (3e-3, 1, False, {'n': 4, 'rank': 1, 'share_a': True, 'reduction': 32}),
  'compacter_pp': (3e-3, 1, False, {'n': 4, 'rank': 1, 'share_a': True, 'where': '.*/ffn'}),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_settings_are_the_published_ones(name):
  rate, parts, prefix, fields = PUBLISHED[name]
  job = schema.job(read_config(CONFIGS[name]).to_dict())
  optim = schema.Optim('adamw', rate, 'linear', 500, 0.0, 1.0, 0.9, 0.999, 1e-8)
  assert (job.optim, job.accumulate, job.data.prefix) == (optim, parts, prefix)
  assert (job.batch_size, job.epochs, job.steps, job.seed) == (100, 3, 0, 42)
  assert (job.data.max_source, job.data.seed) == (128, 42)
  method = methods.to_config(job.method)
  if not prefix:  # with every adapter T5's norms train
    assert method.pop('norms') == methods.to_config(methods.load('unfreeze', where='.*norm/scale'))
    (method,) = method.values()
    assert method['activation'] == 'gelu_new'
  assert fields.items() <= method.items()


@pytest.mark.parametrize('name', sorted(set(CONFIGS) - {'quickstart'}))
def test_the_docstring_says_how_much_is_trained(name):
  (row,) = count.count('t5-base', 32_100, [CONFIGS[name]], 8)['rows']
  text = CONFIGS[name].read_text()
  assert f'{row["trained"]:,}' in text
  for percent in re.findall(r'parameters on T5-base \(([\d.]+) %\)', text):
    assert percent == f'{row["percent"]:.3f}'


@pytest.mark.parametrize('name', ['base', *PRETRAINING])
def test_every_setting_has_its_meaning(name):
  source = (HERE / f'{name}.py').read_text()
  for line, following in zip(source.splitlines(), source.splitlines()[1:]):
    if re.match(r'  config\.\S+ = (?!ConfigDict)', following):
      assert line.lstrip().startswith(('#', 'config.')), following


def leaves(config, path=''):
  for key, value in config.items():
    if isinstance(value, ConfigDict):
      yield from leaves(value, f'{path}{key}.')
    else:
      yield f'{path}{key}', value


def changed(path, value, name='compacter'):
  """The settings of a config as a dict, with one of them changed."""
  config = read_config(HERE / f'{name}.py').to_dict()
  inner = config
  *above, last = path.split('.')
  for key in above:
    inner = inner[key]
  inner[last] = value
  return config


@pytest.mark.parametrize('path', [path for path, _ in leaves(read_config(CONFIGS['compacter']))])
def test_a_wrong_type_is_refused_for_every_setting(path):
  for wrong in ({}, float('nan'), object()):
    with pytest.raises(CompacterError, match=re.escape(path.rpartition('.')[2])):
      schema.job(changed(path, wrong))


@pytest.mark.parametrize('path', [path for path, _ in leaves(BASE)])
def test_none_is_refused_for_every_setting_of_the_base(path):
  with pytest.raises(CompacterError, match='None'):
    schema.job(changed(path, None))


NANO = [path for path, _ in leaves(read_config(HERE / 'pretrain_nano.py'))]


@pytest.mark.parametrize('path', NANO)
def test_a_wrong_type_is_refused_for_every_setting_of_pretraining(path):
  for wrong in ({}, float('nan'), None, object()):
    config = changed(path, wrong, 'pretrain_nano')
    if path != 'text.dir':
      config['text']['dir'] = 'DIR'
    with pytest.raises(CompacterError, match=re.escape(path.rpartition('.')[2])):
      pretraining_job.job(config)


def command(tmp_path, *flags, config='compacter'):
  """Runs the command on what cannot work; returns its exit code and what it told."""
  # The config may stand anywhere.
  arguments = [*flags, f'--config=experiments/configs/{config}.py', f'--workdir={tmp_path / "out"}']
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.run', *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env=os.environ | {'HF_HUB_OFFLINE': '1'},
  )
  assert not (tmp_path / 'out').exists(), 'something was written'
  assert 'Traceback' not in done.stderr
  assert 'backend' not in done.stderr  # jax would tell which it did not find
  return done.returncode, done.stderr


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Sound rows, and folders each of which is wrong in one way."""
  folder = tmp_path_factory.mktemp('files')

  def rows(name, train, dev='sentence\tlabel\nfine\t1\nbad\t0\n'):
    (folder / name).mkdir()
    (folder / name / 'train.tsv').write_text(train)
    (folder / name / 'dev.tsv').write_text(dev)

  sound = 'sentence\tlabel\n' + ''.join(f'row {i}\t{i % 2}\n' for i in range(1_010))
  rows('sound', sound)
  rows('label', sound + 'odd\t7\n')
  rows('hidden', sound + 'odd\t-1\n')
  rows('columns', sound + 'odd\t1\tmore\n')
  rows('few', 'sentence\tlabel\nfine\t1\n')
  cfg = t5.Config(
    vocab=8_192, d_model=128, d_kv=4, d_ff=8, heads=2, encoder_layers=1, decoder_layers=1
  )
  small = t5.Config(
    vocab=50, d_model=128, d_kv=4, d_ff=8, heads=2, encoder_layers=1, decoder_layers=1
  )
  random = np.random.default_rng(0)

  def model(name, cfg, spoil=None):
    weights = {p: random.normal(size=s).astype(np.float32) for p, s in t5.shapes(cfg).items()}
    if spoil:
      spoil(weights)
    t5.save(folder / name, cfg, weights)
    return folder / name

  def nan(weights):
    weights['encoder/layers/ffn/wo/kernel'][0, 1, 2] = np.nan

  model('t5', cfg)
  model('t5-small-vocab', small)
  model('t5-nan', cfg, nan)
  whole = (model('t5-cut', cfg) / 'model.safetensors').read_bytes()
  (folder / 't5-cut' / 'model.safetensors').write_bytes(whole[: len(whole) // 2])
  pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n'
  (model('t5-lfs', cfg) / 'model.safetensors').write_text(pointer)
  (model('t5-html', cfg) / 'model.safetensors').write_text('<!DOCTYPE html><html>404</html>')
  (folder / 'spiece.model').write_bytes(b'')
  return folder


BAD = {
  'unknown key': (['--config.stepz=3'], 2, 'stepz'),
  'unknown key of the method': (['--config.method.adapters.m=3'], 2, 'method.adapters'),
  'wrong type': (['--config.batch_size=many'], 2, 'many'),
  'not a number': (['--config.optim.rate=nan'], 2, 'finite'),
  'true for a number': (['--config.steps=True'], 2, 'steps'),
  'nothing to train': (['--config.steps=0', '--config.epochs=0.0'], 2, 'steps or epochs'),
  'n does not divide': (['--config.method.adapters.n=7'], 2, 'n=7'),
  'no such site': (['--config.method.adapters.where=.*/fnn'], 2, 'No site'),
  'float16': (['--config.dtype=float16'], 2, '65,504'),
  'parts of a batch': (['--config.accumulate=3'], 2, 'accumulate'),
  'unknown task': (['--config.data.task=sst'], 2, "did you mean 'sst2'"),
  'no rows given': (['--config.data.dir='], 3, '--config.data.dir=DIR'),
  'no such source': (['--config.data.source=tdfs'], 2, "did you mean 'tfds'"),
  'rows not prepared': (['--config.data.source=tfds'], 3, 'experiments.prepare --task=sst2'),
  'no such rows': (['--config.data.dir={files}/absent'], 3, 'absent'),
  'a label that is none': (['--config.data.dir={files}/label'], 3, 'train.tsv:1012'),
  'a hidden label': (['--config.data.dir={files}/hidden'], 3, 'unlabelled'),
  'too many columns': (['--config.data.dir={files}/columns'], 3, 'train.tsv:1012'),
  'no such splits': (['--config.data.splits=standard'], 2, 'official'),
  'a seed of splits': (['--config.data.seed=4294967296'], 2, 'data.seed'),
  'a seed of samples': (['--config.data.sample_seed=-2'], 2, 'data.sample_seed'),
  'too large a sample': (['--config.data.max_train=11'], 3, 'at most 10'),
  'too many shots': (['--config.data.shots=3'], 3, 'shots=2 works'),
  'balanced, but how many': (['--config.data.balanced=True'], 2, 'max_train=N'),
  'too few rows': (['--config.data.dir={files}/few'], 3, '1001'),
  'no such model': (['--config.model={files}/absent'], 4, 'absent'),
  'a weight that is no number': (['--config.model={files}/t5-nan'], 4, 'DenseReluDense.wo'),
  'truncated weights': (['--config.model={files}/t5-cut'], 4, 'model.safetensors'),
  'a Git LFS pointer': (['--config.model={files}/t5-lfs'], 4, 'LFS'),
  'a web page': (['--config.model={files}/t5-html'], 4, 'web page'),
  'a foreign tokenizer': (['--config.model={files}/t5-small-vocab'], 4, 'rows of the embedding'),
  'an empty tokenizer': (['--config.tokenizer={files}/spiece.model'], 4, 'empty'),
}


@pytest.mark.parametrize(('flags', 'code', 'message'), BAD.values(), ids=BAD)
def test_bad_input_ends_at_once(tmp_path, files, flags, code, message):
  sound = ['--config.data.dir={files}/sound', '--config.model={files}/t5']
  sound += [f'--config.tokenizer={ROOT}/compacter_jax/assets/nano_t5']
  given = [flag.format(files=files) for flag in (*sound, *flags)]
  returned, told = command(tmp_path, *given)
  assert (returned, message in told) == (code, True), told


def test_missing_flags_are_named(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.run'], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 2
  assert '--config is missing' in done.stderr


@pytest.mark.parametrize(
  'module',
  [
    'run',
    'count',
    'quickstart',
    'compare',
    'splits',
    'prepare',
    'pretrain',
    'inspect',
    'predict',
    'verify',
    'faults',
    'guards',
  ],
)
def test_help_answers_at_once(module):
  begin = used()
  done = subprocess.run(
    [sys.executable, '-m', f'experiments.{module}', '--help'],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert 'python -m experiments.' in done.stdout
  # Promised are 2 seconds of a quiet machine. Importing jax and flax takes longer.
  assert used() - begin < 2


def used():
  """Seconds of processors that ended children took."""
  told = os.times()
  return told.children_user + told.children_system


def test_the_parameter_table():
  table = count.count('t5-base', 32_100, list(CONFIGS.values()), 8)
  rows = {row['config']: row for row in table['rows']}
  assert table['base'] == 222_882_048
  assert rows['compacter']['trained'] == 161_728
  assert rows['compacter']['without_norms'] == 114_112
  assert rows['compacter_pp']['trained'] == 104_704
  assert rows['adapter']['trained'] == 1_855_104
  assert rows['full']['trained'] == 222_882_048
  totals = {'compacter': 1.004, 'compacter_pp': 1.002, 'adapter': 1.065, 'pfeiffer': 1.032}
  totals |= {'adapterdrop': 1.038, 'low_rank_adapter': 1.004, 'prompt': 1.003, 'bitfit': 1.010}
  totals |= {'phm_adapter': 1.013}  # as the paper prints them
  for name, total in totals.items():
    assert round(rows[name]['total'], 3) == total
  assert rows['full']['total'] == pytest.approx(8, abs=2e-3)
  assert 'compacter' in count.text(table)
  assert json.loads(json.dumps(table)) == table


def test_the_papers_shares_stand_beside_ours():
  rows = count.count('t5-base', 32_100, list(CONFIGS.values()), 8)
  beside = {row['config']: row for row in rows['rows'] if row['paper']}
  assert set(beside) == set(CONFIGS) & set(count.PAPER)
  assert all(map(count.agrees, beside.values()))
  assert {name for name in beside if '*' not in count.PAPER[name]} >= {'adapter', 'compacter'}
  assert f'All {len(beside)} agree' in count.text(rows)
  # T5 of other sizes has none; other rows of vocabulary are told.
  assert 'paper:' not in count.text(count.count('t5-small', 32_100, [CONFIGS['adapter']], 8))
  assert '--vocab=32100' in count.text(count.count('t5-base', None, [CONFIGS['adapter']], 8))


def test_a_share_that_is_not_the_papers_is_told(monkeypatch):
  monkeypatch.setitem(count.PAPER, 'compacter', '0.074')
  table = count.count('t5-base', 32_100, [CONFIGS['compacter'], CONFIGS['adapter']], 8)
  assert 'compacter (0.0726 for 0.074)' in count.text(table)


def test_the_parameter_table_tells_what_cannot_be():
  table = count.count('t5-small', None, [CONFIGS['compacter']], 8)
  assert table['rows'][0]['trained'] == 54_464
  table = count.count('t5-small', None, [CONFIGS['phm_adapter']], 8)
  assert 'n=12' in table['rows'][0]['error'] and 'n=12' in count.text(table)


def test_a_config_that_is_not_there_ends_the_count(tmp_path):
  with pytest.raises(ConfigError, match='no such config') as error:
    count.main(['--config', str(tmp_path / 'compacter')])
  assert error.value.fix == f'did you mean {HERE / "compacter.py"}?'


def test_the_shipped_t5_is_counted_by_its_name():
  table = count.count('nano', None, [CONFIGS['bitfit']], 8)
  assert table['base'] == t5.count(t5.read_config(t5.resolve('nano')))
