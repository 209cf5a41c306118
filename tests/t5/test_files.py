import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from compacter_jax import tensor_file
from compacter_jax.errors import ConfigError, WeightsError
from compacter_jax.t5 import files, hub
from compacter_jax.t5.config import Config, shapes, to_hf
from compacter_jax.t5.names import STRAY, names
from compacter_jax.t5.saving import save

TINY = {'vocab': 24, 'd_model': 8, 'd_kv': 3, 'd_ff': 12, 'heads': 2, 'encoder_layers': 3}
V1_0 = Config(**TINY, decoder_layers=2)
V1_1 = Config(**TINY, decoder_layers=2, activation='gelu_new', gated=True, tied_head=False)
UMT5 = Config(**TINY, decoder_layers=2, gated=True, tied_head=False, shared_bias=False)
KINDS = {'v1.0': V1_0, 'v1.1': V1_1, 'umt5': UMT5}


def arrays(cfg, dtype=np.float32):
  rng = np.random.default_rng(0)
  return {path: rng.standard_normal(s).astype(dtype) for path, s in shapes(cfg).items()}


def assert_same(a, b):
  assert list(a) == list(b)
  for path in a:
    assert a[path].dtype == b[path].dtype
    np.testing.assert_array_equal(np.asarray(a[path]), np.asarray(b[path]), path)


def rewrite(folder, change):
  """The folder's tensors, in one file again after `change`, which edits a dict in place."""
  tensors = tensor_file.read(folder / files.SINGLE)
  change(tensors)
  tensor_file.write(folder / files.SINGLE, tensors, {'format': 'pt'})


def refused(folder, **options):
  with pytest.raises(WeightsError) as caught:
    files.load(folder, **options)
  assert len(str(caught.value).splitlines()) <= 12
  return str(caught.value)


@pytest.fixture
def folder(tmp_path):
  save(tmp_path, V1_0, arrays(V1_0))
  return tmp_path


