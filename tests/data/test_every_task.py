"""Every task of GLUE and SuperGLUE trains and is scored, from files as they are given out."""

import functools
import json
import math
import re
import shutil
import sys
from pathlib import Path

import jax
import pytest

from compacter_jax import data, optim, t5
from compacter_jax.errors import CompacterError, DataError
from experiments import finetune, schema
from experiments.benchmarks import every_task
from experiments.configs import HERE, read_config
from experiments.inputs import read_inputs
from tests.conftest import save_small
from tests.data import official

NAMES = [name for name in data.TASKS if name != 'quickstart']
STEPS = 2


@pytest.fixture(scope='module', autouse=True)
def compiled_once():
  """The step of one task serves all, as model and shapes are the same."""
  with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion('standard'):
    patch.setattr(optim, 'build', functools.cache(optim.build))
    patch.setattr(finetune, '_program', functools.cache(finetune._program.__wrapped__))
    yield


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """The smallest T5 with the shipped vocabulary."""
  folder = tmp_path_factory.mktemp('base')
  cfg = t5.Config(
    vocab=8_192, d_model=32, d_kv=4, d_ff=8, heads=1, encoder_layers=1, decoder_layers=1
  )
  return save_small(folder, cfg)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """The files of all tasks as they are unpacked: glue/ and superglue/."""
  folder = tmp_path_factory.mktemp('files')
  for name in NAMES:
    official.make(name, folder / ('glue' if name in list(data.TASKS)[:10] else 'superglue'))
  lines = [f'l\tk\tw\td\tP {i}\tH {i}\t{official.THREE[i % 3]}' for i in range(12)]
  header = 'Lexical\tKnowledge\tLogic\tDomain\tPremise\tHypothesis\tLabel'
  full = folder / 'glue/diagnostic/diagnostic-full.tsv'  # diagnostic.tsv has no answers
  official.write(full, '\n'.join([header, *lines]))
  return folder


def settings(base, files, name, **changes):
  config = read_config(HERE / 'compacter.py')
  config.model, config.steps, config.eval_every, config.batch_size = str(base), STEPS, STEPS, 8
  config.log_every = config.optim.warmup = config.eval_batch_size = config.mesh.devices = 1
  config.method.adapters.width = 4
  rows = {'task': name, 'dir': str(files), 'splits': 'official', 'max_source': 32}
  config.data.update(rows | changes)
  return schema.job(config.to_dict())


def test_twenty_tasks_have_files():
  assert len(NAMES) == 20 == len({*official.TABLES, *official.RECORDS, 'cola', 'mrpc', 'ax'})


@pytest.mark.parametrize('name', NAMES)
def test_a_task_trains_and_is_scored(name, base, files, tmp_path):
  job = settings(base, files, name)
  inputs = read_inputs(job)
  results = finetune.run(job, inputs, tmp_path / 'w', quiet=True)
  assert results['task'] == name and results['steps'] == STEPS
  task = data.task_named(name)
  some = ['0', '1'] if task.labels else ['1.0', '2.0']
  groups = [('a', '0'), ('b', '1')]
  names = {key for metric in task.metrics for key in metric(some, some, groups)}
  for part in 'validation', 'test':
    whose = task if part == 'test' else data.trained_on(task)
    invalid = results[part].pop('invalid')
    assert 0 <= invalid <= results['rows'][part]
    assert all(map(math.isfinite, results[part].values()))
    assert set(results[part]) == set(results['intervals'][part])
    for key, (low, high) in results['intervals'][part].items():
      assert -100 <= low <= high <= 100, key
    assert whose is not task or set(results[part]) == names | {'average'}
  log = [json.loads(line) for line in (tmp_path / 'w/metrics.jsonl').read_text().splitlines()]
  assert all(math.isfinite(line['loss']) for line in log if 'loss' in line)
  texts = [inputs.tokenizer.decode(ids.tolist()) for ids in inputs.splits['train'].targets]
  allowed = data.trained_on(task).labels
  assert all(texts) and (not allowed or set(texts) <= set(allowed))
  assert sum(results['rows'].values()) == rows_of(name)


