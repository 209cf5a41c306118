"""The command that tells which rows a run takes, and that a run takes these."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compacter_jax import data
from compacter_jax.data.protocols import PROTOCOLS
from compacter_jax.errors import ConfigError
from experiments import rows, schema, splits
from experiments.configs import read_config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """CoLA's files with few rows, one of which is unusable and three of which stand twice."""
  folder = tmp_path_factory.mktemp('rows') / 'CoLA'
  folder.mkdir()
  train = [f'x\t{i % 2}\t\ttext {i}' for i in range(40)]
  (folder / 'train.tsv').write_text('\n'.join([*train, 'cut']))
  dev = [f'x\t{label}\t\t{text}' for label, text in [(0, 'text 0'), (0, 'text 1'), (1, 'text 3')]]
  (folder / 'dev.tsv').write_text('\n'.join([*dev, *(f'x\t1\t\tnew {i}' for i in range(7))]))
  return folder


def settings(folder, **changes):
  config = read_config(splits.CONFIG)
  config.data.task, config.data.dir, config.data.max_bad_rows = 'cola', str(folder), 1
  config.data.update(changes)
  return schema.job(config.to_dict()).data


def command(*flags, cwd):
  return subprocess.run(
    [sys.executable, '-m', 'experiments.splits', *flags],
    cwd=cwd,
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
  )


def test_what_is_described_is_what_is_read(files):
  found = splits.describe(settings(files, max_train=6, balanced=True))
  task, taken, bad = rows.read(settings(files, max_train=6, balanced=True))
  assert (found['task'], found['max_train'], found['balanced']) == (task.name, 6, True)
  assert list(bad.values()) == [1] and found['bad_rows'] == bad
  for name, part in taken.parts().items():
    assert found[name] == part.told() | {'indices': part.indices.tolist()}
  assert found['duplicates'] == data.duplicates(taken)


def test_a_sample_that_cannot_be_is_refused_before_rows_are_read():
  wrong = {'balanced': True}, {'shots': 2, 'max_train': 3}, {'sample_seed': -2}, {'seed': 2**32}
  for changes in (*wrong, {'splits': 'mine'}):
    with pytest.raises(ConfigError, match='data'):
      settings('absent', **changes)


def test_the_text_names_sizes_hashes_duplicates_and_what_was_left_out(files):
  found = splits.describe(settings(files, splits='official'))
  told = splits.text(found)
  assert told.splitlines()[0] == 'cola: splits official, seed 42'
  for part, n in ('train', 36), ('validation', 4), ('test', 10):
    (line,) = [line for line in told.splitlines() if line.startswith(f'{part} ')]
    assert f' {n} ' in line
    for of in 'indices', 'rows':
      assert found[part][f'{of}_sha256'][: splits.SHOWN] in line
  counts = found['duplicates']
  twice = [counts[f'{part}, test'] for part in ('train', 'validation')]
  assert [sum(each[key] for each in twice) for key in ('same', 'other')] == [2, 1]
  for pair, each in counts.items():
    assert f'{pair + ":":20}{each["same"]} rows in both, {each["other"]} with another' in told
  assert f'1 unusable rows of {files}/train.tsv left out' in told
  assert not [line for line in told.splitlines() if line != line.rstrip()]


def test_the_command_exports_every_row_and_prints_json(files, tmp_path):
  flags = [f'--config.data.dir={files}', '--config.data.max_bad_rows=1', '--config.data.shots=2']
  done = command('--task=cola,quickstart', *flags[1:], cwd=tmp_path)
  assert done.returncode == 3 and 'data.dir' in done.stderr and 'Traceback' not in done.stderr
  done = command('--task=cola', *flags, '--format=json', '--export=rows.json', cwd=tmp_path)
  assert not done.returncode, done.stderr
  (printed,), (exported,) = (
    json.loads(done.stdout),
    json.loads((tmp_path / 'rows.json').read_text()),
  )
  assert exported == splits.describe(settings(files, shots=2))
  assert printed == splits.without_indices(exported)
  assert 'indices' in exported['train'] and 'indices' not in printed['train']
  assert [len(exported[part]['indices']) for part in ('train', 'validation', 'test')] == [4, 4, 5]
  assert sorted(path.name for path in tmp_path.iterdir()) == ['rows.json']


