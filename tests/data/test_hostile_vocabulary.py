"""A hostile SentencePiece file is an error: it neither ends the process nor fails later on."""

import random
import struct

import pytest
from test_tokenizer import trained

from compacter_jax import t5
from compacter_jax.data import sentencepiece_child as child
from compacter_jax.data.sentencepiece_tokenizer import SentencePieceTokenizer
from compacter_jax.errors import WeightsError

TEXTS = ['the cat sat', '', 'x' * 300, '\u00e9\u4e2d \U0001f600\n\u2581 </s> <extra_id_3>']


@pytest.fixture(scope='module')
def model():
  return trained(normalization_rule_name='identity')  # most of the file are pieces then


def used(path):
  """Does with a model all that this program does, or raises WeightsError."""
  tokenizer = SentencePieceTokenizer(path)
  for ids in tokenizer.encode_all(TEXTS):
    tokenizer.decode(ids)
    tokenizer.pieces(ids)
  tokenizer.decode(range(tokenizer.vocab_size))
  tokenizer.pieces(range(tokenizer.vocab_size))


def mutated(content, chance):
  content = bytearray(content)
  for _ in range(chance.choice([1, 1, 2, 4])):
    at = chance.randrange(len(content))
    kind = chance.randrange(4)
    if kind == 0:
      content[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
      content[at] = chance.choice([0, 127, 128, 255])
    elif kind == 2:
      del content[at : at + chance.randrange(1, 40)]
    else:
      content[at:at] = content[chance.randrange(len(content)) :][: chance.randrange(1, 60)]
  return bytes(content)


def assert_mutants_are_refused_or_work(model, path, count, seed):
  chance, refused = random.Random(seed), 0
  for _ in range(count):
    path.write_bytes(mutated(model, chance))
    try:
      used(path)
    except WeightsError:
      refused += 1
  assert count / 4 < refused < count


def test_mutants_are_refused_or_work(model, tmp_path):
  assert_mutants_are_refused_or_work(model, tmp_path / 'spiece.model', 60, 0)


@pytest.mark.soak
def test_many_mutants_are_refused_or_work(model, tmp_path):
  assert_mutants_are_refused_or_work(model, tmp_path / 'spiece.model', 5_000, 1)


def piece(text, kind=None):
  """A piece as the file has it: its text, its score, and perhaps its kind."""
  message = part(1, text) + b'\x15' + struct.pack('<f', -1)
  return part(1, message + (b'' if kind is None else b'\x18' + bytes([kind])))


def part(field, content):
  length, size = len(content), b''
  while length > 127:
    size, length = size + bytes([length & 127 | 128]), length >> 7
  return bytes([field << 3 | 2]) + size + bytes([length]) + content


HOSTILE = {
  'a piece of 200 KB': piece(b'a' * 200_000),
  'pieces in each other': b''.join(piece(b'a' * i) for i in range(1, 800)),
  'a piece that is no text': piece(b'\xff\xfe'),
  'a piece with NUL': piece(b'a\0b'),
  'no more pieces': b'',
}


@pytest.mark.parametrize('kind', [b'\x18\x01', b'\x18\x02', b'\x18\x03', b'\x18\x04'])
@pytest.mark.parametrize('what', HOSTILE)
def test_files_made_to_do_harm_are_refused_or_work(what, kind, tmp_path):
  head = piece(b'<pad>', 3) + piece(b'</s>', 3) + piece(b'<unk>', 2)
  path = tmp_path / 'spiece.model'
  path.write_bytes(head + HOSTILE[what] + part(2, kind) + part(3, b''))
  try:
    used(path)
  except WeightsError as error:
    assert error.where == str(path)


ENDS = {
  'os.abort()': 'SIGABRT',
  'os.kill(os.getpid(), 11)': 'SIGSEGV',
  'bytearray(2**31)': 'MemoryError',
  'while True: pass': 'SIG(XCPU|KILL)',
}


@pytest.mark.parametrize('harm', ENDS)
def test_what_would_end_the_process_is_an_error(harm, model, tmp_path, monkeypatch):
  """As a crash of the library, or its hunger, would: here the child does it to itself."""
  code = child._CODE.replace(f'({child.SECONDS}, {child.SECONDS})', '(1, 1)')
  read = 'import sentencepiece\n'
  assert code.count(read) == 1
  monkeypatch.setattr(child, '_CODE', code.replace(read, f'{read}import os\n{harm}\n'))
  path = tmp_path / 'spiece.model'
  path.write_bytes(model + part(9, harm.encode()))  # of a hash that was not tried
  with pytest.raises(WeightsError, match=ENDS[harm]) as caught:
    SentencePieceTokenizer(path)
  assert caught.value.exit_code == 4


def test_known_files_and_those_that_were_tried_need_no_process(model, tmp_path, monkeypatch):
  (tmp_path / 'spiece.model').write_bytes(model)
  SentencePieceTokenizer(tmp_path / 'spiece.model')
  monkeypatch.setattr(child, '_tried', lambda content: pytest.fail('tried'))
  SentencePieceTokenizer(tmp_path / 'spiece.model')
  SentencePieceTokenizer(t5.resolve('nano') / 'spiece.model')
