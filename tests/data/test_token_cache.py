"""Ids that were kept are those of the texts, or there are none, whatever became of the files."""

import inspect
import json
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compacter_jax import t5, tensor_file
from compacter_jax.data import load_tokenizer, token_cache
from compacter_jax.data.encoding import encode
from compacter_jax.data.pipeline import eval_batches
from compacter_jax.data.tasks import Example
from compacter_jax.data.token_cache import TokenCache, user_folder
from compacter_jax.errors import ConfigError, DataError, WeightsError
from tests.data.characters import Characters

ROOT = Path(__file__).parents[2]
EXAMPLES = [Example('ab', 'c', 7), Example('abcdefghijkl', 'dd', 8), Example('', 'c', 9)]
LIMITS = 8, 4, 28


class Silent(Characters):
  """Has forgotten how to tokenise."""

  def encode_all(self, texts):
    raise AssertionError('the texts were tokenised again')


def files(folder):
  return sorted(path.name for path in folder.iterdir())


def same(split, want):
  assert split.fingerprint == want.fingerprint
  assert [ids.tolist() for ids in split.sources] == [ids.tolist() for ids in want.sources]
  assert [ids.tolist() for ids in split.targets] == [ids.tolist() for ids in want.targets]
  assert (split.references, split.groups) == (want.references, want.groups)
  counts = lambda each: (each.max_source, each.truncated, each.truncated_targets)
  assert counts(split) == counts(want)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.text('abcyz', max_size=9)] * 2), min_size=1, max_size=6))
def test_what_was_kept_is_what_was_encoded(tmp_path_factory, texts):
  folder = tmp_path_factory.mktemp('kept')
  answer = lambda i: f'answer {i}' if i % 2 else None
  examples = [Example(*pair, group=i, answer=answer(i)) for i, pair in enumerate(texts)]
  want = encode(examples, Characters(), *LIMITS, allow_target_truncation=True)
  cache = TokenCache(folder)
  for tokenizer in Characters(), Silent():
    split = cache.encode(examples, tokenizer, *LIMITS, allow_target_truncation=True)
    same(split, want)
    for batch, other in zip(eval_batches(split, 4), eval_batches(want, 4), strict=True):
      for name in 'source', 'target', 'rows':
        np.testing.assert_array_equal(batch[name], other[name], strict=True)
  assert cache.notes == []


def test_it_is_called_as_encode_is():
  of_method = list(inspect.signature(TokenCache.encode).parameters.values())[1:]
  assert of_method == list(inspect.signature(encode).parameters.values())


def test_the_ids_lie_in_the_file(tmp_path):
  for _ in range(2):
    split = TokenCache(tmp_path).encode(EXAMPLES, Characters(), *LIMITS)
  array = split.sources.ids
  assert not array.flags.writeable
  while isinstance(array, np.ndarray):
    array = array.base
  assert isinstance(array, mmap.mmap)


def test_groups_are_those_of_the_examples_at_hand(tmp_path):
  TokenCache(tmp_path).encode(EXAMPLES, Characters(), *LIMITS)
  other = [example._replace(group='x') for example in EXAMPLES]
  assert TokenCache(tmp_path).encode(other, Silent(), *LIMITS).groups == ['x'] * 3


def changed(**fields):
  return type('Changed', (Characters,), fields)()


def test_whatever_decides_the_ids_is_in_the_key():
  ab = [Example('ab', 'c'), Example('d', 'e')]
  base = ab, Characters(), 8, 4, False
  cases = [
    base,
    (ab[::-1], *base[1:]),
    (ab[:1], *base[1:]),
    ([*ab, ab[0]], *base[1:]),
    ([Example('a', 'c'), Example('bd', 'e')], *base[1:]),  # the same letters in other texts
    ([Example('ab', 'ce'), Example('d', '')], *base[1:]),
    ([Example('c', 'ab'), Example('e', 'd')], *base[1:]),
    ([Example('\ud800', 'c'), Example('d', 'e')], *base[1:]),
    (ab, changed(fingerprint='x'), *base[2:]),
    (ab, changed(library='characters 2'), *base[2:]),
    (ab, changed(pad_id=5), *base[2:]),
    (ab, changed(eos_id=5), *base[2:]),
    (*base[:2], 9, 4, False),
    (*base[:2], 8, 5, False),
    (*base[:2], 8, 4, True),
  ]
  # One row and two that would be the same bytes if the number of rows were not among them.
  zeros = '\0' * 8
  cases.append(([Example(f'{zeros}x', zeros * 2)], *base[1:]))
  cases.append(([Example(f'x\x10{zeros[1:]}', ''), Example('', '')], *base[1:]))
  assert len({token_cache._key(*case) for case in cases}) == len(cases)
  assert token_cache._key(*base) == token_cache._key(*base)


