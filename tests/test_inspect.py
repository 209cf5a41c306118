"""The command that shows a task tells what a run would read, counted here in another way."""

import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from compacter_jax import data, t5
from compacter_jax.errors import DataError
from experiments import (
  inspecting,
  inspecting_picture,
  inspecting_text,
  rows,
  schema,
  splits,
)
from experiments.configs import read_config

ROOT = Path(__file__).parents[1]
QUICK = ROOT / 'experiments/configs/quickstart.py'
PARTS = 'train', 'validation', 'test'


def command(*flags, cwd):
  return subprocess.run(
    [sys.executable, '-m', 'experiments.inspect', *flags],
    cwd=cwd,
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': str(ROOT), 'HF_HUB_OFFLINE': '1'},
  )


def job(**changes):
  config = read_config(QUICK)
  config.data.update(changes)
  return schema.job(config.to_dict())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Where the command left its files on the quickstart task, and what it printed."""
  out = tmp_path_factory.mktemp('inspect')
  done = command(f'--config={QUICK}', '--format=json', '--out=seen/here', cwd=out)
  assert not done.returncode and not done.stderr, done.stderr
  (out / 'printed').write_text(done.stdout)
  return out


@pytest.fixture(scope='module')
def found(folder):
  return json.loads((folder / 'printed').read_text())


@pytest.fixture(scope='module')
def tokenizer():
  return data.load_tokenizer(t5.resolve('nano'))


@pytest.fixture(scope='module')
def texts():
  """Source and target of every row, by part."""
  _, drawn, _ = rows.read(job().data)
  return {
    name: [(f'sentence: {row["sentence"]}', str(row['label'])) for row in part.rows]
    for name, part in drawn.parts().items()
  }


@pytest.fixture(scope='module')
def training_split(texts, tokenizer):
  examples = [data.Example(*both) for both in texts['train']]
  return data.encode(examples, tokenizer, 48, 16, 8_192)


def test_the_examples_are_the_first_of_a_run(found, texts, tokenizer):
  assert [each['row'] for each in found['examples']] == data.order(1_600, 42, 0)[:5].tolist()
  for each in found['examples']:
    for name, text in zip(('source', 'target'), texts['train'][each['row']]):
      told, ids = each[name], tokenizer.encode(text)
      assert (told['text'], told['ids'], told['length'], told['cut']) == (
        text,
        ids,
        len(ids),
        False,
      )
      spelled = ''.join(told['pieces']).replace('\u2581', ' ')
      assert spelled == f' {text}</s>' and len(told['pieces']) == len(ids)


def test_answers_are_counted_by_part(found, texts):
  for part in PARTS:
    counts, n = Counter(target for _, target in texts[part]), len(texts[part])
    told = found['answers'][part]
    assert {label: each['count'] for label, each in told['labels'].items()} == counts
    assert told['labels']['3']['percent'] == pytest.approx(100 * counts['3'] / n)
    most = told['commonest']
    assert most['count'] == max(counts.values()) == counts[most['text']]
    assert (told['examples'], told['different']) == (n, 4)


def test_lengths_are_those_of_the_tokenizer(found, texts, tokenizer):
  for part in PARTS:
    for at, name in enumerate(('source', 'target')):
      lengths = [len(tokenizer.encode(both[at])) for both in texts[part]]
      told = found['lengths'][part][name]
      assert (told['min'], told['max']) == (min(lengths), max(lengths))
      assert told['median'] == statistics.median(lengths)
      assert told['mean'] == pytest.approx(statistics.mean(lengths))
      assert {int(length): count for length, count in told['counts'].items()} == Counter(lengths)
      assert told['cut'] == told['cut_percent'] == 0


def test_the_spread_is_by_its_definition():
  random = np.random.default_rng(0)
  for n in 1, 2, 19, 20, 99, 100, 101, 200, 1_000:
    lengths = random.integers(2, 40, n) if n % 2 else random.geometric(0.05, n) + 1
    most = int(random.integers(2, 40))
    told = inspecting.spread(lengths, most)
    within = lambda limit, lengths=lengths: sum(int(x) <= limit for x in lengths)
    limits = range(max(lengths) + 1)
    assert told['p95'] == next(limit for limit in limits if 100 * within(limit) >= 95 * n)
    assert told['enough'] == next(limit for limit in limits if 100 * (n - within(limit)) < n)
    assert told['cut'] == n - within(most)
    assert told['cut_percent'] == pytest.approx(100 * told['cut'] / n)


@pytest.mark.parametrize('kind', data.BATCHINGS)
def test_padding_is_that_of_the_batches_of_an_epoch(found, training_split, kind):
  batches = data.Batches(training_split, 8, 42, kind, d_model=256)
  full = area = 0
  shapes = set()
  for step in range(200):
    batch = batches.batch(step)
    tables = batch['source'], batch['target']
    full += sum(int((ids != 0).sum()) for ids in tables)
    area += sum(ids.size for ids in tables)
    shapes.add(tuple(ids.shape for ids in tables))
  told = found['padding']['of'][kind]
  assert found['padding']['steps'] == 200 and found['padding']['chosen'] == 'padded'
  assert told['useful'] == pytest.approx(100 * full / area)
  assert told['ids'] == pytest.approx(area / 200)
  assert told['shapes'] == len(shapes)
  assert {shape[0][0] for shape in shapes} == {told['lines']}


def test_the_reference_pads_everything_to_the_limit(found, training_split):
  told = found['padding']['of']['fixed']
  assert (told['lines'], told['shapes'], told['ids']) == (8, 1, 8 * (48 + 4))
  ids = len(training_split.sources.ids) + len(training_split.targets.ids)
  assert told['useful'] == pytest.approx(100 * ids / (1_600 * (48 + 4)))


def test_steps_and_splits_are_those_of_a_run(found):
  told = {'steps_per_epoch': 200, 'steps': 400, 'epochs': 2, 'eval_every': 200}
  assert found['training'] == told
  assert found['splits'] == splits.without_indices(splits.describe(job().data))
  assert found['tokenizer']['sha256'] == data.load_tokenizer(t5.resolve('nano')).fingerprint


def test_the_folder_holds_a_picture_and_the_report(folder, found):
  out = folder / 'seen/here'
  assert sorted(path.name for path in out.iterdir()) == ['lengths.png', 'report.json', 'report.md']
  assert json.loads((out / 'report.json').read_text()) == found
  content = (out / 'lengths.png').read_bytes()
  size = [round(inches * inspecting_picture.DPI) for inches in inspecting_picture.SIZE]
  assert content[:8] == b'\x89PNG\r\n\x1a\n'
  assert [int.from_bytes(content[at : at + 4]) for at in (16, 20)] == size == [1200, 900]
  report = (out / 'report.md').read_text()
  assert '](lengths.png)' in report and report.count('```') == 10
  for body in inspecting_text.sections(found).values():
    assert body in report


def columns(picture, colour):
  """The share of the picture's height, by column of dots, that is of that colour."""
  return (np.abs(picture[..., :3] - colour).max(-1) < 0.02).mean(0)


