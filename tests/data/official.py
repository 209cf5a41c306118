"""Small files of every task as GLUE and SuperGLUE are given out, packed as TFDS downloads them."""

import importlib
import json
import zipfile

from etils import epath
from tensorflow_datasets.core.download import checksums

from compacter_jax.data.prepared import DATASETS
from compacter_jax.data.preparing import BUILDERS

N = 12  # rows of a file; so many that no shuffling leaves them in their order by chance
ODD = '"caf\u00e9\u2028" '
TWO, THREE = ('entailment', 'not_entailment'), ('entailment', 'neutral', 'contradiction')
JSON_SPLITS = {'train': 'train', 'val': 'validation', 'test': 'test'}

# task -> folder, columns of a labelled file, columns of a test file, the label of row i. A name
# in capitals is filled with a text.
TABLES = {
  'sst2': ('SST-2', 'SENTENCE label', 'index SENTENCE', lambda i: i % 2),
  'qqp': (
    'QQP',
    'id qid1 qid2 QUESTION1 QUESTION2 is_duplicate',
    'id QUESTION1 QUESTION2',
    lambda i: i % 2,
  ),
  'stsb': (
    'STS-B',
    'index genre SENTENCE1 SENTENCE2 score',
    'index genre SENTENCE1 SENTENCE2',
    lambda i: f'{i * 0.4:.3f}',
  ),
  'mnli': (
    'MNLI',
    'index genre SENTENCE1 SENTENCE2 label1 gold_label',
    'index genre SENTENCE1 SENTENCE2',
    lambda i: THREE[i % 3],
  ),
  'qnli': (
    'QNLI',
    'index QUESTION SENTENCE label',
    'index QUESTION SENTENCE',
    lambda i: TWO[i % 2],
  ),
  'rte': (
    'RTE',
    'index SENTENCE1 SENTENCE2 label',
    'index SENTENCE1 SENTENCE2',
    lambda i: TWO[i % 2],
  ),
  'wnli': ('WNLI', 'index SENTENCE1 SENTENCE2 label', 'index SENTENCE1 SENTENCE2', lambda i: i % 2),
}


def _nli(i, label):
  return {'premise': f'{ODD}p{i}', 'hypothesis': f'h{i}', 'label': label, 'idx': i}


def _multirc(i):
  answers = [{'text': f'a{j}', 'idx': 4 * i + j, 'label': j % 2} for j in range(4)]
  questions = [
    {'question': f'q{k}?', 'idx': 2 * i + k, 'answers': answers[2 * k : 2 * k + 2]} for k in (0, 1)
  ]
  return {'passage': {'text': f'{ODD}It fell {i}.', 'questions': questions}, 'idx': i}


def _record(i):
  passage = {
    'text': f'Bob met Ann. {i}',
    'entities': [{'start': 8, 'end': 10}, {'start': 0, 'end': 2}],
  }
  answers = [{'start': 8, 'end': 10, 'text': 'Ann'}, {'start': 0, 'end': 2, 'text': 'Bob'}]
  queries = [
    {'query': f'@placeholder {k}', 'answers': answers[k:], 'idx': 2 * i + k} for k in (0, 1)
  ]
  return {'source': 'Daily mail', 'passage': passage, 'qas': queries, 'idx': i}


def _wsc(i):
  spans = {'span1_index': 0, 'span2_index': 2, 'span1_text': 'mark', 'span2_text': 'he'}
  return {'text': f'Mark says he can {i}', 'target': spans, 'idx': i, 'label': i % 2 == 0}


