"""Bad data is refused or counted: a section for each fault, with what else is tested elsewhere.

Few rows (F39), malformed rows (F40), odd bytes (F41), labels that are none (F42), lengths (F43),
foreign tokenizers (F44), buffers that are used again (F45), outputs that are no answer (F46).
"""

import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax import data, evaluate, t5
from compacter_jax.data.encoding import check_ids, encode
from compacter_jax.data.order import train_rows
from compacter_jax.data.pipeline import BATCHINGS, Batches
from compacter_jax.data.ragged import Ragged
from compacter_jax.errors import DataError, WeightsError
from experiments import messages, schema
from experiments.batches import lengths
from experiments.configs import HERE, read_config
from experiments.inputs import read_inputs
from tests.data.characters import Characters

TASKS = [task for task in data.TASKS.values() if task.name != 'quickstart']
NANO = data.load_tokenizer(t5.resolve('nano'))


def cola(folder, train, validation=4):
  """CoLA with so many rows."""
  for name, rows in ('train', train), ('dev', validation):
    lines = [f'gj04\t{i % 2}\t\tIt fell {i}.\n' for i in range(rows)]
    (folder / f'{name}.tsv').write_text(''.join(lines))
  return data.LocalFiles(folder, data.TASKS['cola'])


def encoded(*texts, max_source=16, max_target=8, **more):
  return encode(
    list(itertools.starmap(data.Example, texts)), Characters(), max_source, max_target, 28, **more
  )


# F39, few rows. Too few for the protocol: tests/data/test_splits.py; no rows to encode or score:
# tests/data/test_encoding.py, tests/test_metrics.py.


@pytest.mark.parametrize(('train', 'validation'), [(0, 4), (4, 0), (4, 1)])
def test_a_split_without_rows_is_refused_with_its_count(train, validation, tmp_path):
  with pytest.raises(DataError) as error:
    data.splits_of(cola(tmp_path, train, validation), data.TASKS['cola'])
  assert error.value.exit_code == 3
  assert 'at least' in error.value.expected
  assert error.value.got == str(min(train, validation))
  if not min(train, validation):  # else the file is sound
    assert error.value.where.endswith('.tsv')


@pytest.mark.parametrize('batching', BATCHINGS)
@pytest.mark.parametrize('rows', [1, 2, 7, 8, 9])  # of a batch of 8
def test_fewer_rows_than_a_batch_fill_it_and_each_counts_the_same(rows, batching):
  batches = Batches(encoded(*[('a' * (i + 1), 'b') for i in range(rows)]), 8, 0, batching)
  seen = np.zeros(rows, int)
  for step in range(rows):  # as many epochs as a batch has rows
    assert len(batches.rows(step)) == 8
    np.add.at(seen, batches.rows(step), 1)
  assert seen.tolist() == [8] * rows
  assert np.ptp(np.bincount(train_rows(rows, 8, 0, 0), minlength=rows)) <= 1


@pytest.mark.parametrize('rows', [1, 7])
def test_few_rows_train_at_least_one_step_and_that_is_told(rows, tmp_path):
  cola(tmp_path, rows)
  config = read_config(HERE / 'compacter.py')
  config.data.update({'task': 'cola', 'dir': str(tmp_path)})
  config.update({'batch_size': 8, 'epochs': 0.1})
  config.method.adapters.width = 4
  job = schema.job(config.to_dict())
  assert lengths(job, rows) == (1, 1)
  note = f'a batch of 8 is more than the {rows} training rows'
  assert note in messages.announce(job, read_inputs(job), 1, useful=1)


# F40, malformed rows: by file, line and column, as tests/data/test_sources.py, test_tables.py and
# test_own_task.py have it for each reader; test_fuzz.py damages files in 20,000 ways.


@pytest.mark.parametrize(
  ('line', 'place'),
  [
    ('gj04\t1\tIt fell.', 'sentence'),
    ('gj04\t1\t\tIt fell.\tmore', 'after sentence'),
    ('gj04\t1\t\t', 'sentence'),
    ('gj04\tone\t\tIt fell.', 'label'),
    ('gj04\t1.0\t\tIt fell.', 'label'),
  ],
)
def test_a_bad_row_is_named_by_file_line_and_column_or_left_out_and_counted(line, place, tmp_path):
  source = cola(tmp_path, 3)
  path = tmp_path / 'train.tsv'
  path.write_text(path.read_text() + line + '\n')
  with pytest.raises(DataError) as error:
    source.rows('train')
  assert error.value.where == f'{path}:4'
  assert error.value.got.startswith(f'train.tsv:4: {place}')
  source.bad = data.BadRows(1)
  assert len(source.rows('train')) == 3
  assert source.bad.left_out == {str(path): 1}