def test_the_picture_shows_lengths_and_limits(folder, found, tmp_path):
  blue, red = (0.122, 0.467, 0.706), (0.839, 0.153, 0.157)
  picture = imread(folder / 'seen/here/lengths.png')
  bars, marks = (columns(picture, colour) for colour in (blue, red))
  (bars,) = np.nonzero(bars > 0.002)
  (marks,) = np.nonzero(marks[:620] > 0.3)
  assert bars.max() < marks.min() < 620 and len(marks) <= 4  # sources end before their limit
  cut = json.loads(json.dumps(found)) | {'max_source': 25}
  (tmp_path / 'cut.png').write_bytes(inspecting_picture.lengths_png(cut, 'cut'))
  picture = imread(tmp_path / 'cut.png')
  (bars,) = np.nonzero(columns(picture, blue) > 0.002)
  (marks,) = np.nonzero(columns(picture, red)[:620] > 0.3)
  assert bars.min() < marks.min() < bars.max()
  far = found | {'max_source': 4_000}  # not drawn, else all bars would be one
  (tmp_path / 'far.png').write_bytes(inspecting_picture.lengths_png(far, r'$\no math$'))
  (bars,) = np.nonzero(columns(imread(tmp_path / 'far.png'), blue) > 0.002)
  assert bars.max() - bars.min() > 200