# task -> folder, the record of row i
RECORDS = {
  'boolq': (
    'BoolQ',
    lambda i: {'question': f'is it {i}', 'passage': ODD, 'idx': i, 'label': i % 2 == 0},
  ),
  'cb': ('CB', lambda i: _nli(i, ('entailment', 'contradiction', 'neutral')[i % 3])),
  'copa': (
    'COPA',
    lambda i: {
      'premise': f'{ODD}{i}',
      'choice1': 'a',
      'choice2': 'b',
      'question': 'cause',
      'label': i % 2,
      'idx': i,
    },
  ),
  'multirc': ('MultiRC', _multirc),
  'record': ('ReCoRD', _record),
  'superglue_rte': ('RTE', lambda i: _nli(i, TWO[i % 2])),
  'wic': (
    'WiC',
    lambda i: {
      'word': 'one',
      'sentence1': f'{ODD}one {i}',
      'sentence2': 'one two',
      'idx': i,
      'label': i % 2 == 0,
      'start1': 3,
      'start2': 0,
      'end1': 6,
      'end2': 3,
      'version': 1.1,
    },
  ),
  'wsc': ('WSC', _wsc),
  'axb': (
    'AX-b',
    lambda i: {'sentence1': f'{i}', 'sentence2': ODD, 'label': TWO[i % 2], 'idx': i, 'logic': 'x'},
  ),
  'axg': ('AX-g', lambda i: _nli(i, TWO[i % 2]) | {'pair_id': i // 2}),
}


def make(name, folder, change=lambda files: files):
  """{path: text} of the files in `folder`, and {name: text or paths} of what TFDS downloads."""
  make_one = {'cola': _cola, 'mrpc': _mrpc, 'ax': _ax}.get(name)
  files, downloads = make_one() if make_one else (_table(name) if name in TABLES else _json(name))
  files = change(files)
  for path, text in files.items():
    write(folder / path, text)
  return files, downloads


def broken(*rows):
  """A change: these rows of the training table end in their first text."""

  def change(files):
    path = next(path for path in files if path.endswith('train.tsv'))
    lines = files[path].split('\n')
    for row in rows:
      lines[row + 1] = '\t'.join(lines[row + 1].split('\t')[:4])
    return files | {path: '\n'.join(lines)}

  return change


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding='utf-8')


def pack(name, folder, archives, builder, change=lambda files: files):
  """Packs the files as TFDS downloads them: {address: what TFDS must take for the published file}.

  change: what is done to {path: text} first.
  """
  files, downloads = make(name, folder, change)
  archives.mkdir(exist_ok=True)
  for file, text in downloads.items():
    write(archives / file, text)
  if not downloads:
    with zipfile.ZipFile(archives / _address(name, builder).rpartition('/')[2], 'w') as archive:
      for inner, text in files.items():
        archive.writestr(inner, text)
  return known(name, archives, builder)


def known(name, archives, builder):
  """{address: what TFDS must take for the published file} of what `pack` has made."""
  addresses = {info.filename: url for url, info in builder.url_infos.items()}
  if name not in ('mrpc', 'ax'):
    addresses = {(url := _address(name, builder)).rpartition('/')[2]: url}
  return {
    addresses[path.name]: checksums.compute_url_info(epath.Path(path))
    for path in archives.iterdir()
  }


def _address(name, builder):
  config = DATASETS[name].config
  return next(each.data_url for each in builder.BUILDER_CONFIGS if each.name == config)


def builder_of(name):
  """The builder class of the task."""
  place, called = BUILDERS[DATASETS[name].name]
  return getattr(importlib.import_module(f'tensorflow_datasets.{place}'), called)


def _lines(header, rows):
  return ''.join('\t'.join(map(str, row)) + '\n' for row in ([header] if header else []) + rows)


def _table(name):
  folder, labelled, bare, label = TABLES[name]
  splits = {'train': labelled, 'dev': labelled, 'test': bare}
  if name == 'mnli':
    splits = {'train': labelled} | {
      f'{part}_{kind}': columns
      for part, columns in (('dev', labelled), ('test', bare))
      for kind in ('matched', 'mismatched')
    }
  files = {}
  for split, columns in splits.items():
    names = columns.split()
    fill = lambda i, column, s=split: f'{ODD}{s} {column} {i}' if column.isupper() else i
    rows = [[fill(i, column) for column in names] for i in range(N)]
    if columns is labelled:
      rows = [[*row[:-1], label(i)] for i, row in enumerate(rows)]
    files[f'{folder}/{split}.tsv'] = _lines([column.lower() for column in names], rows)
  return files, {}


def _cola():
  rows = lambda split: [['gj04', i % 2, '*', f'{ODD}{split} {i}'] for i in range(N)]
  bare = [[i, f'{ODD}{i}'] for i in range(N)]
  return {
    'CoLA/train.tsv': _lines(None, rows('train')),
    'CoLA/dev.tsv': _lines(None, rows('dev')),
    'CoLA/test.tsv': _lines(['index', 'sentence'], bare),
  }, {}


def _mrpc():
  columns = ['#1 ID', '#2 ID', '#1 String', '#2 String']
  rows = [[i % 2, f'1{i}', f'2{i}', f'{ODD}one {i}', f'two {i}'] for i in range(2 * N)]
  chosen = rows[1::3]
  left = [row for row in rows if row not in chosen]
  head = ['\ufeffQuality', *columns]
  test = _lines(head, rows[:N])
  return {
    'MRPC/train.tsv': _lines(head, left),
    'MRPC/dev.tsv': _lines(head, chosen),
    'MRPC/test.tsv': _lines(['index', *columns], [[i, *row[1:]] for i, row in enumerate(rows[:N])]),
  }, {
    'msr_paraphrase_train.txt': _lines(head, rows),
    'msr_paraphrase_test.txt': test,
    'data_mrpc_dev_ids.tsv': _lines(None, [row[1:3] for row in chosen]),
  }


def _ax():
  text = _lines(['index', 'sentence1', 'sentence2'], [[i, f'{ODD}{i}', 'two'] for i in range(N)])
  return {'diagnostic/diagnostic.tsv': text}, {'tsvsWithoutLabels_AX.tsv': text}


def _json(name):
  folder, record = RECORDS[name]
  files = {}
  for split in [folder] if name in ('axb', 'axg') else JSON_SPLITS:
    records = [record(i) for i in range(N)]
    if split == 'test':
      records = json.loads(json.dumps(records), object_hook=_bare)
    files[f'{folder}/{split}.jsonl'] = ''.join(f'{json.dumps(each)}\n' for each in records)
  return files, {}


def _bare(record):
  hidden = 'label', *(['answers'] if 'query' in record else [])
  return {key: value for key, value in record.items() if key not in hidden}