def test_a_new_format_has_new_keys(monkeypatch):
  before = token_cache._key(EXAMPLES, Characters(), 8, 4, False)
  monkeypatch.setattr(token_cache, 'FORMAT', token_cache.FORMAT + 1)
  assert token_cache._key(EXAMPLES, Characters(), 8, 4, False) != before


def test_chunks_do_not_change_the_bytes_that_are_hashed(monkeypatch):
  many = [Example('a' * (i % 5), 'b') for i in range(30)]
  keys = set()
  for chunk in 7, 7, 30:
    monkeypatch.setattr(token_cache, 'CHUNK', chunk)
    keys.add(token_cache._key(many, Characters(), 8, 4, False))
    assert token_cache._key(many[:-1], Characters(), 8, 4, False) not in keys
  assert len(keys) == 2


def test_ids_of_another_code_are_not_taken_for_ours():
  # Recorded. If it moves, files that users have hold other ids: raise token_cache.FORMAT.
  tokenizer = load_tokenizer(t5.resolve('nano'))
  texts = [
    'sst2 sentence: it is n\'t good , "at all" ',
    'a <extra_id_0> b',
    '',
    'é\n\u3000ﬁ  x' * 9,
  ]
  examples = [Example(text, str(i)) for i, text in enumerate(texts)]
  split = encode(examples, tokenizer, 24, 4, 8_192)
  assert split.fingerprint[:16] == RECORDED and token_cache.FORMAT == 1


RECORDED = '189bb43fefb4218c'


def test_cached_ids_are_held_to_the_rows_of_the_model(tmp_path):
  cache = TokenCache(tmp_path)
  examples = [Example('a', 'y')]  # 'y' is 26
  cache.encode(examples, Characters(), 8, 4, 27)
  with pytest.raises(WeightsError, match='id 26'):
    cache.encode(examples, Silent(), 8, 4, 26)


@pytest.mark.parametrize(
  ('examples', 'limits', 'error'),
  [
    ([], (8, 4, 28), DataError),
    (EXAMPLES, (1, 4, 28), ConfigError),
    ([Example('a', 'bcde')], (8, 4, 28), DataError),
    (EXAMPLES, (8, 4, 4), WeightsError),
  ],
)
def test_what_is_an_error_is_not_kept(tmp_path, examples, limits, error):
  for _ in range(2):
    with pytest.raises(error):
      TokenCache(tmp_path).encode(examples, Characters(), *limits)
  assert files(tmp_path) == []


def test_a_cut_target_is_an_error_again_where_it_is_not_allowed(tmp_path):
  examples = [Example('a', 'bcde')]
  cache = TokenCache(tmp_path)
  for tokenizer in Characters(), Silent():
    assert cache.encode(examples, tokenizer, 8, 4, 28, True).truncated_targets == 1
  with pytest.raises(DataError, match='too long'):
    cache.encode(examples, Characters(), 8, 4, 28)


@pytest.fixture
def kept(tmp_path):
  """A file with ids, alone in its folder."""
  TokenCache(tmp_path).encode(EXAMPLES, Characters(), *LIMITS)
  (path,) = tmp_path.iterdir()
  return path


WANT = encode(EXAMPLES, Characters(), *LIMITS)


def used(path):
  """Encodes with a file as it is; returns the notes. The ids are right and the file is mended."""
  cache = TokenCache(path.parent)
  same(cache.encode(EXAMPLES, Characters(), *LIMITS), WANT)
  same(TokenCache(path.parent).encode(EXAMPLES, Silent(), *LIMITS), WANT)
  assert files(path.parent) == [path.name]
  return cache.notes


