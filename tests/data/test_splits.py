"""The rows of every part, by each protocol: sizes, order, hashes and that none is in two."""

import dataclasses
import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compacter_jax.data.permutation import torch_permutation
from compacter_jax.data.protocols import PARTS, PROTOCOLS, cut, divided, officials
from compacter_jax.data.registry import TASKS, task_named
from compacter_jax.data.sampling import Sample
from compacter_jax.data.splits import splits_of
from compacter_jax.data.tasks import Task, one_per_row
from compacter_jax.errors import ConfigError, DataError

# The first entries of torch.randperm(n) with a generator seeded with 42, recorded from torch.
RECORDED = {
  56: [22, 8, 36, 39, 34, 28, 26, 6],
  277: [207, 84, 253, 243, 190, 28, 165, 111],
  408: [30, 63, 342, 322, 6, 302, 94, 83],
  1043: [911, 408, 813, 657, 710, 526, 977, 467],
  1500: [42, 340, 1028, 766, 1150, 1160, 1300, 791],
  67349: [6677, 49712, 38268, 32909, 23395, 66940, 62886, 11359],
  363846: [74376, 255378, 229510, 126322, 295150, 318617, 325186, 206176],
}
SEEDS = st.integers(0, 2**32 - 1)


class Numbers:
  """A source whose rows say what they are: the sentence is the split and the number."""

  def __init__(self, **sizes):
    self.sizes = sizes

  def rows(self, split):
    return [
      {'sentence': f'{split} {i}', 'from': split, 'i': i, 'label': i % 3 % 2}
      for i in range(self.sizes[split])
    ]


class Lists:
  """A source of given rows."""

  def __init__(self, **rows):
    self._rows = rows

  def rows(self, split):
    return self._rows[split]


def numbers(part):
  return [row['i'] for row in part.rows]


def small(train, validation, **more):
  return splits_of(Numbers(train=train, validation=validation), TASKS['cola'], **more)


def large(train, validation, **more):
  return splits_of(Numbers(train=train, validation=validation), TASKS['sst2'], **more)


@pytest.mark.parametrize('n', RECORDED)
def test_permutations_are_those_of_torch(n):
  permutation = torch_permutation(n, 42)
  assert permutation[:8].tolist() == RECORDED[n]
  assert np.array_equal(np.sort(permutation), np.arange(n))


def test_small_permutations():
  assert torch_permutation(0).tolist() == []
  assert torch_permutation(1).tolist() == [0]
  assert not np.array_equal(torch_permutation(50, 1), torch_permutation(50, 2))


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
  with pytest.raises(ConfigError, match='seed'):
    torch_permutation(3, seed)
  with pytest.raises(ConfigError, match=r'data\.seed'):
    small(5, 4, seed=seed)