def rows_of(name):
  """How many examples the made files have in all."""
  counts = dict.fromkeys(NAMES, 2 * official.N)
  counts |= dict.fromkeys(('mnli', 'axb', 'axg', 'ax'), 3 * official.N)
  counts |= {'ax': 3 * official.N, 'mrpc': 2 * official.N}
  counts |= {'multirc': 2 * 4 * official.N, 'record': 2 * 3 * official.N}
  return counts[name]


def test_tasks_with_files_are_found_and_told(files, tmp_path):
  few = tmp_path / 'few'
  shutil.copytree(files / 'superglue/COPA', few / 'COPA')
  found = list(every_task.search(['sst2', 'copa', 'axb'], [str(files), str(few), str(tmp_path)]))
  assert [(each.task, Path(each.folder).name, each.protocol) for each in found] == [
    ('sst2', files.name, 'official'),  # too few rows for the paper's splits
    ('copa', files.name, 'paper'),
    ('copa', 'few', 'paper'),
    ('axb', files.name, 'paper'),
  ]
  lines = every_task.sizes(found).splitlines()
  content = found[3].parts['test'].rows_sha256[: every_task.DIGITS]
  assert '| axb |' in lines[-1] and '| 12 | 6 | 12 |' in lines[-1] and content in lines[-1]
  (few / 'COPA/train.jsonl').write_text('{}')
  with pytest.raises(DataError, match='copa'):  # no file and a bad one are two things
    list(every_task.search(['copa'], [str(few)]))


def test_the_table_of_runs(files, tmp_path, monkeypatch, capsys):
  shutil.copytree(files / 'superglue/COPA', tmp_path / 'COPA')
  files = tmp_path
  asked = []

  def leave(arguments):
    asked.append(arguments)
    workdir = Path(arguments[-1].removeprefix('--workdir='))
    workdir.mkdir()
    scores = {'accuracy': 25.0, 'invalid': 3}
    results = {'test': scores, 'intervals': {'test': {'accuracy': [20, 30]}}, 'rows': {'test': 6}}
    (workdir / 'results.json').write_text(json.dumps(results))
    log = [{'loss': 3.0}, {'loss': 2.5}, {'validation': {}}]
    (workdir / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, log)))

  monkeypatch.setattr(every_task, 'run', leave)
  every_task.main([f'--data.dir={files}', '--task=copa,wic', '--steps=7'])
  told = capsys.readouterr()
  assert told.out.endswith('| 0 | 3.00, 2.50 | 3 of 6 | accuracy 25.0 [20.0, 30.0] |\n')
  assert told.err == 'no files: wic\n'
  assert {'--config.steps=7', '--config.data.task=copa', f'--config.data.dir={files}'} < set(*asked)


def test_a_run_that_fails_is_told():
  with pytest.raises(CompacterError, match='it broke'):
    every_task.run([sys.executable, '-c', 'import sys; sys.exit("it broke")'])


def test_the_tasks_of_the_page_run(base, tmp_path, monkeypatch):
  page = (Path(__file__).parents[2] / 'docs/your_own_data.md').read_text()
  monkeypatch.chdir(tmp_path)
  for code in re.findall(r'```python\n(.*?)```', page, re.DOTALL):
    exec(compile(code, 'your_own_data.md', 'exec'), {})  # noqa: S102
  wanted = {
    'reviews': {'f1', 'accuracy'},
    'quiz': {'accuracy'},
    'ages': {'pearson', 'spearman'},
    'titles': {'exact_match', 'token_f1', 'rouge_l', 'bleu'},
  }
  for name, scores in wanted.items():
    job = settings(base, '', f'{name}/task.json', splits='paper')
    results = finetune.run(job, read_inputs(job), tmp_path / name / 'w', quiet=True)
    assert set(results['test']) == scores | {'average', 'invalid'}
    assert set(results['intervals']['test']) == scores | {'average'}
  for told in re.findall(r'```json\n(.*?)```', page, re.DOTALL):
    (tmp_path / 'task.json').write_text(told)
    assert data.task_named(str(tmp_path)).name == 'reviews'
