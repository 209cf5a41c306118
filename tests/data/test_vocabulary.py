"""A vocabulary from text: T5's special ids, the same bytes again, and nothing left by halves."""

import gzip
import os

import pytest

from compacter_jax.data import vocabulary
from compacter_jax.data.sentencepiece_tokenizer import SentencePieceTokenizer
from compacter_jax.data.vocabulary import train_vocabulary
from compacter_jax.errors import ConfigError, DataError, StorageError
from tests import corpora

PIECES = 100


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  folder = corpora.write(tmp_path_factory.mktemp('text'))
  return [folder / 'part-0.txt', folder / 'part-1.txt']


@pytest.fixture(scope='module')
def trained(files, tmp_path_factory):
  return train_vocabulary(files, PIECES, tmp_path_factory.mktemp('v') / 'spiece.model')


def test_special_ids_are_those_of_t5(trained):
  import sentencepiece

  pieces = sentencepiece.SentencePieceProcessor(model_file=str(trained))
  assert [pieces.IdToPiece(i) for i in range(3)] == ['<pad>', '</s>', '<unk>']
  assert (pieces.pad_id(), pieces.eos_id(), pieces.unk_id(), pieces.bos_id()) == (0, 1, 2, -1)
  assert pieces.GetPieceSize() == PIECES


def test_our_tokenizer_reads_it(trained):
  tokenizer = SentencePieceTokenizer(trained)
  assert tokenizer.vocab_size == PIECES + 100
  assert tokenizer.content == trained.read_bytes()
  for text in corpora.paragraphs(5, seed=9):
    ids = tokenizer.encode(text)
    assert ids[-1] == 1 and 2 not in ids
    assert tokenizer.decode(ids) == text
    assert len(ids) < 0.7 * len(text)  # it knows more than letters


@pytest.mark.parametrize('sentences', [1_000_000, 110], ids=['all', 'drawn'])
def test_equal_texts_give_equal_bytes(files, tmp_path, monkeypatch, sentences):
  monkeypatch.setattr(vocabulary, 'SENTENCES', sentences)
  first, again = (train_vocabulary(files, PIECES, tmp_path / name).read_bytes() for name in 'ab')
  assert first == again


def test_a_text_without_empty_lines_counts_whole(files, tmp_path):
  """SentencePiece leaves out what is too long, here all of it, and would find nothing."""
  (tmp_path / 'one.txt').write_text(files[0].read_text().replace('\n\n', ' ') * 8)
  assert (tmp_path / 'one.txt').stat().st_size > 4 * vocabulary.LONGEST
  train_vocabulary([tmp_path / 'one.txt'], PIECES, tmp_path / 'spiece.model')
  assert SentencePieceTokenizer(tmp_path / 'spiece.model').vocab_size == PIECES + 100


@pytest.mark.parametrize(('pieces', 'message'), [(100_000, 'at most'), (5, 'at least')])
def test_pieces_that_cannot_be_are_refused_with_what_can(files, tmp_path, pieces, message):
  with pytest.raises(ConfigError, match='pieces') as caught:
    train_vocabulary(files, pieces, tmp_path / 'spiece.model')
  assert caught.value.expected.startswith(message)
  assert not list(tmp_path.iterdir())
  works = int(caught.value.expected.split()[-1])
  train_vocabulary(files, works, tmp_path / 'spiece.model')


def test_no_text_is_our_error(tmp_path):
  (tmp_path / 'empty.txt').touch()
  with pytest.raises(ConfigError, match='vocabulary'):
    train_vocabulary([tmp_path / 'empty.txt'], PIECES, tmp_path / 'spiece.model')


def test_a_file_that_cannot_be_read_is_named(files, tmp_path):
  (tmp_path / 'cut.txt.gz').write_bytes(gzip.compress(files[0].read_bytes())[:200])
  with pytest.raises(DataError, match='cut.txt.gz'):
    train_vocabulary([files[0], tmp_path / 'cut.txt.gz'], PIECES, tmp_path / 'spiece.model')
  assert not (tmp_path / 'spiece.model').exists()


def test_what_ends_while_it_writes_leaves_nothing(files, tmp_path, monkeypatch):
  (tmp_path / 'spiece.model').write_text('before')

  def full(descriptor):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(StorageError, match='No space'):
    train_vocabulary(files, PIECES, tmp_path / 'spiece.model')
  assert [path.name for path in tmp_path.iterdir()] == ['spiece.model']
  assert (tmp_path / 'spiece.model').read_text() == 'before'