def test_the_text_has_the_figures(found, texts, tokenizer):
  told = inspecting_text.text(found)
  lines = told.splitlines()
  assert lines[0] == 'quickstart in the style compacter, tokenizer nano with 8,100 ids'
  assert max(map(len, lines)) <= 100 and not [line for line in lines if line != line.rstrip()]
  row = found['examples'][0]['row']
  assert f'1. row {row} of train' in lines
  pieces, ids = lines[lines.index('   target, 2 ids') + 1 :][:2]
  label = texts['train'][row][1]
  assert (pieces.split(), ids.split()) == (
    [f'\u2581{label}', '</s>'],
    [str(i) for i in tokenizer.encode(label)],
  )
  assert pieces.index('</s>') == ids.index(' 1') + 1
  (balance,) = [line.split() for line in lines if line.startswith('3  ')]
  assert balance[:3] == ['3', '400', '25.0']
  (packed,) = [line.split() for line in lines if line.startswith('packed')]
  want = found['padding']['of']['packed']
  assert packed[1:5] == [f'{want["useful"]:.1f}', '%', str(want['shapes']), str(want['lines'])]
  (length,) = [line.split() for line in lines if line.startswith('train sources')]
  assert length[-6:] == ['35', '48', '0', '0.0', '%', '32']
  assert (
    'An epoch is 200 steps. A run takes 400, which is 2 epochs, and validates every 200.' in told
  )
  assert splits.text(found['splits']) in told
  assert 'config.data' not in told  # there is nothing to mend


def test_the_page_shows_what_is_printed(found):
  page = (ROOT / 'docs/data.md').read_text().partition('## Look at a task')[2].partition('\n## ')[0]
  (shown,) = re.findall(r'```text\n(.*?)\n```', page, re.DOTALL)
  told = inspecting_text.text(found)
  blocks = [block for block in shown.split('\n\n') if block != '...']
  assert len(blocks) > 5 and not [block for block in blocks if block not in told]


def test_without_a_folder_nothing_is_written(tmp_path):
  done = command(f'--config={QUICK}', cwd=tmp_path)
  assert not done.returncode, done.stderr
  assert '--out=FOLDER' in done.stdout.splitlines()[-1] and not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def own(tmp_path_factory):
  """Tasks of one's own: long free texts with what could break a page, and numbers."""
  folder = tmp_path_factory.mktemp('own')
  both = {'files': {'train': 'train.jsonl', 'validation': 'dev.jsonl'}, 'label': 'answer'}
  kinds = {
    'words': {'kind': 'generation', 'template': 'say: {text}'},
    'marks': {'kind': 'regression', 'template': 'rate: {text}', 'decimals': 1, 'range': [0, 5]},
  }
  for name, kind in kinds.items():
    (folder / name).mkdir()
    (folder / name / 'task.json').write_text(json.dumps({'name': name, **both, **kind}))
    for part, n in ('train', 12), ('dev', 6):
      lines = []
      for i in range(n):
        text = f'```\n{part} {i}' + ' and more' * (100 if i % 2 else 2)
        answer = 'yes ' * (30 if i == 1 else 2) if name == 'words' else i / 4
        lines.append(json.dumps({'text': text, 'answer': answer}))
      (folder / name / f'{part}.jsonl').write_text('\n'.join(lines))
  return folder


