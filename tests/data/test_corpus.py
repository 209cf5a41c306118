"""Texts on disk to one run of ids, and every way in which a file is none."""

import gzip

import numpy as np
import pytest

from compacter_jax import t5
from compacter_jax.data.corpus import chunks_of, corpus_files, paragraphs, token_stream
from compacter_jax.data.tokenizer import load_tokenizer
from compacter_jax.errors import ConfigError, DataError

TEXT = 'One line,\nanother.\n\n\nA second   text.\n'
PARAGRAPHS = ['One line, another.', 'A second   text.']


@pytest.fixture(scope='module')
def tokenizer():
  return load_tokenizer(t5.resolve('nano'))


@pytest.mark.parametrize(
  'content',
  [
    TEXT.encode(),
    TEXT.rstrip('\n').encode(),
    TEXT.encode('utf-8-sig'),
    TEXT.replace('\n', '\r\n').encode(),
    TEXT.replace('\n', '\r\n').encode('utf-8-sig'),
    ('\n \t\n' + TEXT.replace('\n\n', '\n \t \n')).encode(),
  ],
  ids=['plain', 'no end', 'BOM', 'CRLF', 'BOM and CRLF', 'blank lines'],
)
def test_paragraphs_stand_between_empty_lines(tmp_path, content):
  (tmp_path / 'a.txt').write_bytes(content)
  (tmp_path / 'a.txt.gz').write_bytes(gzip.compress(content))
  (tmp_path / 'two.txt.gz').write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
  for name in 'a.txt', 'a.txt.gz', 'two.txt.gz':
    assert list(paragraphs(tmp_path / name)) == PARAGRAPHS


def test_only_line_feeds_end_lines(tmp_path):
  text = 'a\u2028b\x85c\x0bd\n\né\ufeffe\n'
  (tmp_path / 'a.txt').write_bytes(text.encode())
  assert list(paragraphs(tmp_path / 'a.txt')) == text.strip().split('\n\n')


def test_an_empty_file_has_no_paragraphs(tmp_path):
  (tmp_path / 'a.txt').write_bytes(b'\n \n')
  assert list(paragraphs(tmp_path / 'a.txt')) == []


def test_what_is_not_utf8_is_told_with_its_line(tmp_path):
  (tmp_path / 'latin.txt').write_bytes(b'fine\n' * 5_000 + b'\n' + 'café'.encode('latin-1'))
  (tmp_path / 'utf16.txt').write_bytes('words'.encode('utf-16'))
  for name, line in (('latin.txt', 5_002), ('utf16.txt', 1)):
    with pytest.raises(DataError, match='UTF-8') as caught:
      list(paragraphs(tmp_path / name))
    assert caught.value.where == f'{tmp_path / name}:{line}'


def test_a_broken_gzip_is_named(tmp_path):
  whole = gzip.compress(np.random.default_rng(0).bytes(500).hex().encode())
  flipped = bytearray(whole)
  flipped[100] ^= 0xFF
  no_such_block = whole[:10] + b'\x07' + whole[11:]  # for which zlib has an error of its own
  contents = {'cut.gz': whole[:100], 'flipped.gz': bytes(flipped), 'plain.gz': b'no gzip\n'}
  contents['block.gz'] = no_such_block
  for name, content in contents.items():
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
      list(paragraphs(tmp_path / name))
    assert str(tmp_path / name) in caught.value.where
  with pytest.raises(DataError, match='absent'):
    list(paragraphs(tmp_path / 'absent'))


def test_files_come_in_the_order_of_their_names(tmp_path):
  for name in 'b0.txt', 'a1.txt.gz', 'a0.txt', 'dev.txt':
    (tmp_path / name).touch()
  (tmp_path / 'c0.txt').mkdir()
  found = corpus_files(tmp_path, '*[0-9].txt*')
  assert [path.name for path in found] == ['a0.txt', 'a1.txt.gz', 'b0.txt']
  with pytest.raises(DataError, match='absent'):
    corpus_files(tmp_path / 'absent', '*')
  with pytest.raises(DataError, match=r'\*test\*'):
    corpus_files(tmp_path, '*test*')
  for pattern in '', '/etc/*':
    with pytest.raises(ConfigError, match='pattern'):
      corpus_files(tmp_path, pattern)


def test_texts_follow_each_other_without_a_mark(tmp_path, tokenizer, monkeypatch):
  (tmp_path / 'a').write_text(TEXT)
  (tmp_path / 'b').write_text('The third.')
  want = [i for text in [*PARAGRAPHS, 'The third.'] for i in tokenizer.encode(text)[:-1]]
  for at_once in 5_000, 1:
    monkeypatch.setattr('compacter_jax.data.corpus.AT_ONCE', at_once)
    stream = token_stream([tmp_path / 'a', tmp_path / 'b'], tokenizer)
    assert stream.dtype == np.int32
    assert stream.tolist() == want


def test_a_sentinel_that_a_text_spells_out_is_left_out(tmp_path, tokenizer):
  (tmp_path / 'a').write_text('one <extra_id_0> two <extra_id_99> three')
  stream = token_stream([tmp_path / 'a'], tokenizer)
  assert stream.max() < tokenizer.vocab_size - 100
  assert tokenizer.decode(stream) == 'one two three'


def test_chunks_are_cut_without_a_gap():
  stream = np.arange(11)
  assert chunks_of(stream, 3).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
  assert chunks_of(stream, 11).shape == (1, 11)


def test_a_text_that_is_too_short_is_told(tmp_path, tokenizer):
  (tmp_path / 'empty').touch()
  nothing = token_stream([tmp_path / 'empty'], tokenizer)
  for stream in nothing, np.arange(11):
    with pytest.raises(DataError, match=f'12 ids\n.*{len(stream)} ids') as caught:
      chunks_of(stream, 12, 'text.dev')
    assert caught.value.where == 'text.dev'
