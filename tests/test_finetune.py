"""A whole run from files on disk, and what it leaves behind."""

import dataclasses
import gc
import json
import weakref
from pathlib import Path

import jax
import numpy as np
import pytest

import compacter_jax as cj
from compacter_jax import evaluate, sharding, t5, train
from compacter_jax.data.sentencepiece_tokenizer import SentencePieceTokenizer
from compacter_jax.errors import ConfigError, DataError, StorageError
from compacter_jax.t5 import files
from compacter_jax.train import Progress
from experiments import evaluation, finetune, messages, quickstart, rows, run, schema
from experiments.batches import lengths
from experiments.configs import config_files, read_config
from experiments.console import Console, duration
from experiments.inputs import read_inputs
from tests import runs
from tests.conftest import save_small

CONFIGS = {path.stem: path for path in config_files()}
NAN = float('nan')


pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """A small T5 with the shipped vocabulary, in Hugging Face's format."""
  folder = tmp_path_factory.mktemp('base')
  cfg = t5.Config(
    vocab=8_192, d_model=32, d_kv=8, d_ff=16, heads=2, encoder_layers=1, decoder_layers=1
  )
  return save_small(folder, cfg)


def job(base, name='compacter', **changes):
  config = read_config(CONFIGS[name])
  config.model = str(base)
  config.data.task = 'quickstart'
  config.data.max_train = config.data.max_validation = config.data.max_test = 40
  config.batch_size, config.steps, config.eval_every, config.log_every = 8, 6, 3, 2
  config.optim.warmup, config.mesh.devices = 1, 1
  if name == 'compacter':
    config.method.adapters.width = 8
  config.update(changes)
  return schema.job(config.to_dict())


def test_a_run_leaves_all_it_promises(base, tmp_path, capsys):
  settings = job(base)
  results = finetune.run(settings, read_inputs(settings), tmp_path / 'w')
  assert {p.name for p in (tmp_path / 'w').iterdir()} == {
    'config.json', 'metrics.jsonl', 'results.json', 'adapter',
  }  # fmt: skip
  assert json.loads((tmp_path / 'w/results.json').read_text()) == results
  assert schema.job(json.loads((tmp_path / 'w/config.json').read_text())) == settings
  log = (tmp_path / 'w/metrics.jsonl').read_text()
  lines = [json.loads(line) for line in log.splitlines()]
  assert [line['step'] for line in lines if 'loss' in line] == [1, 3, 6]
  assert [line['step'] for line in lines if 'validation' in line] == [3, 6]
  for key in 'validation', 'test':
    assert set(results[key]) == {'accuracy', 'average', 'invalid'}
    assert set(results['intervals'][key]) == {'accuracy', 'average'}
    for name, (low, high) in results['intervals'][key].items():
      assert low <= results[key][name] <= high
  assert results['rows'] == {'train': 40, 'validation': 40, 'test': 40}
  assert results['parameters']['trained'] < results['parameters']['base']
  assert results['peak_bytes'] > 1e7
  assert results['splits'] == rows.told(rows.read(settings.data)[1])
  assert results['versions']['jax'] == jax.__version__
  shown = capsys.readouterr().out
  assert 'step 6/6' in shown
  assert 'examples/s' in shown


def test_the_saved_adapter_predicts_what_was_reported(base, tmp_path):
  settings = job(base)
  inputs = read_inputs(settings)
  results = finetune.run(settings, inputs, tmp_path / 'w', quiet=True)
  cfg, frozen = t5.load(base, 'float32')
  model, tuned = cj.load(tmp_path / 'w/adapter', cfg, frozen, inputs.tokenizer.fingerprint)
  args = model, tuned, model.trim(frozen), inputs.splits['test'], inputs.tokenizer
  for size in 7, 40:  # whatever the batch
    predictions = evaluate.predict(*args, size)
    args_of_test = inputs.task, predictions, inputs.splits['test']
    assert evaluate.score(*args_of_test) == results['test']
    assert evaluate.interval(*args_of_test) == results['intervals']['test']


@pytest.mark.parametrize(
  ('changes', 'told'),
  [
    ({'method.adapters.width': -2}, 'width=-2'),
    ({'mesh.tensor': 3}, 'No mesh of'),
    ({'mesh.devices': 4, 'batch_size': 6}, 'a batch of 4 or 8 would do'),
    ({'mesh.devices': 4, 'mesh.tensor': 4, 'mesh.data': 1}, 'heads'),
  ],
)
def test_what_needs_no_rows_is_told_before_any_is_read(base, changes, told):
  settings = {'data.task': 'sst2', 'data.dir': 'absent', 'accumulate': 1}
  with pytest.raises(ConfigError, match=told):
    read_inputs(runs.job(base, **settings | changes))


