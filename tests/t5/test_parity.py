"""T5 computes what others say it computes: Hugging Face's torch, live or recorded, and t5x."""

import functools
import itertools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from compacter_jax import tensor_file
from compacter_jax.graft import Graft
from compacter_jax.method import Tuned
from compacter_jax.model import Model, shift_right
from compacter_jax.t5 import dropout, files
from compacter_jax.t5.attention import relative_buckets
from compacter_jax.t5.config import Config, shapes
from compacter_jax.t5.network import T5
from experiments import record_t5
from tests.conftest import TINY

# Sums of float32 taken in another order, through a few layers, to logits of 10: 2.4e-5 at worst.
CLOSE = {'atol': 5e-5, 'rtol': 5e-5}


@functools.partial(jax.jit, static_argnums=0)
def compute(cfg, frozen, batch):
  """All of `record_t5.outputs`, by our T5."""
  model, nothing = Model(cfg), Tuned()
  source, decoder_input = batch['source'], shift_right(batch['target'], cfg)
  params = {'params': traverse_util.unflatten_dict(frozen, sep='/')}
  return {
    'encoder': T5(cfg).apply(params, source, Graft(), method='encode')[0],
    'logits': model.logits(nothing, frozen, source, decoder_input),
    'loss': model.loss(nothing, frozen, batch),
    'dropped': model.logits(nothing, frozen, source, decoder_input, jax.random.key(0)),
    'generated': model.generate(nothing, frozen, source, record_t5.STEPS),
  }


def ours(cfg, frozen, source, target):
  """All of `record_t5.outputs`, with a dropout that draws no zeros: just its scale is left."""
  with pytest.MonkeyPatch.context() as patch:
    ones = lambda key, shape: jnp.full(shape, 65535, jnp.uint16)
    patch.setattr(dropout, 'random_bits', ones)
    return compute(cfg, frozen, {'source': source, 'target': target})


def agree(got, want):
  """Prints how far apart they are, for those who run pytest with -s."""
  far = {name: float(np.max(np.abs(got[name] - want[name]))) for name in want}
  print({name: f'{distance:.1e}' for name, distance in far.items()})
  for name in want:
    assert got[name].shape == want[name].shape, name
    np.testing.assert_allclose(got[name], want[name], **CLOSE, err_msg=name)


@pytest.mark.parametrize('name', TINY)
def test_recorded_models_are_reproduced(name, tmp_path):
  recorded = record_t5.FOLDER / f'{name}.safetensors'
  tensors = tensor_file.read(recorded)
  weights = {k: tensors.pop(k) for k in list(tensors) if k.startswith('weights/')}
  weights = {k.removeprefix('weights/'): w for k, w in weights.items()}
  tensor_file.write(tmp_path / 'model.safetensors', weights, {'format': 'pt'})
  (tmp_path / 'config.json').write_text(tensor_file.metadata(recorded)['config.json'])
  cfg, frozen = files.load(tmp_path)
  assert cfg == TINY[name]
  source, target = tensors.pop('source'), tensors.pop('target')
  assert {len(set(np.sum(ids != cfg.pad_id, 1))) for ids in (source, target)} == {3}
  assert source.shape[1] > cfg.relative_max_distance
  agree(ours(cfg, frozen, source, target), tensors)


# Each head with each gate, whatever was ever published so.
LIVE = {
  **record_t5.SHAPES,
  'untied t5': record_t5.SHAPES['t5'] | {'tie_word_embeddings': False},
  'tied ul2': record_t5.SHAPES['ul2'] | {'tie_word_embeddings': True},
  'tied umt5': record_t5.SHAPES['umt5'] | {'tie_word_embeddings': True},
}


@pytest.mark.parametrize('name', LIVE)
@pytest.mark.filterwarnings('default')  # torch's own
def test_torch_is_reproduced(name, tmp_path):
  pytest.importorskip('torch', reason='the recorded outputs stand in for torch')
  hf = LIVE[name]
  model, batch = record_t5.build(hf, seed=100), record_t5.inputs(hf, seed=100)
  model.save_pretrained(tmp_path)
  cfg, frozen = files.load(tmp_path)
  assert cfg.tied_head == hf['tie_word_embeddings']
  assert cfg.shared_bias == (hf['model_type'] != 'umt5')
  want = record_t5.outputs(model, **batch)
  agree(ours(cfg, frozen, **batch), want)


def test_recorded_buckets_are_reproduced():
  table = tensor_file.read(record_t5.FOLDER / 'relative_buckets.safetensors')
  relative = table.pop('relative')
  assert len(table) == 2 * len(record_t5.BUCKETS)
  for name, want in table.items():
    which, count, distance = name.split('/')
    got = relative_buckets(relative, which == 'both', int(count), int(distance))
    np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize('both', [True, False])