PUBLISHED = {  # spec: official training and validation rows, and what the paper makes of them
  'cola': (8551, 1043, (8551, 521, 522)),
  'mrpc': (3668, 408, (3668, 204, 204)),
  'stsb': (5749, 1500, (5749, 750, 750)),
  'rte': (2490, 277, (2490, 138, 139)),
  'wnli': (635, 71, (635, 35, 36)),
  'boolq': (9427, 3270, (9427, 1635, 1635)),
  'cb': (250, 56, (250, 28, 28)),
  'copa': (400, 100, (400, 50, 50)),
  'multirc': (27243, 4848, (27243, 2424, 2424)),
  'wic': (5428, 638, (5428, 319, 319)),
  'wsc': (554, 104, (554, 52, 52)),
  'superglue_rte': (2490, 277, (2490, 138, 139)),
  'sst2': (67349, 872, (66349, 1000, 872)),
  'qnli': (104743, 5463, (103743, 1000, 5463)),
  'record': (100730, 10000, (99730, 1000, 10000)),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_sizes_are_the_published_ones(name):
  n_train, n_validation, sizes = PUBLISHED[name]
  groups = {'train': range(n_train), 'validation': range(n_validation)}
  taken = cut('paper', TASKS[name].split, groups)
  assert tuple(len(indices) for _, indices in taken.values()) == sizes
  assert list(taken) == ['train', 'validation', 'test']


KINDS = {  # the least sizes of each way to be split, and whether the set only tests
  'small': ({'train': 2, 'validation': 2}, False),
  'large': ({'train': 1001, 'validation': 1}, False),
  'mnli': ({'train': 1, 'validation_mismatched': 1, 'validation_matched': 1}, False),
  'given': ({'train': 1, 'validation': 1, 'test': 1}, False),
  'small, to test only': ({'train': 1, 'validation': 2, 'test': 1}, True),
  'mnli, to test only': ({'train': 1, 'validation_mismatched': 1, 'test': 1}, True),
}


@given(st.sampled_from(sorted(KINDS)), st.sampled_from(PROTOCOLS), st.data(), SEEDS)
def test_no_row_is_in_two_parts(kind, protocol, data, seed):
  least, diagnostic = KINDS[kind]
  sizes = {name: n + data.draw(st.integers(0, 60)) for name, n in least.items()}
  kind = kind.partition(',')[0]
  assert set(officials(kind, diagnostic)) == set(sizes)
  starts = np.cumsum([0, *sizes.values()]).tolist()
  groups = {name: range(start, start + n) for (name, n), start in zip(sizes.items(), starts)}
  taken = cut(protocol, kind, groups, seed, diagnostic)
  rows = Counter((name, i) for name, indices in taken.values() for i in indices)
  every = {(name, i) for name, n in sizes.items() for i in range(n)}
  assert set(rows) <= every and set(rows.values()) == {1}
  assert all(indices for _, indices in taken.values())
  # Only a diagnostic set leaves rows of the task that trains for it to no part.
  assert set(rows) == every or (diagnostic and kind == 'small' and protocol != 'official')
  # Where every row is a group of its own there is nothing to hold together.
  if protocol == 'grouped':
    assert taken == cut('paper', kind, groups, seed, diagnostic)


def test_small_tasks_halve_their_validation_rows():
  splits = small(30, 56)
  assert numbers(splits.train) == list(range(30))
  assert numbers(splits.validation)[:8] == RECORDED[56]
  assert {row['from'] for row in splits.validation.rows + splits.test.rows} == {'validation'}
  assert len(splits.validation) == len(splits.test) == 28
  assert [part.official for part in splits.parts().values()] == ['train', *['validation'] * 2]


def test_large_tasks_hold_out_training_rows():
  splits = large(1500, 9)
  assert numbers(splits.validation)[:8] == RECORDED[1500]
  assert len(splits.validation) == 1000 and len(splits.train) == 500
  assert numbers(splits.test) == list(range(9))
  assert {row['from'] for row in splits.validation.rows + splits.train.rows} == {'train'}
  assert {row['from'] for row in splits.test.rows} == {'validation'}


def test_mnli_validates_on_mismatched_and_tests_on_matched_rows():
  rows = {'train': 7, 'validation_matched': 3, 'validation_mismatched': 4}
  task = dataclasses.replace(TASKS['cola'], split='mnli')
  for protocol in PROTOCOLS:
    splits = splits_of(Numbers(**rows), task, protocol)
    assert [(part.official, len(part)) for part in splits.parts().values()] == [
      ('train', 7), ('validation_mismatched', 4), ('validation_matched', 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
  ('kind', 'train', 'held'), [('small', 300, 30), ('small', 20_000, 1000), ('large', 1900, 190)]
)
def test_the_official_validation_rows_are_tested_on_and_never_chosen_by(kind, train, held):
  task = dataclasses.replace(TASKS['cola'], split=kind)
  splits = splits_of(Numbers(train=train, validation=8), task, 'official')
  assert numbers(splits.test) == list(range(8)) and splits.test.official == 'validation'
  assert splits.validation.official == splits.train.official == 'train'
  assert numbers(splits.validation) == torch_permutation(train)[:held].tolist()
  assert numbers(splits.train) == torch_permutation(train)[held:].tolist()


def test_the_official_splits_of_a_large_task_are_the_papers():
  paper, official = large(10_000, 5), large(10_000, 5, protocol='official')
  assert [part.told() for part in paper.parts().values()] == [
    part.told() for part in official.parts().values()
  ]


def entailment(name, n, premises=None):
  columns = [column for column, kind in TASKS[name].columns.items() if kind is str]
  return [
    dict.fromkeys(columns, f'{name} {(premises or range(n))[i]}') | {'label': i % 2, 'idx': i}
    for i in range(n)
  ]


@pytest.mark.parametrize(('name', 'base'), [('axb', 'superglue_rte'), ('axg', 'superglue_rte')])
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_diagnostic_set_tests_what_was_trained_on_another(name, base, protocol):
  rows = {
    part: entailment(base, n, range(at, at + n))
    for part, n, at in (('train', 20, 0), ('validation', 9, 20))
  }
  splits = splits_of(Lists(test=entailment(name, 6), **rows), TASKS[name], protocol)
  assert [part.task.name for part in splits.parts().values()] == [base, base, name]
  assert len(splits.train) == 20 and len(splits.test) == 6
  trained = splits_of(Lists(**rows), TASKS[base], protocol)
  if protocol == 'official':  # the rows that the other task tests on are free to choose by
    assert splits.validation.rows == rows['validation']
  else:
    assert splits.validation.told() == trained.validation.told()
    assert splits.train.told() == trained.train.told()
  shots = splits_of(
    Lists(test=entailment(name, 6), **rows), TASKS[name], protocol, 1, Sample(shots=2)
  )
  assert [len(part) for part in shots.parts().values()] == [4, 4, 6]


def test_the_diagnostic_set_of_mnli():
  rows = entailment('ax', 4)
  source = Lists(
    train=entailment('mnli', 9), validation_mismatched=entailment('mnli', 3), test=rows
  )
  splits = splits_of(source, TASKS['ax'])
  assert [len(part) for part in splits.parts().values()] == [9, 3, 4]
  assert splits.test.task.name == 'ax' and splits.validation.official == 'validation_mismatched'


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_three_given_splits_are_taken_as_they_are(protocol):
  task = dataclasses.replace(TASKS['cola'], split='given')
  splits = splits_of(Numbers(train=5, validation=3, test=4), task, protocol)
  for (part, rows), n in zip(splits.parts().items(), (5, 3, 4)):
    assert (rows.official, numbers(rows)) == (part, list(range(n)))


LABELS = st.lists(st.integers(0, 12), min_size=1, max_size=50)


@given(st.sampled_from(sorted(set(KINDS) - {'large'})), st.data(), SEEDS)
def test_no_group_is_in_two_parts(kind, data, seed):
  _, diagnostic = KINDS[kind]
  groups = {name: data.draw(LABELS) for name in officials(kind.partition(',')[0], diagnostic)}
  try:
    taken = cut('grouped', kind.partition(',')[0], groups, seed, diagnostic)
  except DataError:
    return
  found = [{groups[name][i] for i in indices} for name, indices in taken.values()]
  assert all(found)
  assert len(set.union(*found)) == sum(map(len, found))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=90), st.integers(1, 60), SEEDS)
