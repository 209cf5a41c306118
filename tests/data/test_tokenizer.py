import gzip
import hashlib
import io
import json
import subprocess
import sys
from importlib import metadata

import pytest

from compacter_jax.data.tokenizer import load_tokenizer
from compacter_jax.errors import WeightsError

CORPUS = ['the cat sat on the mat .', 'a dog ran in the park ; was it 1 or 0 ?'] * 20


def trained(**options):
  import sentencepiece

  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(CORPUS),
    model_writer=model,
    model_type='bpe',  # a unigram model of 40 pieces would need a larger corpus
    minloglevel=2,
    **({'vocab_size': 40, 'pad_id': 0, 'eos_id': 1, 'unk_id': 2, 'bos_id': -1} | options),
  )
  return model.getvalue()


@pytest.fixture(scope='module')
def model():
  return trained()


@pytest.fixture
def folder(model, tmp_path):
  (tmp_path / 'spiece.model').write_bytes(model)
  return tmp_path


@pytest.fixture
def t5(folder):
  return load_tokenizer(folder)


def test_ids_lie_as_in_t5(t5):
  assert (t5.pad_id, t5.eos_id, t5.vocab_size) == (0, 1, 140)
  assert t5.encode('the<extra_id_0>cat<extra_id_99>')[-2:] == [40, 1]
  assert t5.encode('<extra_id_0>') == [139, 1]
  assert t5.encode('<extra_id_7>') == [132, 1]
  assert t5.encode('') == [1]


def test_only_the_hundred_sentinels_are_special_in_a_text(t5):
  for text in ('<extra_id_100>', '<extra_id_00>', '</s>', '<pad>'):
    ids = t5.encode(text)
    assert max(ids) < 40 and ids[-1] == 1 and not {0, 1} & set(ids[:-1])


def test_a_text_survives_the_round_trip(t5):
  assert t5.decode(t5.encode('the cat ran in the park')) == 'the cat ran in the park'


def test_a_file_reads_as_its_folder(folder, t5):
  (folder / 'spiece.model').rename(folder / 'other.name')
  assert load_tokenizer(folder / 'other.name').encode('a cat') == t5.encode('a cat')


def test_many_texts_are_encoded_as_one_by_one(t5):
  texts = ['the cat', '', 'a <extra_id_3> dog', 'q & z', *CORPUS]
  assert t5.encode_all(texts) == [t5.encode(text) for text in texts]
  assert t5.encode_all([]) == []


def test_special_tokens_are_dropped_wherever_they_stand(t5):
  *cat, eos = t5.encode('the cat')
  unknown = 2
  assert t5.decode([0, *cat[:1], eos, 45, unknown, 139, 9999, -1, *cat[1:], eos, 0]) == 'the cat'
  assert t5.decode([]) == t5.decode([0, 1, 2]) == ''


def test_pieces_spell_the_text(t5):
  ids = t5.encode('the cat<extra_id_7>ran')
  pieces = t5.pieces(ids)
  assert len(pieces) == len(ids) and pieces[-1] == '</s>'
  assert ''.join(pieces[:-1]).replace('\u2581', ' ') == ' the cat<extra_id_7> ran'
  assert t5.pieces([0, 40, 139]) == ['<pad>', '<extra_id_99>', '<extra_id_0>']
  assert t5.pieces([140, -1]) == ['<no piece>'] * 2  # rows of a model that are no pieces


def test_the_fingerprint_is_that_of_the_file_in_any_process(model, folder, t5):
  assert t5.fingerprint == hashlib.sha256(model).hexdigest()
  (folder / 'spiece.model').write_bytes(trained(vocab_size=41))
  assert load_tokenizer(folder).fingerprint != t5.fingerprint


def test_the_library_that_tokenises_is_told_with_its_version(t5):
  assert t5.library == f'sentencepiece {metadata.version("sentencepiece")}'