def test_every_damaged_byte_is_found_told_and_mended(kept):
  whole, random = kept.read_bytes(), np.random.default_rng(0)
  for at in range(len(whole)):
    damaged = bytearray(whole)
    damaged[at] ^= 1 << random.integers(8)
    kept.write_bytes(damaged)
    (note,) = used(kept)
    assert str(kept) in note and 'again' in note and '\n' not in note
    assert kept.read_bytes() == whole


def test_every_truncated_file_is_found_told_and_mended(kept):
  whole = kept.read_bytes()
  for content in (*(whole[:size] for size in range(len(whole))), whole + b'\0'):
    kept.write_bytes(content)
    assert len(used(kept)) == 1


def test_a_file_of_something_else_is_not_used(kept, tmp_path_factory):
  other = tmp_path_factory.mktemp('other')
  TokenCache(other).encode(EXAMPLES[::-1], Characters(), *LIMITS)
  (foreign,) = other.iterdir()
  kept.write_bytes(foreign.read_bytes())
  assert 'something else' in used(kept)[0]
  # Whole and of this key, as a program with a mistake would write it.
  key = kept.stem.removeprefix('tokens-')
  token_cache._write(kept, key, encode(EXAMPLES[:2], Characters(), *LIMITS))
  assert 'number of rows' in used(kept)[0]
  arrays = tensor_file.read(kept)
  for name in arrays:
    rest = {other: array for other, array in arrays.items() if other != name}
    tensor_file.write(kept, rest, tensor_file.metadata(kept))
    assert len(used(kept)) == 1
  kept.unlink()
  os.mkfifo(kept)
  assert 'regular file' in used(kept)[0]


def test_a_folder_in_the_place_of_the_file_is_told(kept):
  kept.unlink()
  kept.mkdir()
  cache = TokenCache(kept.parent)
  same(cache.encode(EXAMPLES, Characters(), *LIMITS), WANT)
  assert 'cannot be used' in cache.notes[0] and 'not kept' in cache.notes[1]


# Every call that changes the disk is a step; the process is killed in front of the one that is
# given, or in the middle of it if it writes.
WRITER = """
import io, json, os, signal, sys
from compacter_jax import tensor_file
from compacter_jax.data import Example, TokenCache
from tests.data.characters import Characters

examples, limits = json.loads(sys.argv[3])
deadly, steps = int(sys.argv[2]), 0

def step(half=lambda: None):
  global steps
  steps += 1
  if steps == deadly:
    half()
    os.kill(os.getpid(), signal.SIGKILL)

class File(io.FileIO):
  def write(self, data):
    step(lambda: super(File, self).write(data[: len(data) // 2]))
    return super().write(data)

def opened(path, mode, **options):
  if mode == 'rb':
    return open(path, mode, **options)
  step()
  return File(path, mode)

def told(call):
  return lambda *args: (step(), call(*args))[1]

tensor_file.open = opened
os.fsync, os.replace = told(os.fsync), told(os.replace)
TokenCache(sys.argv[1]).encode([Example(*e) for e in examples], Characters(), *limits)
print(steps)
"""


def start(program, *args):
  command = [sys.executable, '-c', program, *map(str, args)]
  return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_kill_at_any_step_leaves_nothing_that_is_read(tmp_path, monkeypatch):
  given = json.dumps([EXAMPLES, LIMITS])
  whole = start(WRITER, tmp_path / '0', 0, given)
  steps = int(whole.communicate()[0])
  assert steps == 9  # open, header, four arrays, fsync, rename, fsync of the folder
  (path,) = (tmp_path / '0').iterdir()
  killed = {k: start(WRITER, tmp_path / str(k), k, given) for k in range(1, steps + 1)}
  for k, process in killed.items():
    process.communicate()
    assert process.returncode == -9
    folder = tmp_path / str(k)
    drafts = [name for name in files(folder) if name != path.name]
    assert len(drafts) == (1 < k < steps), drafts
    if k == steps:
      same(TokenCache(folder).encode(EXAMPLES, Silent(), *LIMITS), WANT)
    monkeypatch.setattr(token_cache, 'ABANDONED', -1)
    cache = TokenCache(folder)
    same(cache.encode(EXAMPLES, Characters(), *LIMITS), WANT)
    assert cache.notes == [] and files(folder) == [path.name]
    assert (folder / path.name).read_bytes() == path.read_bytes()