def test_what_is_cut_is_told_with_what_would_do(own, tokenizer, tmp_path):
  asked = [f'--config.data.task={own}/words', '--config.data.max_source=64', '--out=seen']
  done = command(f'--config={QUICK}', *asked, cwd=tmp_path)
  assert not done.returncode, done.stderr
  found = json.loads((tmp_path / 'seen/report.json').read_text())
  settings = job(task=f'{own}/words', max_source=64, max_validation=0)
  _, drawn, _ = rows.read(settings.data)
  examples = rows.texts(settings.data, drawn.train)
  sources, targets = ([len(tokenizer.encode(e[at])) for e in examples] for at in (0, 1))
  source, target = (found['lengths']['train'][name] for name in ('source', 'target'))
  assert source['cut'] == sum(length > 64 for length in sources) == 6
  assert (source['max'], target['max']) == (max(sources), max(targets))
  assert target['cut'] == sum(length > 16 for length in targets) == 1
  assert f'max_source={max(sources)} would cut less than 1 %' in done.stdout
  assert f'max_target={max(targets)} or' in done.stdout
  with pytest.raises(DataError, match='too long'):  # as it says
    data.encode(examples, tokenizer, 64, 16, 8_192)
  for each in found['examples']:
    length = len(tokenizer.encode(each['source']['text']))
    assert (each['source']['length'], each['source']['cut']) == (length, length > 64)
    assert len(each['source']['ids']) == min(length, 64)
    assert f'source, cut from {length} ids to 64' in done.stdout or length <= 64
  assert 'more characters' in done.stdout
  assert 'say: ```\\n' in done.stdout  # a line break is spelled out
  report = (tmp_path / 'seen/report.md').read_text()
  assert report.count('\n````text\n') == report.count('\n````\n') == 1  # about the examples
  assert found['answers']['train'] == {
    'examples': 12,
    'different': 2,
    'commonest': {'text': examples[0].target, 'count': 11, 'percent': pytest.approx(1100 / 12)},
  }


def test_numbers_are_told_by_their_spread(own):
  settings = job(task=f'{own}/marks', max_source=64, max_validation=0, cache='')
  found = inspecting.inspect(settings)
  told = found['answers']['train']['numbers']
  marks = [round(i / 4, 1) for i in range(12)]
  assert (told['min'], told['max']) == (0, max(marks))
  assert told['mean'] == pytest.approx(statistics.mean(marks))
  assert told['std'] == pytest.approx(statistics.pstdev(marks))
  (line,) = [line for line in inspecting_text.text(found).splitlines() if line.startswith('mean')]
  assert line.split()[1] == f'{statistics.mean(marks):.2f}'


def test_a_tokenizer_and_a_config_are_enough(tmp_path, found, monkeypatch):
  for name in 'config.json', 'spiece.model':
    (tmp_path / name).write_bytes((t5.resolve('nano') / name).read_bytes())
  monkeypatch.setattr('experiments.inputs.weights', lambda *_: pytest.fail('read weights'))
  config = read_config(QUICK)
  config.model = str(tmp_path)
  again = inspecting.inspect(schema.job(config.to_dict()))
  assert again['tokenizer'].pop('name') == '/'.join(tmp_path.parts[-2:])
  same = lambda told: {k: v for k, v in told.items() if k != 'tokenizer'}
  assert same(json.loads(json.dumps(again))) == same(found)


def test_no_weights_are_fetched_from_the_hub(monkeypatch):
  def snapshot(name, revision, allow_patterns):
    assert name == 'org/tiny' and not [p for p in allow_patterns if 'safetensors' in p]
    return str(t5.resolve('nano'))

  monkeypatch.setattr('huggingface_hub.snapshot_download', snapshot)
  config = read_config(QUICK)
  config.model = 'org/tiny'
  assert inspecting.inspect(schema.job(config.to_dict()))['tokenizer']['name'] == 'org/tiny'


def test_pieces_of_any_script_can_be_printed_anywhere(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.inspect', f'--config={QUICK}'],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': str(ROOT), 'PYTHONIOENCODING': 'ascii'},
  )
  assert not done.returncode and '\\u2581sentence' in done.stdout, done.stderr


@pytest.mark.parametrize(
  ('flags', 'code', 'word'),
  [
    (['--config.data.task=quikstart'], 2, 'quickstart'),
    (['--config.data.max_sauce=3'], 2, 'max_source'),
    (['--config.accumulate=3'], 2, 'accumulate'),
    (['--config.data.task=sst2', '--config.data.dir=absent'], 3, 'absent'),
    (['--config.model=./absent'], 4, 'no such folder'),
    (['--config.tokenizer=absent.model'], 4, 'absent.model'),
    (['--out=file/seen'], 6, 'file/seen'),
    (['quickstart'], 2, 'no flags'),
  ],
)
def test_what_cannot_be_is_told(tmp_path, flags, code, word):
  (tmp_path / 'file').touch()
  done = command(f'--config={QUICK}', *flags, cwd=tmp_path)
  assert (done.returncode, word in done.stderr) == (code, True), done.stderr
  assert 'Traceback' not in done.stderr
  assert [path.name for path in tmp_path.iterdir()] == ['file']
