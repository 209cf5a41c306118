"""The command that compares all configs: what it measures once, and the table of it."""

import json
from pathlib import Path

import jax
import pytest

from compacter_jax import methods, t5
from compacter_jax.errors import ConfigError, DataError, NumericsError, StorageError
from compacter_jax.model import Model
from experiments import compare, comparison
from experiments.benchmarks import step
from experiments.comparison import Piece, fitted
from experiments.configs import HERE, config_files, read_config
from tests.conftest import save_small

SMALL = t5.Config(
  vocab=8_192, d_model=32, d_kv=8, d_ff=16, heads=2, encoder_layers=1, decoder_layers=1
)
NANO = t5.read_config(t5.resolve('nano'))


@pytest.mark.parametrize('path', config_files(), ids=lambda path: path.stem)
def test_every_config_fits_the_nano_and_a_t5_cut_short(path):
  method = read_config(path).method.to_dict()
  for cfg, narrow in (NANO, True), (t5.size_named('t5-small'), False):
    if path.stem == 'phm_adapter' and not narrow:
      continue  # n = 12 divides no width of T5-small
    assert Model(cfg, methods.from_config(fitted(method, cfg.encoder_layers, narrow))).count() > 0


def test_layers_keep_their_place_and_what_is_unset_stays_so():
  upper = {'name': 'adapter', 'encoder_layers': tuple(range(5, 12)), 'decoder_layers': None}
  kept = {depth: fitted(upper, depth, False)['encoder_layers'] for depth in (3, 4, 6, 12, 24)}
  assert kept[3] == (2,) and kept[4] == (2, 3) and kept[6] == (3, 4, 5)
  assert kept[12] == tuple(range(5, 12)) and kept[24] == tuple(range(10, 24))
  assert fitted({'part': upper}, 12, False) == {'part': upper}  # as it is where nothing is cut
  narrow = fitted({'name': 'x', 'n': 12, 'reduction': 2, 'width': None}, 4, True)
  assert narrow == {'name': 'x', 'n': 4, 'reduction': 2, 'width': None}


def piece(work, config='a', kind='accuracy', **settings):
  return Piece(kind, config, settings, work, 1.0)


def test_what_is_finished_is_not_made_again(tmp_path, capsys):
  made = []

  def work(name):
    made.append(name)
    if name == 'stopped':
      raise KeyboardInterrupt
    if name == 'diverged':
      raise NumericsError('Not finite.', got='loss nan')
    return {'value': name}

  every = [piece(lambda n=n: work(n), n) for n in ('one', 'diverged', 'stopped', 'last')]
  with pytest.raises(KeyboardInterrupt):
    comparison.measure(every, tmp_path)
  every[2] = piece(lambda: {'value': 'stopped'}, 'stopped')
  comparison.measure(every, tmp_path)
  assert made == ['one', 'diverged', 'stopped', 'last']
  assert '2 of 4 pieces are there' in capsys.readouterr().out
  found = comparison.done(every, tmp_path)
  assert found['accuracy', 'one'][0]['value'] == 'one'
  assert found['accuracy', 'diverged'][0]['why'] == 'Not finite. loss nan'
  # Of other settings there is nothing yet.
  assert not comparison.done([piece(None, 'one', steps=2)], tmp_path)
  every[0].path(tmp_path).write_text('{')
  with pytest.raises(StorageError, match='damaged'):
    comparison.done(every, tmp_path)


def test_only_what_a_method_or_its_rate_is_to_blame_for_is_survived(tmp_path):
  def work():
    raise DataError('No rows.')

  with pytest.raises(DataError):
    comparison.measure([piece(work)], tmp_path)
  assert not list(tmp_path.iterdir())


def run(rate, validation, test):
  return {
    'task': 'sst2',
    'settings': {'optim': {'rate': rate}},
    'validation': {'average': validation},
    'test': {'accuracy': test},
    'majority': 50.9,
    'parameters': {'trained': 1234},
    'adapter_bytes': 2_500_000,
    'rows': {'train': 500, 'validation': 500, 'test': 872},
  }


def cells(text, config):
  (row,) = [line for line in text.splitlines() if line.startswith(f'| `{config}` |')]
  return [cell.strip() for cell in row.strip('|').split('|')]


def test_the_table(tmp_path):
  flags = compare._flags(['--workdir=W'])
  cost = {'time': 0.571, 'memory': 1, 'full_memory': 4, 'full_ms': 900.0, 'device': 'cpu'}
  found = {
    # The rate is chosen on validation rows, whatever the test says.
    ('accuracy', 'lora'): [run(1e-3, 60, 70), run(3e-3, 65, 62.3), {'why': 'It diverged.'}],
    ('cost', 'lora'): [cost],
    ('fold', 'lora'): [{'folds': 'yes'}],
    ('fold', 'prompt'): [{'folds': 'no', 'why': 'it is longer'}],
  }
  text = compare.table([HERE / 'lora.py', HERE / 'prompt.py'], found, flags)
  lora = ['`lora`', '884,736', '0.397 %', '1,234', '2.50 MB', '0.003 (3)', '62.3', '+11.4']
  assert cells(text, 'lora') == [*lora, '0.57', '0.25', 'yes']
  assert cells(text, 'prompt') == ['`prompt`', '76,800', '0.034 %', *['-'] * 7, 'no']
  assert cells(compare.table([HERE / 'lora.py'], {}, flags), 'lora') == lora[:3]
  assert '- lora: It diverged.' in text and '- prompt: it is longer' in text
  flags.rates = [0.25, 2]
  pieces = comparison.pieces(HERE / 'lora.py', flags)
  rates = [p.settings['optim']['rate'] for p in pieces if p.kind == 'accuracy']
  # Where things lie is not what a result depends on.
  assert not {'dir', 'cache'} & pieces[0].settings['data'].keys()
  assert rates == [0.25, 2] and 'Rates are of 0.25, 2;' in compare.table([], found, flags)
  assert '1, 3, 10 times' in text and '1.7 points' in text and '900 ms' in text