@pytest.mark.parametrize('dtype', [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize('limit', [10**9, 2000])
@pytest.mark.parametrize('kind', KINDS)
def test_save_then_load_is_the_identity(tmp_path, kind, limit, dtype):
  cfg, frozen = KINDS[kind], arrays(KINDS[kind], dtype)
  save(tmp_path / 'new' / 'folder', cfg, frozen, limit)
  loaded, got = files.load(tmp_path / 'new' / 'folder')
  assert loaded == cfg
  assert_same(frozen, got)
  assert all(isinstance(array, jax.Array) for array in got.values())
  sharded = (tmp_path / 'new' / 'folder' / files.INDEX).exists()
  assert sharded == (limit == 2000)


def test_a_loaded_model_is_saved_as_the_same_bytes(folder, tmp_path_factory):
  again = tmp_path_factory.mktemp('again')
  save(again, *files.load(folder))
  for name in 'config.json', files.SINGLE:
    assert (again / name).read_bytes() == (folder / name).read_bytes()


# Written by hand from transformers' T5, not from our table.
GOLDEN = {
  'shared.weight': ('token_embedding', None, (24, 8)),
  'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight': (
    ('encoder/relative_bias', None, (32, 2))
  ),
  'encoder.block.2.layer.0.SelfAttention.q.weight': (
    ('encoder/layers/self_attention/q/kernel', 2, (6, 8))
  ),
  'encoder.block.1.layer.0.layer_norm.weight': (
    ('encoder/layers/self_attention_norm/scale', 1, (8,))
  ),
  'encoder.block.0.layer.1.DenseReluDense.wi_1.weight': (
    ('encoder/layers/ffn/wi_1/kernel', 0, (12, 8))
  ),
  'encoder.block.0.layer.1.layer_norm.weight': ('encoder/layers/ffn_norm/scale', 0, (8,)),
  'encoder.final_layer_norm.weight': ('encoder/norm/scale', None, (8,)),
  'decoder.block.1.layer.1.EncDecAttention.o.weight': (
    ('decoder/layers/cross_attention/o/kernel', 1, (8, 6))
  ),
  'decoder.block.1.layer.1.layer_norm.weight': (
    ('decoder/layers/cross_attention_norm/scale', 1, (8,))
  ),
  'decoder.block.1.layer.2.DenseReluDense.wo.weight': (
    ('decoder/layers/ffn/wo/kernel', 1, (8, 12))
  ),
  'decoder.block.0.layer.2.layer_norm.weight': ('decoder/layers/ffn_norm/scale', 0, (8,)),
  'lm_head.weight': ('lm_head/kernel', None, (24, 8)),
}


def test_names_of_hugging_face(tmp_path):
  frozen = arrays(V1_1)
  save(tmp_path, V1_1, frozen)
  stored = tensor_file.read(tmp_path / files.SINGLE)
  # 1 + 3 x 9 + 2 x 14 + 2 biases + 2 norms + 1 head
  assert len(stored) == 61
  for name, (path, layer, shape) in GOLDEN.items():
    ours = frozen[path] if layer is None else frozen[path][layer]
    assert stored[name].shape == shape
    np.testing.assert_array_equal(stored[name], ours.T if path.endswith('kernel') else ours)
  assert tensor_file.metadata(tmp_path / files.SINGLE) == {'format': 'pt'}
  own = [name.hf for name in names(UMT5) if 'relative_attention_bias' in name.hf]
  assert own[2:4] == [
    'encoder.block.2.layer.0.SelfAttention.relative_attention_bias.weight',
    'decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
  ]


def test_copies_and_the_stray_tensor_of_old_files_are_accepted(folder):
  want = files.load(folder)[1]

  def add(tensors):
    for name in 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight', 'lm_head.weight':
      tensors[name] = tensors['shared.weight']
    tensors[STRAY] = np.zeros((32, 2), np.float32)

  rewrite(folder, add)
  assert_same(files.load(folder)[1], want)
  rewrite(folder, lambda tensors: [tensors.pop('shared.weight'), tensors.pop('lm_head.weight')])
  assert_same(files.load(folder)[1], want)  # a file may keep but one of the copies


def test_copies_that_differ_are_refused(folder):
  rewrite(folder, lambda tensors: tensors.update({'lm_head.weight': tensors['shared.weight'] + 1}))
  assert 'lm_head.weight differs from shared.weight' in refused(folder)
  assert 'tie_word_embeddings' in refused(folder)
  rewrite(folder, lambda tensors: tensors.update({'lm_head.weight': np.zeros((3, 8), 'f4')}))
  assert 'lm_head.weight [3, 8], not [24, 8]' in refused(folder)


def test_missing_unexpected_and_misshapen_come_in_one_error(folder):
  def spoil(tensors):
    del tensors['encoder.final_layer_norm.weight']
    for i in range(25):
      tensors[f'extra.{i:02}'] = np.zeros(1, np.float32)
    tensors['shared.weight'] = tensors['shared.weight'][:20]
    tensors['decoder.final_layer_norm.weight'] = np.zeros(8, np.int8)

  rewrite(folder, spoil)
  message = refused(folder)
  assert '1 missing: encoder.final_layer_norm.weight' in message
  assert '25 unexpected: ' in message and message.count('extra.') == 20
  assert 'and 5 more' in message
  assert '2 misshapen: shared.weight [20, 8], not [24, 8]' in message
  assert 'int8, not [8]' in message
  with pytest.raises(WeightsError, match='1 missing: token_embedding'):
    save(folder, V1_0, {p: a for p, a in arrays(V1_0).items() if p != 'token_embedding'})


def test_numbers_that_are_not_finite_are_counted_by_tensor(folder):
  def spoil(tensors):
    tensors['shared.weight'][3, :2] = np.nan
    tensors['decoder.block.1.layer.2.DenseReluDense.wo.weight'][0, 0] = -np.inf

  rewrite(folder, spoil)
  message = refused(folder)
  assert 'shared.weight has 2 numbers' in message
  assert 'decoder.block.1.layer.2.DenseReluDense.wo.weight has 1 numbers' in message


def test_dtypes(folder):
  frozen = arrays(V1_0)
  half = {path: array.astype(np.float16) for path, array in frozen.items()}
  got = files.load(folder, jnp.bfloat16)[1]
  assert_same(got, {path: array.astype(ml_dtypes.bfloat16) for path, array in frozen.items()})

  def narrow(tensors):
    tensors.update({name: array.astype(np.float16) for name, array in tensors.items()})

  rewrite(folder, narrow)
  for dtype in None, 'float32':
    got = files.load(folder, dtype)[1]
    assert_same(got, {path: array.astype(np.float32) for path, array in half.items()})
  with pytest.raises(ConfigError, match='65,504'):
    files.load(folder, 'float16')
  with pytest.raises(ConfigError, match='float32, bfloat16'):
    files.load(folder, 'int8')

  def mixed(tensors):
    tensors['shared.weight'] = tensors['shared.weight'].astype(ml_dtypes.bfloat16)

  rewrite(folder, mixed)  # as transformers saves T5 in half precision: wo stays float32
  assert {array.dtype for array in files.load(folder)[1].values()} == {np.dtype('float32')}

  def huge(tensors):
    tensors['shared.weight'] = np.full((24, 8), 1e300)

  rewrite(folder, huge)
  assert '192 numbers that are not finite' in refused(folder)


def test_numbers_are_counted_over_all_blocks(folder, monkeypatch):
  monkeypatch.setattr(files, 'BLOCK', 100)
  rewrite(folder, lambda tensors: tensors['shared.weight'][:, 0].fill(np.nan))
  assert 'shared.weight has 24 numbers' in refused(folder)


def test_tensors_larger_than_a_block_are_read_whole(folder, monkeypatch):
  want = files.load(folder)[1]
  rewrite(folder, lambda tensors: tensors.update({'lm_head.weight': tensors['shared.weight']}))
  monkeypatch.setattr(files, 'BLOCK', 100)  # three rows of eight numbers
  assert_same(files.load(folder)[1], want)

  def spoil(tensors):
    tensors['shared.weight'] = tensors['shared.weight'].copy()
    tensors['shared.weight'][23, 7] += 1

  rewrite(folder, spoil)
  assert 'differs' in refused(folder)


def test_folders_without_weights_say_what_they_hold(folder):
  weights = folder / files.SINGLE
  weights.rename(folder / 'other.bin')
  assert 'config.json, other.bin' in refused(folder)
  (folder / 'pytorch_model.bin').write_bytes(pickle.dumps({}))
  assert 'only as pickles' in refused(folder)
  assert 'weights_only=True' in refused(folder)
  (folder / 'config.json').unlink()
  assert 'config.json' in refused(folder)


def test_damaged_json_is_refused_with_its_path(folder):
  for text in '', '[1]', '{"model_type"', 'version https://git-lfs':
    (folder / 'config.json').write_text(text)
    assert 'config.json' in refused(folder)
  (folder / 'config.json').write_text('{"model_type": "bert"}')
  with pytest.raises(ConfigError, match='bert') as caught:
    files.load(folder)
  assert caught.value.where == str(folder / 'config.json')


@pytest.mark.parametrize('name', ['../x.safetensors', '/etc/passwd', 'a/b.safetensors', 3, '..'])
def test_an_index_cannot_lead_out_of_its_folder(tmp_path, name):
  (tmp_path / 'config.json').write_text(json.dumps(to_hf(V1_0)))
  (tmp_path / files.INDEX).write_text(json.dumps({'weight_map': {'shared.weight': name}}))
  assert 'names no files' in refused(tmp_path)


def test_shards_must_be_there_and_disjoint(tmp_path):
  save(tmp_path, V1_0, arrays(V1_0), 3000)
  shards = sorted(tmp_path.glob('model-*'))
  content = shards[1].read_bytes()
  shards[1].write_bytes(shards[0].read_bytes())
  assert 'Two shards' in refused(tmp_path)
  shards[1].write_bytes(content[:-1])
  assert 'cut short' in refused(tmp_path)
  shards[1].unlink()
  assert shards[1].name in refused(tmp_path)


def offline(code, home):
  """Runs `code` with a Hub cache of its own and no network; what it prints."""
  env = {**os.environ, 'HF_HOME': str(home), 'HF_HUB_OFFLINE': '1', 'JAX_PLATFORMS': 'cpu'}
  env.pop('HF_HUB_CACHE', None)
  done = subprocess.run(
    [sys.executable, '-c', code], env=env, capture_output=True, text=True, timeout=60
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_a_model_of_the_hub_is_loaded_from_the_cache(tmp_path):
  root = tmp_path / 'hub' / 'models--org--tiny'
  commit = '0123456789abcdef0123456789abcdef01234567'
  save(root / 'blobs', V1_0, arrays(V1_0))
  snapshot = root / 'snapshots' / commit
  snapshot.mkdir(parents=True)
  for name in 'config.json', files.SINGLE:  # the cache keeps links to its blobs
    (snapshot / name).symlink_to(f'../../blobs/{name}')
  (root / 'refs').mkdir()
  (root / 'refs' / 'main').write_text(commit)
  out = offline(
    'from compacter_jax.errors import WeightsError\n'
    'from compacter_jax.t5 import files\n'
    'print(len(files.load("org/tiny")[1]))\n'
    f'print(len(files.load("org/tiny@{commit}")[1]))\n'
    'for absent in "org/absent", "org/tiny@1234":\n'
    '  try: files.load(absent)\n'
    '  except WeightsError as error: print(error)\n',
    tmp_path,
  )
  assert out.split()[:2] == [str(len(shapes(V1_0)))] * 2
  assert "'org/absent' is neither a folder nor in the cache" in out
  assert 'hf download org/absent`' in out
  assert "'org/tiny@1234' is neither" in out and 'hf download org/tiny --revision 1234`' in out


def test_a_config_of_the_hub_is_read_without_its_weights(folder, monkeypatch):
  asked = []

  def snapshot(name, revision, allow_patterns):
    asked.append((name, revision, any('safetensors' in pattern for pattern in allow_patterns)))
    assert {'config.json', 'spiece.model'} <= set(allow_patterns)
    return str(folder)

  monkeypatch.setattr('huggingface_hub.snapshot_download', snapshot)
  cfg = files.read_config('org/tiny')
  assert files.load('org/tiny')[0] == cfg
  assert hub.resolve('org/tiny@v1.1', weights=False) == folder
  assert asked == [
    ('org/tiny', None, False),
    ('org/tiny', None, True),
    ('org/tiny', 'v1.1', False),
  ]


def test_paths_that_do_not_exist_say_what_is_beside_them(folder):
  assert hub.resolve(folder) == folder
  with pytest.raises(WeightsError, match=f'{folder} holds config.json, model.safetensors'):
    hub.resolve(folder / 'chekpoint')
  with pytest.raises(WeightsError, match='no such folder'):
    hub.resolve('./nowhere/at/all')
  with pytest.raises(WeightsError, match=f'give {folder}'):
    hub.resolve(folder / 'config.json')


MEMORY = """
import sys, jax
from compacter_jax.t5 import files

def kib(field):
  lines = open('/proc/self/status').read().splitlines()
  return int(next(line for line in lines if line.startswith(field)).split()[1])

files.load(sys.argv[1])
before = kib('VmRSS')
open('/proc/self/clear_refs', 'w').write('5')  # the peak starts again from here
model = jax.block_until_ready(files.load(sys.argv[2]))
print((kib('VmHWM') - before) * 1024)
"""


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='needs Linux')
def test_loading_takes_the_memory_of_one_copy(folder, tmp_path_factory):
  large = tmp_path_factory.mktemp('large')
  sizes = {'vocab': 30000, 'd_model': 256, 'd_ff': 1024, 'encoder_layers': 4, 'decoder_layers': 4}
  cfg = Config(**sizes, heads=4, tied_head=False)
  save(large, cfg, {path: np.ones(s, np.float32) for path, s in shapes(cfg).items()})
  size = (large / files.SINGLE).stat().st_size
  assert 90e6 < size < 110e6
  done = subprocess.run(
    [sys.executable, '-c', MEMORY, folder, large],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 0, done.stderr
  # One copy and blocks of 8 MiB: 1.1. Two copies, as a mapped file costs, would be 2.
  assert int(done.stdout) / size < 1.3
