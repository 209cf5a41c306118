"""`experiments.predict` answers with what a run left, and says what it scores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from compacter_jax import t5
from compacter_jax.errors import ConfigError, DataError, WeightsError
from experiments import finetune, predicting, rows, schema
from experiments.inputs import read_inputs
from experiments.predicting import Asked, predict
from tests.conftest import save_small
from tests.runs import job, results

ROOT = Path(__file__).parents[1]
TEST = Asked(part='test')

pytestmark = pytest.mark.usefixtures('standard_promotion')


@pytest.fixture(scope='module')
def reviews(tmp_path_factory):
  """A task of one's own."""
  folder = tmp_path_factory.mktemp('reviews')
  lines = [f'{{"text": "film {i}", "stars": "{["bad", "good"][i % 2]}"}}' for i in range(40)]
  for part in 'train', 'validation':
    (folder / f'{part}.jsonl').write_text('\n'.join(lines))
  task = {'kind': 'classification', 'name': 'reviews', 'template': 'review: {text}'}
  files = {part: f'{part}.jsonl' for part in ('train', 'validation')}
  task |= {'files': files, 'label': 'stars', 'answers': {'bad': 'bad', 'good': 'good'}}
  (folder / 'task.json').write_text(json.dumps(task))
  return folder


@pytest.fixture(scope='module')
def run(base, reviews, tmp_path_factory):
  """The folder of a run that has ended."""
  out = tmp_path_factory.mktemp('run') / 'w'
  settings = job(base, **{'data.task': str(reviews / 'task.json'), 'steps': 2, 'eval_every': 2})
  with jax.numpy_dtype_promotion('standard'):
    finetune.run(settings, read_inputs(settings), out, quiet=True)
  return out


def of(run, **changes):
  values = predicting.settings(run)
  for name, value in changes.items():
    *above, last = name.split('__')
    inner = values
    for each in above:
      inner = inner[each]
    inner[last] = value
  return schema.job(values)


def test_a_part_is_answered_and_scored_as_the_run_did(run):
  for part in 'test', 'validation':
    found = predict(of(run), run, Asked(part=part))
    assert (found.scores, found.intervals) == (
      results(run)[part],
      results(run)['intervals'][part],
    )
    read = rows.read(of(run).data)[1].parts()[part]
    examples = rows.texts(of(run).data, read)
    assert [line['row'] for line in found.lines] == read.indices.tolist()
    assert [line['source'] for line in found.lines] == [each.source for each in examples]
    assert [line['reference'] for line in found.lines] == [each.target for each in examples]
    right = [line['prediction'] == line['reference'] for line in found.lines]
    assert found.scores['accuracy'] == pytest.approx(100 * sum(right) / len(right))


def test_the_same_texts_have_the_same_answers_wherever_they_stand(run, tmp_path):
  known = predict(of(run), run, TEST).lines
  texts = [line['source'] for line in known]
  (tmp_path / 'texts').write_text('\n'.join(texts) + '\n')
  plain = predict(of(run), run, Asked(texts=str(tmp_path / 'texts')))
  table = tmp_path / 'rows.csv'
  table.write_text('extra,text\n' + ''.join(f'x,{text.split(": ")[-1]}\n' for text in texts))
  rows_of = predict(of(run, eval_batch_size=3), run, Asked(rows=str(table)))
  for found in plain, rows_of:
    assert [line['row'] for line in found.lines] == list(range(len(texts)))
    assert [line['prediction'] for line in found.lines] == [line['prediction'] for line in known]
    assert [line['source'] for line in found.lines] == [line['source'] for line in known]
    assert not found.scores and 'reference' not in found.lines[0]


def test_other_rows_and_devices_than_the_runs(run):
  whole = predict(of(run), run, TEST).lines
  split = predict(of(run, mesh__devices=4), run, TEST).lines
  few = predict(of(run, data__max_test=3), run, TEST).lines
  assert split == whole
  assert few == whole[:3] or {line['row'] for line in few} <= {line['row'] for line in whole}