def test_quotation_marks_pair_nothing(tmp_path):
  source = cola(tmp_path, 3)
  path = tmp_path / 'train.tsv'
  path.write_text(path.read_text() + 'gj04\t1\t\t"It\ngj04\t0\t\tfell\n')
  assert [row['sentence'] for row in source.rows('train')][3:] == ['"It', 'fell']


# F41, odd bytes: tests/data/test_sources.py (another encoding, NUL, byte order mark, \r, U+2028 and
# its kin, a long line).


@pytest.mark.parametrize(
  ('content', 'got'),
  [
    (b'gj04\t1\t\tcaf\xe9\n', 'byte 11'),
    (b'gj04\t1\t\tIt\0\n', 'byte 10'),
    (b'\xff\xfeg\0j\0', 'UTF-16'),
  ],
)
def test_bytes_that_are_no_text_are_named_by_their_place(content, got, tmp_path):
  source = cola(tmp_path, 1)
  (tmp_path / 'train.tsv').write_bytes(content)
  with pytest.raises(DataError, match=got) as error:
    source.rows('train')
  assert error.value.where.endswith('train.tsv:1')


def test_texts_that_are_odd_stay_as_they_are(tmp_path):
  source, long = cola(tmp_path, 1), 'x' * 10_000_000
  texts = ['one\u2028two\x85three\x0b', long, 'end']
  lines = '\r\n'.join(f'gj04\t1\t\t{text}' for text in texts)
  (tmp_path / 'train.tsv').write_bytes(lines.encode())
  assert [row['sentence'] for row in source.rows('train')] == texts


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path):
  (tmp_path / 'train.tsv').write_bytes(b'\xef\xbb\xbfsentence\tlabel\nfine\t1\n')
  rows = data.LocalFiles(tmp_path, data.TASKS['sst2']).rows('train')
  assert rows == [{'sentence': 'fine', 'label': 1}]


def test_half_a_character_is_refused(tmp_path):
  record = {'premise': 'a', 'choice1': 'b', 'choice2': 'c', 'question': 'cause', 'label': 1}
  (tmp_path / 'train.jsonl').write_text(json.dumps(record | {'choice2': 'x\ud83d'}))
  with pytest.raises(DataError, match='choice2: holds a lone surrogate'):
    data.LocalFiles(tmp_path, data.TASKS['copa']).rows('train')


# F42, labels that are none: tests/data/test_tasks.py has every column too, test_sources.py words in
# place of numbers and scores out of range.


@pytest.mark.parametrize('bad', [-1, 99, float('nan'), float('inf'), None, True, '1', 0.5j])
@pytest.mark.parametrize('task', TASKS, ids=lambda task: task.name)
def test_a_label_that_is_none_is_refused_and_never_another_class(task, bad):
  row = {
    name: {'question': 1, 'query': 1} if kind is dict else kind()
    for name, kind in task.columns.items()
  }
  row = {name: 'x' if value == '' else value for name, value in row.items()}
  key = 'answers' if task.answer_fault else 'label'
  good = ['x'] if task.answer_fault else 1
  assert data.examples(task, row | {key: good}, prefix=False)
  with pytest.raises(DataError, match=key):
    data.examples(task, row | {key: bad}, prefix=False)


# F43, lengths: that cuts are counted in results.json is in tests/test_finetune.py, that any label
# fits into what is generated in tests/test_evaluate.py.

L = 8


@pytest.mark.parametrize('length', [L - 1, L, L + 1])
def test_lengths_around_the_limit(length):
  letters = 'c' * (length - 1)  # and the end of sequence
  split = encoded((letters, 'b'), ('a', 'b'), max_source=L)
  assert split.truncated == (length > L)
  assert len(split.sources[0]) == min(length, L) and split.sources[0][-1] == 1
  if length > L:
    with pytest.raises(DataError, match=f'{length} ids'):
      encoded(('a', letters), max_target=L)
  cut = encoded(('a', letters), max_target=L, allow_target_truncation=True)
  assert cut.truncated_targets == (length > L)
  assert len(cut.targets[0]) == min(length, L) and cut.targets[0][-1] == 1
  assert cut.target_width >= len(cut.targets[0])


def test_no_default_cuts_what_is_generated(monkeypatch):
  # transformers' own limit of 20 ids (its issues 13424 and 16664) would.
  long = ' '.join(['The old horse fell and they carried it home before the rain.'] * 2)
  echo = lambda model, tuned, frozen, source, steps: source[:, :steps]
  monkeypatch.setattr(evaluate, '_generate', echo)
  split = encode([data.Example(long, long)], NANO, 64, 64, 8_192)
  assert len(split.targets[0]) > 20
  assert evaluate.predict(None, None, None, split, NANO, 1) == [long]