def test_whole_groups_fill_the_first_list_as_far_as_they_go(groups, first, seed):
  barred = {3, 4}
  sizes = Counter(group for group in groups if group not in barred)
  try:
    lists = divided('train', groups, first, seed, barred)
  except DataError as error:
    assert len(sizes) < 2 or min(sizes.values()) > first or sum(sizes.values()) <= first
    assert 'groups' in error.got
    return
  chosen, rest = ({groups[i] for i in rows} for rows in lists)
  assert not chosen & rest and chosen | rest == set(sizes)
  assert len(lists[0]) <= first < len(lists[0]) + min(sizes[group] for group in rest)
  for rows in lists:  # in the order of the permutation
    assert rows == [i for i in torch_permutation(len(groups), seed).tolist() if i in set(rows)]


def multirc(n, paragraphs, at=0):
  return [
    {
      'paragraph': f'paragraph {at + i % paragraphs}',
      'question': f'question {i % (2 * paragraphs)}',
      'answer': f'answer {i}',
      'idx': {'paragraph': i % paragraphs, 'question': i % (2 * paragraphs), 'answer': i},
      'label': i % 2,
    }
    for i in range(n)
  ]


def paragraphs(part):
  return {row['paragraph'] for row in part.rows}


def test_paragraphs_of_multirc_straddle_as_published_and_not_when_grouped():
  source = Lists(train=multirc(60, 6), validation=multirc(40, 8, at=5))
  paper, grouped = (splits_of(source, TASKS['multirc'], p) for p in ('paper', 'grouped'))
  assert paragraphs(paper.validation) & paragraphs(paper.test)
  assert paragraphs(paper.train) & paragraphs(paper.test)  # the sixth is in both files
  parts = [paragraphs(part) for part in grouped.parts().values()]
  assert len(set.union(*parts)) == sum(map(len, parts)) == 13
  assert [len(part) for part in grouped.parts().values()] == [50, 20, 20]