def test_what_a_model_reads_less_of_is_told(run, tmp_path):
  (tmp_path / 'texts').write_text('a film 電\n' + 'very ' * 300)
  assert predict(of(run), run, Asked(texts=str(tmp_path / 'texts'))).notes == [
    '1 sources are cut to 128 ids',
    '1 sources have characters that the tokenizer lacks',
  ]
  (tmp_path / 'rows.jsonl').write_text('{"text": "a film"}\n{"text": 1.5}\n')
  asked = Asked(rows=str(tmp_path / 'rows.jsonl'))
  found = predict(of(run, data__max_bad_rows=1), run, asked)
  assert [line['source'] for line in found.lines] == ['review: a film']
  assert '1 unusable rows' in found.notes[0]
  with pytest.raises(DataError, match='rows.jsonl:2'):
    predict(of(run), run, asked)


def test_lines_are_written_whole_or_not_at_all(tmp_path, capsys):
  line = {'row': 0, 'source': 'schön: \n "x"', 'prediction': 'é'}
  answers = predicting.Answers([line], ['few'], {'accuracy': 50.0}, {'accuracy': [40.0, 60.0]})
  predicting.write(answers, str(tmp_path / 'out.jsonl'))
  assert json.loads((tmp_path / 'out.jsonl').read_text()) == line
  told = capsys.readouterr()
  assert told.out.splitlines() == [
    'note: few',
    'accuracy 50.0 [40.0, 60.0]',
    f'answers: {tmp_path / "out.jsonl"} (1 lines)',
  ]
  predicting.write(answers, None)
  told = capsys.readouterr()
  assert json.loads(told.out) == line
  assert 'accuracy 50.0' in told.err


def test_what_cannot_be_answered_is_said_before_weights_are_read(run, base, tmp_path, monkeypatch):
  def read(*args):
    raise AssertionError('weights were read')

  monkeypatch.setattr(predicting.inputs, 'weights', read)
  (tmp_path / 'empty').write_text('')
  (tmp_path / 'blank').write_text('a\n\nb\n')
  (tmp_path / 'rows.csv').write_text('words\nx\n')
  wrong = [
    (lambda: Asked(), ConfigError, 'one of --part'),
    (lambda: Asked(part='test', rows='x'), ConfigError, '--part=test --rows=x'),
    (lambda: Asked(texts=str(tmp_path / 'none')), DataError, 'none'),
    (lambda: Asked(texts=str(tmp_path / 'empty')), DataError, 'no texts'),
    (lambda: Asked(texts=str(tmp_path / 'blank')), DataError, 'blank:2'),
    (lambda: Asked(rows=str(tmp_path / 'rows.csv')), DataError, 'text'),
    (lambda: Asked(rows=str(tmp_path / 'rows.xls')), ConfigError, 'format'),
  ]
  for asked, kind, told in wrong:
    with pytest.raises(kind, match=told):
      predict(of(run), run, asked())
  with pytest.raises(ConfigError, match='part of what was trained'):
    predict(of(run, seed=3), run, TEST)
  with pytest.raises(ConfigError, match='There is no run here'):
    predict(of(run), tmp_path, TEST)
  (tmp_path / 'w').mkdir()
  (tmp_path / 'w/config.json').write_text((run / 'config.json').read_text())
  with pytest.raises(WeightsError, match='no adapter'):
    predict(of(run), tmp_path / 'w', TEST)


def test_another_t5_is_refused(run, tmp_path):
  sizes = {'d_model': 32, 'd_kv': 8, 'd_ff': 32, 'heads': 2}
  cfg = t5.Config(vocab=8_192, encoder_layers=1, decoder_layers=1, **sizes)
  with pytest.raises(WeightsError, match='another config'):
    predict(of(run, model=str(save_small(tmp_path / 't5', cfg))), run, TEST)


def test_the_command(run, tmp_path):
  def command(*flags, **more):
    line = [sys.executable, '-m', 'experiments.predict', *flags]
    env = os.environ | {
      'PYTHONPATH': str(ROOT),
      'JAX_PLATFORMS': 'cpu',
      'PYTHONIOENCODING': 'ascii',
    }
    return subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, **more)

  done = command(f'--workdir={run}', '--texts=-', input='review: schön\n'.encode())
  assert done.returncode == 0, done.stderr.decode()
  (line,) = done.stdout.decode().splitlines()
  assert json.loads(line)['source'] == 'review: schön'
  for flags, told in [
    (['--part=test'], b'--workdir is missing'),
    ([f'--workdir={tmp_path}', '--part=test'], b'There is no run here'),
    (['--workdir', str(run), '--part=test', '--config.data.max_tst=3'], b"did you mean 'max_test'"),
  ]:
    done = command(*flags)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr.decode()