@pytest.mark.parametrize(
  ('content', 'cause'),
  [
    (b'', 'an empty file'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 791656\n', 'Git LFS'),
    (b'<!DOCTYPE html><html><body>404</body></html>', 'web page'),
    (b'\n<html>Sign in</html>', 'web page'),
    (gzip.compress(b'x', mtime=0), 'gzip'),
    (b'PK\x03\x04', 'zip'),
    (b'{"version": "1.0"}', 'JSON'),
    (b'\xff' * 50, 'damaged'),
    (None, 'damaged'),  # the model itself, cut in the middle
  ],
)
def test_a_file_that_is_no_model_is_called_what_it_is(content, cause, model, tmp_path):
  path = tmp_path / 'spiece.model'
  path.write_bytes(model[: len(model) // 2 + 1] if content is None else content)
  for place in (path, tmp_path):
    with pytest.raises(WeightsError, match=cause) as error:
      load_tokenizer(place)
    assert error.value.where == str(path)


@pytest.mark.parametrize('pieces', [3, 20, 39, 40])
def test_a_model_cut_between_two_pieces_is_refused(pieces, model, tmp_path):
  end = 0
  for _ in range(pieces):
    end += 2 + model[end + 1]  # a tag, a length below 128, a piece
  (tmp_path / 'spiece.model').write_bytes(model[:end])
  with pytest.raises(WeightsError, match='cut'):
    load_tokenizer(tmp_path)


@pytest.mark.parametrize('missing', ['pad_id', 'eos_id'])
def test_a_model_without_the_tokens_of_t5_is_refused(missing, tmp_path):
  (tmp_path / 'x.model').write_bytes(trained(**{missing: -1}))
  with pytest.raises(WeightsError, match='without'):
    load_tokenizer(tmp_path / 'x.model')


@pytest.mark.parametrize('name', ['/no/such/place', './here', '~/x', 'a/b/c', 'spiece.model'])
def test_a_path_that_is_missing_is_not_looked_for_on_the_hub(name, monkeypatch, tmp_path):
  monkeypatch.setattr('huggingface_hub.hf_hub_download', lambda *_: pytest.fail('asked the Hub'))
  monkeypatch.chdir(tmp_path)
  with pytest.raises(WeightsError):
    load_tokenizer(name)


def test_no_name_is_not_the_current_folder(folder, monkeypatch):
  monkeypatch.chdir(folder)
  assert load_tokenizer('.').vocab_size == 140
  with pytest.raises(WeightsError, match='no such tokenizer'):
    load_tokenizer('')


def test_a_name_that_cannot_be_fetched_says_why(monkeypatch):
  from huggingface_hub.errors import LocalEntryNotFoundError

  def no_network(name, file, revision):
    raise LocalEntryNotFoundError('Cannot reach the Hub.\nMore.')

  monkeypatch.setattr('huggingface_hub.hf_hub_download', no_network)
  with pytest.raises(WeightsError) as error:
    load_tokenizer('t5-base')
  assert error.value.got == 'LocalEntryNotFoundError: Cannot reach the Hub.'
  assert 'path' in error.value.fix


def test_a_name_on_the_hub_is_read_from_its_spiece_model(monkeypatch, folder, t5):
  asked = []

  def download(name, file, revision):
    asked.append((name, file, revision))
    return str(folder / file)

  monkeypatch.setattr('huggingface_hub.hf_hub_download', download)
  assert load_tokenizer('google/t5-v1_1-base').fingerprint == t5.fingerprint
  assert load_tokenizer('google/t5-v1_1-base@f00').fingerprint == t5.fingerprint
  name = 'google/t5-v1_1-base', 'spiece.model'
  assert asked == [(*name, None), (*name, 'f00')]


@pytest.fixture
def byt5(tmp_path):
  # ByT5 has no vocabulary file: its settings are the tokenizer.
  config = {'tokenizer_class': 'ByT5Tokenizer', 'extra_ids': 125}
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))
  return tmp_path


def test_other_tokenizers_load_through_transformers(byt5):
  tokenizer = load_tokenizer(byt5)
  assert (tokenizer.pad_id, tokenizer.eos_id) == (0, 1)
  assert tokenizer.encode('ab') == [ord('a') + 3, ord('b') + 3, 1]
  assert tokenizer.encode_all(['a', '']) == [[ord('a') + 3, 1], [1]]
  assert tokenizer.encode_all([]) == []
  assert tokenizer.decode([0, *tokenizer.encode('ab c'), 0, 10**6]) == 'ab c'
  assert tokenizer.pieces([*tokenizer.encode('ab'), 10**6]) == ['a', 'b', '</s>', '<no piece>']
  assert f'transformers {metadata.version("transformers")}, tokenizers' in tokenizer.library


def test_the_fingerprint_of_another_tokenizer_is_stable_across_processes(byt5):
  program = (
    'import sys; from compacter_jax.data.tokenizer import load_tokenizer;'
    'print(load_tokenizer(sys.argv[1]).fingerprint)'
  )
  command = [sys.executable, '-c', program, str(byt5)]
  other = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
  assert load_tokenizer(byt5).fingerprint == other


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
  with pytest.raises(WeightsError, match='cannot be loaded'):
    load_tokenizer(tmp_path)


def test_a_broken_file_in_a_folder_is_named(tmp_path):
  (tmp_path / 'tokenizer_config.json').write_text('{"tokenizer_class": "T5Tokenizer"}')
  (tmp_path / 'tokenizer.json').write_text('version https://git-lfs.github.com/spec/v1\n')
  with pytest.raises(WeightsError, match='tokenizer.json is a Git LFS pointer'):
    load_tokenizer(tmp_path)


def test_importing_is_cheap():
  program = (
    'import sys, compacter_jax.data, compacter_jax.metrics;'
    "heavy = {'jax', 'sklearn', 'scipy', 'transformers', 'sentencepiece', 'huggingface_hub'};"
    'print(sorted(heavy & set(sys.modules)))'
  )
  command = [sys.executable, '-c', program]
  assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == '[]\n'