# F44, foreign tokenizers: tests/test_configs.py ends a run by exit code 4, and an adapter knows its
# own tokenizer in tests/test_adapter_file.py.


@pytest.mark.parametrize('planted', [-1, 32_128])
@pytest.mark.parametrize('where', ['sources', 'targets'])
def test_a_planted_id_is_found(planted, where):
  sound = Ragged.of([[5, 32_127, 1]])
  ids = {'sources': sound, 'targets': sound} | {where: Ragged.of([[5, planted, 1]])}
  split = data.Encoded(**ids, references=['x'], groups=[None], max_source=8, truncated=0)
  with pytest.raises(WeightsError, match=f'id {planted}') as error:
    check_ids(split, vocab=32_128)
  assert error.value.exit_code == 4


def test_a_foreign_tokenizer_is_refused_before_any_step():
  rows = [data.Example('They spoke of France.', '1')]
  highest = max(NANO.encode(rows[0].source))
  assert encode(rows, NANO, 16, 4, highest + 1)
  with pytest.raises(WeightsError, match='does not fit the model'):
    encode(rows, NANO, 16, 4, highest)


# F45, buffers: on a CPU, JAX reads a batch where the host left it.


@pytest.mark.parametrize('batching', BATCHINGS)
def test_a_batch_is_not_touched_after_it_is_handed_over(batching):
  texts = [('a' * (1 + i % 7), 'bc'[: 1 + i % 2]) for i in range(23)]
  batches = Batches(encoded(*texts), 4, 0, batching)
  stream, kept = batches.stream(workers=2), []
  for _ in range(20):
    batch = next(stream)
    on_device = {name: jnp.asarray(array) for name, array in batch.items()}
    for earlier, _, _ in kept:
      assert not any(np.shares_memory(a, b) for a in earlier.values() for b in batch.values())
    kept.append((batch, on_device, {name: array.copy() for name, array in batch.items()}))
  for step, (_, on_device, copy) in enumerate(kept):
    for name, array in batches.batch(step).items():
      np.testing.assert_array_equal(copy[name], array)
      np.testing.assert_array_equal(on_device[name], array)


def test_a_batch_that_is_written_to_changes_no_other():
  split = encoded(*[('abc', 'b')] * 5)
  batches, ids = Batches(split, 4, 0), split.sources.ids.copy()
  want = batches.batch(1)
  for array in batches.batch(0).values():
    array[:] = 27
  assert all(np.array_equal(want[name], array) for name, array in batches.batch(1).items())
  np.testing.assert_array_equal(split.sources.ids, ids)


# F46, outputs that are no answer: what each metric makes of them is in tests/test_metrics.py.

GIBBERISH = 'xyzzy', '', '01', '0 1', '-1', 'None', 'nan'


@pytest.mark.parametrize('output', GIBBERISH)
@pytest.mark.parametrize('task', TASKS, ids=lambda task: task.name)
def test_gibberish_is_counted_and_is_no_class(task, output):
  references = list(task.labels or ['0.0', '5.0'])
  # ReCoRD's groups name the right answers; AX-g's score beside accuracy is agreement, right or not.
  groups = [(0, 'Bob'), (1, 'Ann')] if task.labels == () else list(range(len(references)))
  split = data.Encoded([], [], references, groups, 8, 0)
  scores = evaluate.score(task, [output] * len(references), split)
  invalid = scores.pop('invalid')
  number = task.labels is None and output in ('01', '-1')  # which is no right score either
  free = task.labels == () and output
  assert invalid == (0 if number or free else len(references))
  scores.pop('average')
  scores.pop('gender_parity', None)
  assert set(scores.values()) == {0.0}


def test_generated_gibberish_comes_through_a_whole_evaluation(monkeypatch):
  # Ids of padding rows, of sentinels and of words; none is an answer.
  ids = jnp.array([[8_150, 8_191, 1, 0], [8_099, 8_000, 1, 0], [300, 301, 302, 303]])
  monkeypatch.setattr(evaluate, '_generate', lambda *_: ids)
  split = encode([data.Example('a', '1')] * 3, NANO, 8, 4, 8_192)
  predictions = evaluate.predict(None, None, None, split, NANO, 3)
  scores = evaluate.score(data.TASKS['sst2'], predictions, split)
  assert scores == {'accuracy': 0.0, 'average': 0.0, 'invalid': 3}