@pytest.mark.filterwarnings('default')  # torch's own
def test_torch_buckets_are_reproduced(both):
  pytest.importorskip('torch', reason='the recorded table stands in for torch')
  relative = np.arange(-3000, 3001, dtype=np.int32)
  for count, distance in itertools.product((8, 18, 32, 72, 100), (51, 64, 128, 1000, 2048)):
    got = relative_buckets(relative, both, count, distance)
    want = record_t5.buckets(relative, both, count, distance)
    np.testing.assert_array_equal(got, want, err_msg=f'{count} buckets up to {distance}')


def fixtures():
  """A folder of recordings made by others, for those who have them."""
  name = 'COMPACTER_T5_FIXTURES'
  if name not in os.environ:
    pytest.skip(f'{name} does not name the folder of t5-v1.safetensors')
  return Path(os.environ[name])


def test_t5x_buckets_are_reproduced():
  table = tensor_file.read(fixtures() / 'relative_buckets.safetensors')
  cases = {name.partition('/')[0] for name in table}
  assert len(cases) == 6
  for case in cases:
    got = relative_buckets(table[f'{case}/inputs'], case.startswith('True'), 32, 128)
    np.testing.assert_array_equal(got, table[f'{case}/outputs'], err_msg=case)


def translated(recorded, cfg):
  """The others' weights under our names."""

  def attention(path):
    i_proj = {
      name: recorded[f'{path}/attention/i_proj/{name}_proj/weight'].reshape(cfg.d_model, -1)
      for name in 'qkv'
    }
    o_proj = recorded[f'{path}/attention/o_proj/weight'].reshape(cfg.d_model, -1).T
    # They scale q by K**-0.5, which T5 does not, and store it larger by as much.
    return {**i_proj, 'q': i_proj['q'] * cfg.d_kv**-0.5, 'o': o_proj}

  def layer(stack, i):
    path = f'params/{stack}/transformer/layer{i}'
    out = {}
    for name in ('self_attention', 'cross_attention')[: 1 + (stack == 'decoder')]:
      out[f'{name}_norm/scale'] = recorded[f'{path}/{name}/norm/scale']
      out |= {f'{name}/{k}/kernel': w for k, w in attention(f'{path}/{name}').items()}
    wi = {'wi_0': 'linear1_0', 'wi_1': 'linear1_1'} if cfg.gated else {'wi': 'linear1'}
    for ours, theirs in {**wi, 'wo': 'linear2'}.items():
      out[f'ffn/{ours}/kernel'] = recorded[f'{path}/feed_forward/{theirs}/weight']
    return {**out, 'ffn_norm/scale': recorded[f'{path}/feed_forward/norm/scale']}

  out = {
    'token_embedding': recorded['params/shared_token_emb/weight'],
    'lm_head/kernel': recorded['params/decoder/lm_head/weight'].T,
    'encoder/norm/scale': recorded['params/encoder/output/norm/scale'],
    'decoder/norm/scale': recorded['params/decoder/output_norm/scale'],
  }
  for stack in 'encoder', 'decoder':
    out[f'{stack}/relative_bias'] = recorded[f'params/{stack}/relative_pos_emb/emb/weight']
    layers = [layer(stack, i) for i in range(2)]
    out |= {f'{stack}/layers/{k}': np.stack([each[k] for each in layers]) for k in layers[0]}
  return out


OTHERS = {'t5-v1': ('relu', False, 48), 't5-v1-1': ('gelu_new', True, 32)}


@pytest.mark.parametrize('name', OTHERS)
def test_the_recordings_of_others_are_reproduced(name):
  recorded = tensor_file.read(fixtures() / f'{name}.safetensors')
  activation, gated, d_ff = OTHERS[name]
  cfg = Config(
    vocab=128,
    d_model=12,
    d_kv=4,
    d_ff=d_ff,
    heads=3,
    encoder_layers=2,
    decoder_layers=2,
    activation=activation,
    gated=gated,
    tied_head=False,
  )
  frozen = {path: jnp.asarray(w) for path, w in translated(recorded, cfg).items()}
  assert {path: w.shape for path, w in frozen.items()} == shapes(cfg)
  source, target = (jnp.asarray(recorded[f'inputs/{k}']) for k in ('source_ids', 'target_ids'))
  logits = Model(cfg).logits(Tuned(), frozen, source, target)
  labels = recorded['inputs/target_labels']
  # Where there is no label, they hide the decoder's padding from itself.
  agree(
    {'logits': np.asarray(logits)[labels >= 0]},
    {'logits': recorded['outputs/ref_logits'][labels >= 0]},
  )
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
  np.testing.assert_allclose(losses[labels >= 0].mean(), recorded['outputs/ref_loss'], rtol=1e-6)