def test_record_has_one_example_for_a_query_when_grouped():
  rows = [
    {'passage': f'p {i // 3}', 'query': f'q {i}', 'entities': ['A', 'B'], 'idx': {'query': i},
     'answers': ['A', 'B']}
    for i in range(1200)
  ]  # fmt: skip
  splits = splits_of(
    Lists(train=rows, validation=rows[:6]), one_per_row(TASKS['record']), 'grouped'
  )
  assert [len(part) for part in splits.parts().values()] == [195, 999, 6]
  passages = [{row['passage'] for row in part.rows} for part in splits.parts().values()]
  assert sum(map(len, passages)) == 400


def test_a_text_that_the_data_set_repeats_is_a_group():
  rows = [{'sentence': f'text  {i // 2} ', 'label': 0} for i in range(20)]
  train = [{'sentence': 'text 3', 'label': 1}, {'sentence': 'new', 'label': 1}]
  splits = splits_of(Lists(train=train, validation=rows), TASKS['cola'], 'grouped')
  assert [row['sentence'] for row in splits.train.rows] == ['new']
  texts = [{row['sentence'] for row in part.rows} for part in splits.parts().values()]
  assert len(set.union(*texts)) == sum(map(len, texts))


@pytest.mark.parametrize(
  ('groups', 'words'),
  [
    ({'train': [1], 'validation': [2, 2]}, '1 groups, the smallest of 2 rows'),
    ({'train': [2, 3], 'validation': [2, 3]}, 'No train rows are left'),
  ],
)
def test_groups_that_cannot_be_parted_are_refused(groups, words):
  with pytest.raises(DataError, match=words) as raised:
    cut('grouped', 'small', groups)
  assert 'splits=paper' in raised.value.fix


@pytest.mark.parametrize(
  ('task', 'train', 'validation', 'message'),
  [
    ('cola', 0, 10, 'train'),
    ('cola', 10, 0, 'validation'),
    ('cola', 10, 1, 'at least 2'),
    ('sst2', 1000, 10, 'at least 1001'),
    ('sst2', 2000, 0, 'validation'),
  ],
)
def test_too_few_rows_are_refused(task, train, validation, message):
  with pytest.raises(DataError, match=message):
    splits_of(Numbers(train=train, validation=validation), TASKS[task])


def test_one_row_cannot_be_held_out_and_trained_on():
  with pytest.raises(DataError, match='at least 2'):
    small(1, 5, protocol='official')


def test_no_other_protocol():
  with pytest.raises(ConfigError, match="did you mean 'paper'"):
    small(5, 5, protocol='papers')


def test_rows_that_teach_nothing_are_left_out_before_a_sample_is_drawn():
  task = dataclasses.replace(TASKS['cola'], teaches=lambda row: row['i'] % 4 == 0)
  source = Numbers(train=80, validation=10)
  every = splits_of(source, task)
  assert numbers(every.train) == list(range(0, 80, 4))
  drawn = splits_of(source, task, sample=Sample(max_train=7))
  wanted = [i for i in torch_permutation(80).tolist() if i % 4 == 0][:7]
  assert numbers(drawn.train) == wanted
  with pytest.raises(DataError, match='No training row'):
    splits_of(source, dataclasses.replace(task, teaches=lambda row: False))