def test_a_draft_is_left_alone_while_it_may_be_written(tmp_path):
  old, young, other = (tmp_path / n for n in ('.tokens-a.tmp', '.tokens-b.tmp', 'mine'))
  for path in old, young, other:
    path.write_text('half')
  long_ago = time.time() - token_cache.ABANDONED - 60
  for path in old, other:
    os.utime(path, (long_ago, long_ago))
  TokenCache(tmp_path).encode(EXAMPLES, Characters(), *LIMITS)
  assert [path.exists() for path in (old, young, other)] == [False, True, True]


TOGETHER = """
import sys, time
from pathlib import Path
from compacter_jax.data import Example, TokenCache
from tests.data.characters import Characters

examples = [Example('abcdefgh'[: i % 9], 'b') for i in range(20_000)]
Path(sys.argv[2]).touch()
while not Path(sys.argv[3]).exists():
  time.sleep(0.001)
cache = TokenCache(sys.argv[1])
print(cache.encode(examples, Characters(), 8, 4, 28).fingerprint, cache.notes)
"""


def test_processes_that_write_the_same_at_once_all_end_well(tmp_path):
  ready = [tmp_path / f'ready-{i}' for i in range(4)]
  processes = [start(TOGETHER, tmp_path / 'kept', path, tmp_path / 'go') for path in ready]
  while not all(path.exists() for path in ready):
    assert all(process.poll() is None for process in processes)
    time.sleep(0.01)
  (tmp_path / 'go').touch()
  told = {process.communicate()[0] for process in processes}
  assert [process.returncode for process in processes] == [0] * 4
  examples = [Example('abcdefgh'[: i % 9], 'b') for i in range(20_000)]
  assert told == {f'{encode(examples, Characters(), 8, 4, 28).fingerprint} []\n'}
  assert len(files(tmp_path / 'kept')) == 1
  TokenCache(tmp_path / 'kept').encode(examples, Silent(), 8, 4, 28)


def test_a_folder_that_cannot_be_written_costs_the_memory_and_not_the_run(tmp_path, monkeypatch):
  (tmp_path / 'file').touch()
  cache = TokenCache(tmp_path / 'file')
  for _ in range(2):
    same(cache.encode(EXAMPLES, Characters(), *LIMITS), WANT)
  assert len([note for note in cache.notes if 'not kept' in note]) == 1

  def full(fd):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', full)
  cache = TokenCache(tmp_path / 'new')
  same(cache.encode(EXAMPLES, Characters(), *LIMITS), WANT)
  assert cache.notes == [f'tokens are not kept in {tmp_path / "new"}: No space left on device']
  assert files(tmp_path / 'new') == []


def test_only_the_user_may_look_into_a_new_folder(tmp_path):
  TokenCache(tmp_path / 'new').encode(EXAMPLES, Characters(), *LIMITS)
  assert (tmp_path / 'new').stat().st_mode & 0o777 == 0o700


def test_nothing_is_kept_where_no_folder_is_given(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  same(TokenCache('').encode(EXAMPLES, Characters(), *LIMITS), WANT)
  assert files(tmp_path) == []


def test_the_users_own_folder(tmp_path, monkeypatch):
  assert Path(os.environ['XDG_CACHE_HOME']) in user_folder().parents  # not that of who tests
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  TokenCache('auto').encode(EXAMPLES, Characters(), *LIMITS)
  assert len(files(tmp_path / 'compacter_jax')) == 1
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  for unset in '', 'relative/path':
    monkeypatch.setenv('XDG_CACHE_HOME', unset)
    assert user_folder() == tmp_path / 'home/.cache/compacter_jax'
  cache = TokenCache('~/mine')
  cache.encode(EXAMPLES, Characters(), *LIMITS)
  assert len(files(tmp_path / 'home/mine')) == 1

  def homeless():
    raise RuntimeError('Could not determine home directory.')

  monkeypatch.setattr(Path, 'home', homeless)
  cache = TokenCache('auto')
  same(cache.encode(EXAMPLES, Characters(), *LIMITS), WANT)
  assert cache.notes == ['tokens are not kept: Could not determine home directory.']