@pytest.mark.parametrize(
  ('scores', 'best'),
  [([50.0, 90.0, NAN, 10.0], 1), ([NAN, float('inf'), 10.0, NAN], 2), ([NAN] * 4, 3)],
)
def test_the_best_arrays_are_kept(scores, best, base, tmp_path, monkeypatch):
  """Those of the best number; where there is none, the last."""
  scores, seen = iter(scores), []

  def scored(self, tuned, part):
    seen.append(jax.tree.map(np.array, tuned))
    return {'average': next(scores, 0.0), 'invalid': 0}

  monkeypatch.setattr(evaluation.Evaluation, 'score', scored)
  settings = job(base, steps=4, eval_every=1)
  inputs = read_inputs(settings)
  finetune.run(settings, inputs, tmp_path / 'w', quiet=True)
  _, kept = cj.load(tmp_path / 'w/adapter', inputs.model.cfg, inputs.frozen)
  same = [
    all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(each)))
    for each in seen[:4]
  ]
  assert same == [step == best for step in range(4)]


def test_scores_are_told_with_their_intervals():
  scores = {'accuracy': 71.249, 'average': 71.249, 'invalid': 3}
  assert messages.told(scores) == 'accuracy 71.25, average 71.25, invalid 3'
  told = messages.told(scores, {'accuracy': [66.75, 75.51]})
  assert told == 'accuracy 71.2 [66.8, 75.5], average 71.25, invalid 3'


def test_the_command_prints_the_scores_with_their_intervals(base, tmp_path, capsys, monkeypatch):
  some = lambda model, tuned, frozen, split, *_: [*split.references[:30], *['x'] * 10]
  monkeypatch.setattr(evaluate, 'predict', some)
  run.main(job(base, steps=1, eval_every=1), str(tmp_path / 'w'))
  results = json.loads((tmp_path / 'w/results.json').read_text())
  shown = capsys.readouterr().out
  for part in 'validation', 'test':
    low, high = results['intervals'][part]['accuracy']
    assert low < results[part]['accuracy'] == 75 < high
    assert f'{part}: accuracy 75.0 [{low:.1f}, {high:.1f}]' in shown


def test_full_fine_tuning_runs(base, tmp_path):
  settings = job(base, 'full', steps=2)
  inputs = read_inputs(settings)
  before = jax.tree.map(np.array, inputs.frozen)
  results = finetune.run(settings, inputs, tmp_path / 'w', quiet=True)
  assert results['parameters']['percent'] == 100
  assert all(np.array_equal(before[p], inputs.frozen[p]) for p in before)


def test_rows_that_are_left_out_are_told(base, tmp_path, capsys):
  rows = 'gj04\t1\t\tIt fell.\ngj04\t0\t*\tIt fall.\n' * 5
  (tmp_path / 'train.tsv').write_text(rows + 'cut\n')
  (tmp_path / 'dev.tsv').write_text(rows)
  files = {'task': 'cola', 'dir': str(tmp_path), 'max_bad_rows': 1, 'max_train': 0}
  settings = job(base, steps=1, eval_every=1, data=files)
  results = finetune.run(settings, read_inputs(settings), tmp_path / 'w')
  assert results['bad_rows'] == {str(tmp_path / 'train.tsv'): 1}
  assert results['rows'] == {'train': 10, 'validation': 5, 'test': 5}
  assert f'1 unusable rows of {tmp_path / "train.tsv"} are left out' in (
    told := capsys.readouterr().out
  )
  assert 'note: 5 test rows are training rows too, 0 with another answer' in told


def test_texts_that_are_cut_are_told(base, tmp_path, capsys):
  rows = 'gj04\t1\t\tIt fell down.\ngj04\t0\t*\tIt fall.\n' * 4
  for name in 'train', 'dev':
    (tmp_path / f'{name}.tsv').write_text(rows)
  cut = {'task': 'cola', 'style': 't5', 'dir': str(tmp_path), 'max_source': 8, 'max_target': 3}
  cut |= {'max_train': 0, 'allow_target_truncation': True}
  settings = job(base, steps=1, eval_every=1, data=cut)
  inputs = read_inputs(settings)
  results = finetune.run(settings, inputs, tmp_path / 'w')
  told = capsys.readouterr().out
  assert set(results['truncated']) == set(results['truncated_targets']) == set(results['rows'])
  for part, split in inputs.splits.items():
    assert 0 < split.truncated == results['truncated'][part]
    assert f'note: {split.truncated} {part} sources are cut to 8 ids' in told
    assert 0 < split.truncated_targets == results['truncated_targets'][part]
    assert f'note: {split.truncated_targets} {part} targets are cut to 3 ids' in told
  refused = job(base, data=cut | {'allow_target_truncation': False})
  with pytest.raises(DataError, match='row 2 of the split'):
    read_inputs(refused)