# SHA-256 of the indices of train, validation and test, first digits: a change must be noticed.
GOLDEN = {
  ('small', 'paper', 42): ('f3a5a7dbeda0', 'bc3d5ca0e6af', '4af489de9bde'),
  ('large', 'paper', 42): ('83e5b4999f8f', 'eaa6a0757926', '7a2645003e1d'),
  ('given', 'paper', 42): ('f3a5a7dbeda0', '7a2645003e1d', 'a74047bb72f7'),
  ('small', 'official', 42): ('cf2241c5912f', 'bd0afa3297b3', '7a2645003e1d'),
  ('large', 'official', 42): ('cf2241c5912f', 'bd0afa3297b3', '7a2645003e1d'),
  ('small', 'grouped', 42): ('96db94475d5d', '153f6924a391', '39e492dc6f62'),
  ('large', 'grouped', 42): ('9d213f76d0d9', '4fbb84411f46', '7a2645003e1d'),
  ('small', 'paper', 7): ('f3a5a7dbeda0', '039d24280673', '187547f938a5'),
  ('small', 'paper', 42, ('max_train', 100)): ('f27a31fdba1a', 'bc3d5ca0e6af', '4af489de9bde'),
  ('large', 'paper', 42, ('max_train', 100), ('max_validation', 50), ('max_test', 20)): (
    '16961323d241',
    '89d3a41d200f',
    'b2388d080d5d',
  ),
  ('small', 'paper', 42, ('max_train', 100), ('seed', 1)): (
    '3f903294db88',
    'bc3d5ca0e6af',
    '4af489de9bde',
  ),
  ('small', 'paper', 42, ('max_train', 99), ('balanced', True)): (
    '44f99f24c908',
    'bc3d5ca0e6af',
    '4af489de9bde',
  ),
  ('small', 'grouped', 42, ('shots', 16)): ('3799a8c3c69c', 'd98f82de128e', '39e492dc6f62'),
  ('large', 'paper', 42, ('shots', 16), ('seed', 1)): (
    '932f6e8bebed',
    '4a22b564c39c',
    '7a2645003e1d',
  ),
}


@pytest.mark.parametrize('case', GOLDEN, ids=str)
def test_indices_are_those_of_ever(case):
  kind, protocol, seed, *sample = case
  task = dataclasses.replace(TASKS['cola'], split=kind, shared=lambda row: row['i'] // 3)
  source = Numbers(train=1200, validation=31, test=9)
  splits = splits_of(source, task, protocol, seed, Sample(**dict(sample)))
  assert tuple(part.indices_sha256[:12] for part in splits.parts().values()) == GOLDEN[case]


def test_the_hashes_are_those_of_lines_of_text():
  part = small(3, 4).train
  told = part.told()
  assert told['indices_sha256'] == hashlib.sha256(b'train\n0\n1\n2').hexdigest()
  lines = [f'{{"label": {i % 3 % 2}, "sentence": "train {i}"}}\n' for i in range(3)]
  assert told['rows_sha256'] == hashlib.sha256(''.join(lines).encode()).hexdigest()
  assert (told['official'], told['rows']) == ('train', 3)


def test_the_hash_of_rows_is_about_what_the_task_asks():
  part = small(3, 4).train
  again = [row | {'more': 1, 'label': np.int64(row['label'])} for row in part.rows]
  assert dataclasses.replace(part, rows=again).rows_sha256 == part.rows_sha256
  for change in {'label': 1}, {'sentence': 'other'}:
    rows = [part.rows[0] | change, *part.rows[1:]]
    assert dataclasses.replace(part, rows=rows).rows_sha256 != part.rows_sha256
  assert dataclasses.replace(part, rows=part.rows[::-1]).rows_sha256 != part.rows_sha256


def test_every_task_knows_what_its_rows_are_about():
  about = {name: task.shared for name, task in TASKS.items() if task.shared}
  assert {'multirc', 'record', 'boolq', 'wsc', 'rte', 'mnli', 'cb'} <= set(about)
  for name, shared in about.items():
    columns = [column for column, kind in TASKS[name].columns.items() if kind is str]
    assert shared({column: column for column in columns}) in columns
  assert task_named('wsc', 't5').shared is not None
  assert Task.__dataclass_fields__['shared'].default is None
  assert PARTS == ('train', 'validation', 'test')