def test_a_task_of_ones_own_is_known_by_what_it_says(tmp_path):
  task = {'name': 'film', 'kind': 'classification', 'label': 'good', 'answers': ['no', 'yes']}
  task |= {'files': {'train': 'train.tsv', 'validation': 'dev.tsv'}}
  seen = []
  for folder, template in ('a', '{text}'), ('b', '{text}'), ('c', 'film: {text}'):
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / 'task.json'
    path.write_text(json.dumps(task | {'template': template}))
    flags = compare._flags([f'--workdir={tmp_path}', f'--task={path}'])
    piece, *_ = comparison.pieces(HERE / 'lora.py', flags)
    seen.append(piece.path(tmp_path).name)
    assert str(tmp_path) not in json.dumps(piece.settings)
  assert seen[0] == seen[1] != seen[2]


def test_the_table_goes_between_its_marks(tmp_path):
  page = tmp_path / 'page.md'
  for wrong in None, 'no marks', '<!-- a -->', '<!-- b --><!-- /b -->':
    page.write_text(wrong) if wrong else None
    with pytest.raises(ConfigError, match='no place'):
      compare.insert(page, 'table', 'a')
  page.write_text('above\n<!-- a -->\nold\n<!-- /a -->\nbelow\n<!-- b --><!-- /b -->\n')
  compare.insert(page, None, 'a')
  assert 'old' in page.read_text()
  for text in 'new', 'newer':
    compare.insert(page, text, 'a')
  compare.insert(page, 'other', 'b')
  told = '<!-- a -->\nnewer\n<!-- /a -->\nbelow\n<!-- b -->\nother\n<!-- /b -->\n'
  assert page.read_text() == f'above\n{told}'


@pytest.fixture(scope='module')
def small(tmp_path_factory):
  """A small T5 with the shipped vocabulary, and rows in SST-2's format."""
  folder = tmp_path_factory.mktemp('small')
  save_small(folder, SMALL)
  rows = ''.join(f'row {i}\t{i % 2}\n' for i in range(1_020))
  (folder / 'train.tsv').write_text('sentence\tlabel\n' + rows)
  (folder / 'dev.tsv').write_text('sentence\tlabel\n' + 'good\t1\n' * 3 + 'bad\t0\n')
  return folder


def test_the_whole_command(small, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(step, 'BATCH', 2)
  monkeypatch.setattr(step, 'SOURCE', 8)
  sizes = t5.size_named
  monkeypatch.setattr(t5, 'size_named', lambda name: SMALL if name == 't5-small' else sizes(name))
  page = tmp_path / 'page.md'
  page.write_text('<!-- comparison -->\n<!-- /comparison -->')
  flags = f'--workdir={tmp_path / "w"} --model={small} --data.dir={small} --rows=10 --steps=3'
  flags += ' --batch=8 --warmup=1 --grid 2 --size=t5-small --layers=1 --vocab=64 --rounds=1'
  argv = [*flags.split(), f'--write={page}', '--config', str(HERE / 'ia3.py')]
  comparison._full.cache_clear()
  with jax.numpy_dtype_promotion('standard'):  # optax needs it
    compare.main(argv)
    first = page.read_text()
    compare.main(argv)
  assert page.read_text() == first
  assert '0 of 3 pieces' in (told := capsys.readouterr().out) and '3 of 3 pieces' in told
  _, _, _, trained, _, rate, _, margin, time, memory, folds = cells(first, 'ia3')
  assert (trained, folds) == (str(6 * 16 + 2 * 16), 'yes')
  assert rate == '0.006 (1)' and float(margin) <= 25
  assert float(time) > 0 and 0 < float(memory) < 1
  (path,) = (tmp_path / 'w').glob('accuracy-*')
  accuracy = json.loads(path.read_text())
  assert accuracy['majority'] == 75
  # The folder is no part of what was measured.
  assert str(small) not in json.dumps(accuracy['settings']['data'])


def test_what_cannot_be_is_told_before_any_work(small, tmp_path):
  config = ['--config', str(HERE / 'ia3.py')]
  for flag, error in {
    '--steps=0': ConfigError,
    '--write=absent.md': ConfigError,
    '--size=t5-huge': ConfigError,
    '--data.dir=absent': DataError,
    '--data.dir=': DataError,
    '--batch=-1': ConfigError,
    '--task=sst3': ConfigError,
    '--task=absent/task.json': ConfigError,
  }.items():
    with pytest.raises(error):
      compare.main([f'--workdir={tmp_path / "w"}', f'--model={small}', *config, flag])
    assert not list((tmp_path / 'w').glob('*')) or error is DataError


def test_a_config_that_is_not_there(tmp_path):
  with pytest.raises(ConfigError, match='no such config'):
    compare.main([f'--workdir={tmp_path}', '--config', str(Path('absent.py'))])