def test_what_the_tokenizer_cannot_write_is_told(base, tmp_path, capsys):
  rows = [
    {'q': f'電 {i}' if i % 4 else 'plain', 'a': '電話' if i % 2 else 'a phone'} for i in range(8)
  ]
  for part in 'train', 'validation':
    (tmp_path / f'{part}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  own = {'kind': 'generation', 'name': 'calls', 'template': '{q}', 'label': 'a'}
  own |= {'files': {part: f'{part}.jsonl' for part in ('train', 'validation')}}
  (tmp_path / 'task.json').write_text(json.dumps(own))
  few = {'task': str(tmp_path / 'task.json'), 'max_train': 8}
  few |= {'max_validation': 0, 'max_test': 0}
  settings = job(base, steps=1, eval_every=1, data=few)
  results = finetune.run(settings, read_inputs(settings), tmp_path / 'w')
  told = capsys.readouterr().out
  assert results['unknown']['train'] == {'sources': 6, 'targets': 4}
  assert 'note: 6 train sources have characters that the tokenizer lacks\n' in told
  shown = r"'\u96fb\u8a71'"
  assert 'note: 4 train targets have characters that the tokenizer lacks and so cannot be' in told
  assert f'written, as {shown}' in told


def test_texts_are_tokenised_once(base, tmp_path, capsys, monkeypatch):
  folder = tmp_path / 'kept'
  settings = job(base, data={'cache': str(folder)}, steps=2, eval_every=2)
  first = finetune.run(settings, read_inputs(settings), tmp_path / 'first', quiet=True)
  files = sorted(folder.iterdir())
  assert len(files) == 3
  with monkeypatch.context() as patch:
    asked = lambda *args: pytest.fail('the texts were tokenised again')
    patch.setattr(SentencePieceTokenizer, 'encode_all', asked)
    inputs = read_inputs(settings)
  again = finetune.run(settings, inputs, tmp_path / 'again', quiet=True)
  told = lambda results: {k: v for k, v in results.items() if k in ('validation', 'test', 'rows')}
  assert told(again) == told(first)
  arrays = [(tmp_path / n / 'adapter/adapter.safetensors').read_bytes() for n in ('first', 'again')]
  assert arrays[0] == arrays[1]
  files[0].write_bytes(files[0].read_bytes()[:-1])
  finetune.run(settings, read_inputs(settings), tmp_path / 'mended')
  assert f'note: {files[0]} cannot be used' in capsys.readouterr().out
  none = read_inputs(job(base, data={'cache': ''}))
  prints = [[split.fingerprint for split in each.splits.values()] for each in (inputs, none)]
  assert prints[0] == prints[1]


def test_rows_that_teach_nothing_are_for_evaluation_only(base, tmp_path):
  record = {'text': 'Mark told Pete that he lied.', 'idx': 0}
  spans = {'span1_text': 'Mark', 'span1_index': 0, 'span2_text': 'he', 'span2_index': 4}
  rows = [record | {'target': spans, 'label': label} for label in (True, False, False)]
  for name in 'train', 'val':
    (tmp_path / f'{name}.jsonl').write_text('\n'.join(map(json.dumps, rows * 2)))
  files = {'task': 'wsc', 'style': 't5', 'dir': str(tmp_path), 'max_train': 0}
  inputs = read_inputs(job(base, data=files))
  sizes = {part: len(split) for part, split in inputs.splits.items()}
  assert sizes == {'train': 2, 'validation': 3, 'test': 3}


def test_random_weights_are_another_base(base):
  inputs = read_inputs(job(base))
  drawn = read_inputs(job(base, random_base=True))
  assert inputs.base != drawn.base
  assert drawn.base == read_inputs(job(base, random_base=True)).base


def test_a_folder_that_is_none_is_told(base, tmp_path):
  (tmp_path / 'file').touch()
  settings = job(base)
  with pytest.raises(StorageError, match='file'):
    finetune.run(settings, read_inputs(settings), tmp_path / 'file')


@pytest.mark.parametrize(
  ('changes', 'want'),
  [
    ({'steps': 0, 'epochs': 3.0, 'eval_every': 0}, (15, 5)),
    ({'steps': 7, 'eval_every': 0}, (7, 5)),
    ({'steps': 7, 'eval_every': 100}, (7, 7)),
    ({'steps': 0, 'epochs': 0.01}, (1, 1)),
  ],
)
def test_lengths_of_a_run(base, changes, want):
  assert lengths(job(base, **changes), 40) == want


def test_a_terminal_gets_a_bar_and_a_file_gets_lines(monkeypatch, capsys):
  progress = Progress(5, 1.25, 1.0, examples_per_second=10, seconds_per_step=2, waited=0)
  console = Console(10)
  console.show(progress)
  assert 'step 5/10, loss 1.2500, 10 examples/s, 10 s left' in capsys.readouterr().out
  monkeypatch.setattr('sys.stderr.isatty', lambda: True, raising=False)
  console = Console(10)
  console.show(progress)
  console.close()
  bar = capsys.readouterr().err
  assert '5/10' in bar
  assert 'loss 1.2500' in bar


def test_a_bar_that_goes_on_counts_its_own_steps_alone(monkeypatch, capsys):
  monkeypatch.setattr('sys.stderr.isatty', lambda: True, raising=False)
  console = Console(1_000)
  console.go_on(900)
  told = console._bar.format_dict
  assert (told['n'], told['initial']) == (900, 900)
  console.close()
  assert 'going on from step 900' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('seconds', 'text'), [(0.4, '0 s'), (59, '59 s'), (200, '3 min 20 s'), (7_500, '2 h 5 min')]
)
def test_durations(seconds, text):
  assert duration(seconds) == text