def test_several_tasks_one_after_the_other(tmp_path, capsys):
  splits.show(settings('', task='quickstart', max_bad_rows=0), ['quickstart'] * 2, 'text', '')
  first, second = capsys.readouterr().out.strip().split('\n\n')
  assert first == second and first.startswith('quickstart: splits paper, seed 42')


@pytest.mark.parametrize(
  ('flags', 'code', 'word'),
  [
    (['--config.data.dir='], 3, '--config.data.dir=DIR'),
    (['--config.data.shots=30'], 3, 'shots=10 works'),
    (['--config.data.max_train=41'], 3, 'at most 40'),
    (['--export=absent/rows.json'], 6, 'absent'),
    (['--config=absent.py'], 2, 'absent.py'),
    (['cola'], 2, 'no flags'),
  ],
)
def test_what_cannot_be_is_told(files, tmp_path, flags, code, word):
  sound = [f'--config.data.dir={files}', '--config.data.max_bad_rows=1', '--task=cola']
  done = command(*sound, *flags, cwd=tmp_path)
  assert (done.returncode, word in done.stderr) == (code, True), done.stderr
  assert 'Traceback' not in done.stderr and not list(tmp_path.iterdir())


def test_no_weights_are_looked_for(files, tmp_path):
  flags = [f'--config.data.dir={files}', '--config.data.max_bad_rows=1', '--config.model=absent']
  done = command('--task=cola', *flags, cwd=tmp_path)
  assert not done.returncode, done.stderr


def test_grouped_record_has_one_example_a_row(tmp_path):
  entities = [{'start': 0, 'end': 0}, {'start': 2, 'end': 2}]
  lines = {}
  for name, n in ('train', 1100), ('val', 3):
    lines[name] = [
      {
        'passage': {'text': f'A B {name} {i}', 'entities': entities},
        'qas': [{'query': 'q @placeholder', 'idx': i, 'answers': [{'text': 'A'}, {'text': 'B'}]}],
        'idx': i,
      }
      for i in range(n)
    ]
    (tmp_path / f'{name}.jsonl').write_text('\n'.join(map(json.dumps, lines[name])))
  for protocol, each in ('paper', 2), ('grouped', 1):
    asked = settings(tmp_path, task='record', splits=protocol)
    task, taken, _ = rows.read(asked)
    for part in taken.parts().values():
      assert {len(data.examples(part.task, row, False)) for row in part.rows} == {each}
    assert len(data.examples(task, taken.test.rows[0], False)) == each


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_diagnostic_set_from_files(tmp_path, protocol):
  label = {'label': 'entailment'}
  claims = [{'premise': f'p {i}', 'hypothesis': 'h', 'idx': i} | label for i in range(30)]
  for name, some in ('train', claims[:20]), ('val', claims[20:]):
    (tmp_path / 'RTE').mkdir(exist_ok=True)
    (tmp_path / f'RTE/{name}.jsonl').write_text('\n'.join(map(json.dumps, some)))
  (tmp_path / 'AX-b').mkdir()
  own = [{'sentence1': f's {i}', 'sentence2': 'h', 'idx': i} | label for i in range(4)]
  (tmp_path / 'AX-b/AX-b.jsonl').write_text('\n'.join(map(json.dumps, own)))
  task, taken, _ = rows.read(settings(tmp_path, task='axb', splits=protocol))
  assert task.name == 'axb'
  assert [len(part) for part in taken.parts().values()] == [
    20,
    10 if protocol == 'official' else 5,
    4,
  ]
  for part in taken.parts().values():
    assert all(data.examples(part.task, row, False) for row in part.rows)
