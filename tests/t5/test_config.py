import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compacter_jax.errors import ConfigError
from compacter_jax.t5.config import ACTIVATIONS, Config, count, from_hf, shapes, to_hf
from compacter_jax.t5.sizes import SIZES, size_named

# Counted by transformers 4.57.6 on torch's meta device; T5 and mT5 agree with the papers.
PUBLISHED = {
  't5-small': 60_506_624,
  't5-base': 222_903_552,
  't5-large': 737_668_096,
  't5-3b': 2_851_598_336,
  't5-11b': 11_307_321_344,
  't5-v1_1-small': 76_961_152,
  't5-v1_1-base': 247_577_856,
  't5-v1_1-large': 783_150_080,
  't5-v1_1-xl': 2_849_757_184,
  't5-v1_1-xxl': 11_135_332_352,
  'mt5-small': 300_176_768,
  'mt5-base': 582_401_280,
  'mt5-large': 1_229_581_312,
  'mt5-xl': 3_742_619_648,
  'mt5-xxl': 12_921_057_280,
  'umt5-small': 306_601_984,
  'umt5-base': 592_043_520,
  'umt5-xl': 3_768_356_864,
  'umt5-xxl': 12_972_531_712,
  'byt5-small': 299_637_760,
  'byt5-base': 581_653_248,
  'byt5-large': 1_228_183_552,
  'byt5-xl': 3_737_801_728,
  'byt5-xxl': 12_906_899_328,
  'ul2': 19_459_613_696,
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_totals(name):
  assert count(SIZES[name]) == PUBLISHED[name]


def test_without_the_padding_rows_of_its_vocabulary_t5_base_is_smaller():
  assert count(dataclasses.replace(SIZES['t5-base'], vocab=32100)) == 222_882_048


def test_relatives_share_a_shape():
  for size in 'small', 'base', 'large', 'xl', 'xxl':
    assert SIZES[f'flan-t5-{size}'] == SIZES[f't5-{size}-lm-adapt'] == SIZES[f't5-v1_1-{size}']
  assert SIZES['flan-ul2'] == SIZES['ul2']
  assert set(SIZES) == set(PUBLISHED) | {name for name in SIZES if 'flan' in name or 'lm-' in name}


def test_sizes_go_by_the_names_of_the_hub():
  assert size_named('google-t5/t5-base') == size_named('t5-base') == Config()
  assert size_named('google/t5-v1_1-base').d_ff == 2048
  with pytest.raises(ConfigError, match='did you mean t5-base'):
    size_named('t5-bsae')
  with pytest.raises(ConfigError, match='someone/t5-base'):
    size_named('someone/t5-base')


def test_shapes_of_the_four_kinds():
  tiny = {'vocab': 11, 'd_model': 6, 'd_kv': 2, 'd_ff': 5, 'heads': 4, 'decoder_layers': 2}
  plain = shapes(Config(**tiny, encoder_layers=3))
  assert plain['token_embedding'] == (11, 6)
  assert plain['encoder/relative_bias'] == plain['decoder/relative_bias'] == (32, 4)
  assert plain['encoder/layers/self_attention/q/kernel'] == (3, 6, 8)
  assert plain['decoder/layers/cross_attention/o/kernel'] == (2, 8, 6)
  assert plain['decoder/layers/ffn/wi/kernel'] == (2, 6, 5)
  assert plain['encoder/norm/scale'] == (6,)
  assert not any('cross' in path for path in plain if path.startswith('encoder'))
  change = lambda **kinds: shapes(Config(**tiny, encoder_layers=3, **kinds))
  gated = change(activation='gelu_new', gated=True)
  assert set(gated) ^ set(plain) == {
    f'{stack}/layers/ffn/{wi}/kernel'
    for stack in ('encoder', 'decoder')
    for wi in ('wi', 'wi_0', 'wi_1')
  }
  assert set(change(tied_head=False).items()) ^ set(plain.items()) == {('lm_head/kernel', (6, 11))}
  own = change(shared_bias=False)
  assert own['encoder/layers/relative_bias'] == (3, 32, 4)
  assert own['decoder/layers/relative_bias'] == (2, 32, 4)
  assert 'encoder/relative_bias' not in own


@pytest.mark.parametrize(
  'field, value',
  [
    ('vocab', 0),
    ('vocab', 32128.0),
    ('d_model', True),
    ('heads', -1),
    ('encoder_layers', '12'),
    ('encoder_layers', 1_001),
    ('decoder_layers', 10**9),
    ('d_ff', 2**31),
    ('vocab', 10**30),
    ('activation', 'gelu'),
    ('activation', ['relu']),
    ('gated', 1),
    ('tied_head', None),
    ('dropout', 1.0),
    ('dropout', -0.1),
    ('dropout', float('nan')),
    ('dropout', False),
    ('norm_epsilon', 0.0),
    ('norm_epsilon', float('inf')),
    ('pad_id', -1),
    ('eos_id', 32128),
    ('relative_buckets', 2),
    ('relative_max_distance', 16),
  ],
)
def test_impossible_fields_are_named(field, value):
  with pytest.raises(ConfigError, match=field):
    Config(**{field: value})


def test_all_faults_come_in_one_error():
  with pytest.raises(ConfigError, match='vocab.*heads.*dropout'):
    Config(vocab=0, heads='8', dropout=2)


configs = st.builds(
  Config,
  vocab=st.integers(4, 99),
  d_model=st.integers(1, 9),
  d_kv=st.integers(1, 9),
  d_ff=st.integers(1, 9),
  heads=st.integers(1, 9),
  encoder_layers=st.integers(1, 9),
  decoder_layers=st.integers(1, 9),
  relative_buckets=st.integers(4, 40),
  relative_max_distance=st.integers(21, 200),
  activation=st.sampled_from(ACTIVATIONS),
  gated=st.booleans(),
  tied_head=st.booleans(),
  shared_bias=st.booleans(),
  dropout=st.floats(0, 0.99),
  norm_epsilon=st.floats(1e-9, 1),
  pad_id=st.integers(0, 3),
  eos_id=st.integers(0, 3),
  decoder_start_id=st.integers(0, 3),
)


@given(configs)
def test_hugging_faces_json_and_back_is_the_identity(cfg):
  assert from_hf(json.loads(json.dumps(to_hf(cfg)))) == cfg
  assert hash(cfg) == hash(dataclasses.replace(cfg))


# The keys of the config.json that google-t5/t5-small was published with in 2020.
OLD = {
  'architectures': ['T5WithLMHeadModel'],
  'd_ff': 2048,
  'd_kv': 64,
  'd_model': 512,
  'decoder_start_token_id': 0,
  'dropout_rate': 0.1,
  'eos_token_id': 1,
  'initializer_factor': 1.0,
  'is_encoder_decoder': True,
  'layer_norm_epsilon': 1e-06,
  'model_type': 't5',
  'n_positions': 512,
  'num_heads': 8,
  'num_layers': 6,
  'output_past': True,
  'pad_token_id': 0,
  'relative_attention_num_buckets': 32,
  'task_specific_params': {},
  'vocab_size': 32128,
}
GATED = {'feed_forward_proj': 'gated-gelu', 'tie_word_embeddings': False}


def test_absent_keys_mean_what_transformers_means():
  assert from_hf(OLD) == SIZES['t5-small']
  assert from_hf({**OLD, 'num_decoder_layers': None}) == SIZES['t5-small']
  assert from_hf({**OLD, 'num_decoder_layers': 2}).decoder_layers == 2
  mt5 = from_hf({**OLD, 'model_type': 'mt5'})
  assert (mt5.activation, mt5.gated, mt5.tied_head, mt5.shared_bias) == (
    'gelu_new',
    True,
    False,
    True,
  )
  umt5 = from_hf({**OLD, 'model_type': 'umt5', 'tie_word_embeddings': False})
  assert (umt5.gated, umt5.tied_head, umt5.shared_bias) == (True, False, False)
  start = {key: value for key, value in OLD.items() if key != 'decoder_start_token_id'}
  assert from_hf({**start, 'pad_token_id': 3}).decoder_start_id == 3


@pytest.mark.parametrize(
  'form, meaning',
  {
    'relu': ('relu', False),
    'gated-gelu': ('gelu_new', True),
    'gated-silu': ('silu', True),
    'gelu_new': ('gelu_new', False),
    'gated-relu': ('relu', True),
    'gated-gelu_pytorch_tanh': ('gelu_new', True),
    'swish': ('silu', False),
  }.items(),
)
def test_feed_forward_forms(form, meaning):
  cfg = from_hf({**OLD, 'feed_forward_proj': form})
  assert (cfg.activation, cfg.gated) == meaning


def test_what_transformers_5_writes_of_an_untied_head_is_understood():
  five = {**OLD, **GATED, 'tie_word_embeddings': True, 'transformers_version': '5.23.0'}
  assert not from_hf({**five, 'scale_decoder_outputs': False}).tied_head
  assert from_hf({**five, 'scale_decoder_outputs': True}).tied_head
  assert not from_hf({**five, 'model_type': 'mt5'}).tied_head
  assert from_hf({**OLD, 'tie_word_embeddings': True, 'model_type': 'mt5'}).tied_head


@pytest.mark.parametrize(
  'change, match',
  [
    ({'model_type': 'longt5'}, 'longt5'),
    ({'model_type': None}, 'None'),
    ({'d_model': None}, 'd_model'),
    ({'feed_forward_proj': 'gelu'}, "'gelu'"),  # the exact GELU, which no published T5 uses
    ({'feed_forward_proj': 'glu-gelu'}, 'glu-gelu'),
    ({**GATED, 'dense_act_fn': 'gelu'}, "'gelu'"),
    ({'is_encoder_decoder': False}, 'encoder'),
    ({'is_decoder': True}, 'encoder'),
    ({'quantization_config': {'load_in_8bit': True}}, 'quantized'),
    ({'eos_token_id': [1, 2]}, 'eos_id'),
    ({'num_heads': 8.0}, 'heads'),
  ],
)
def test_what_would_compute_something_else_is_refused(change, match):
  with pytest.raises(ConfigError, match=match):
    from_hf({**OLD, **change})


def test_missing_keys_come_in_one_error():
  with pytest.raises(ConfigError, match='vocab_size, d_model, d_kv, d_ff, num_heads, num_layers'):
    from_hf({'model_type': 't5'})