def test_the_table_of_the_quickstart():
  rows = [('majority class', 25.0, 0, 0), ('Compacter', 90.0, 18_368, 80_016)]
  table = quickstart.table(rows, Path('w'))
  assert '18,368' in table
  assert '0.08 MB' in table
  assert "cj.load('w/compacter/adapter'" in table


def test_the_job_is_plain_settings(base):
  settings = job(base)
  assert dataclasses.is_dataclass(settings)
  assert hash(settings.method) == hash(job(base).method)


MESH = {'data': 2, 'fsdp': 2, 'tensor': 2, 'devices': 8}


@pytest.mark.usefixtures('young_garbage')
def test_weights_are_read_one_by_one_into_their_shards(base, monkeypatch):
  """The host never has two arrays of them, and no device more than its part."""
  made, alive = files._aligned, []

  class Watched(np.ndarray):
    """An array that can be referred to weakly."""

  def aligned(shape, dtype):
    gc.collect()
    assert not [each for each in alive if each() is not None]
    array = made(shape, dtype).view(Watched)
    alive.append(weakref.ref(array))
    return array

  monkeypatch.setattr(files, '_aligned', aligned)
  settings = job(base, 'full', mesh=MESH)
  inputs = read_inputs(settings)
  assert len(alive) == len(inputs.frozen)
  monkeypatch.undo()
  mesh = sharding.make_mesh(**MESH)
  lies = sharding.shardings(mesh, sharding.t5_axes(inputs.frozen), inputs.frozen)
  assert {path: array.sharding for path, array in inputs.frozen.items()} == lies
  whole = t5.load(base)[1]
  assert inputs.base == cj.fingerprint(whole) == read_inputs(job(base)).base
  assert all(np.array_equal(inputs.frozen[path], whole[path]) for path in whole)


def test_random_weights_are_the_same_on_any_mesh(base):
  alone, split = (read_inputs(job(base, random_base=True, mesh=m)) for m in ({'devices': 1}, MESH))
  assert alone.base == split.base
  assert not split.frozen['token_embedding'].sharding.is_fully_replicated


@pytest.mark.usefixtures('young_garbage')
def test_what_is_trained_is_not_held_a_second_time(base, tmp_path, monkeypatch):
  """Of full fine-tuning: T5's own weights go once the trained ones have started from them."""
  real, held = train.Loop.run, []

  def run_(self, *args):
    held.append(tables())
    return real(self, *args)

  def tables():
    gc.collect()
    shape = t5.shapes(t5.read_config(base))['token_embedding']
    return sum(array.shape == shape for array in jax.live_arrays())

  before = tables()  # of other tests
  monkeypatch.setattr(train.Loop, 'run', run_)
  settings = job(base, 'full')
  finetune.run(settings, read_inputs(settings), tmp_path / 'w', quiet=True)
  assert held[0] - before == 4  # with two moments, and the best so far
