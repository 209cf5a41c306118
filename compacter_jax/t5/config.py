"""What a T5 is: its sizes, its switches, and the weights that follow from them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from compacter_jax.errors import ConfigError

ACTIVATIONS = 'relu', 'gelu_new', 'silu'

# Our fields under the names of Hugging Face's config.json; those in ESSENTIAL must be there.
HF_NAMES = {
  'vocab': 'vocab_size',
  'd_model': 'd_model',
  'd_kv': 'd_kv',
  'd_ff': 'd_ff',
  'heads': 'num_heads',
  'encoder_layers': 'num_layers',
  'decoder_layers': 'num_decoder_layers',
  'relative_buckets': 'relative_attention_num_buckets',
  'relative_max_distance': 'relative_attention_max_distance',
  'dropout': 'dropout_rate',
  'norm_epsilon': 'layer_norm_epsilon',
  'pad_id': 'pad_token_id',
  'eos_id': 'eos_token_id',
  'decoder_start_id': 'decoder_start_token_id',
}
ESSENTIAL = 'vocab', 'd_model', 'd_kv', 'd_ff', 'heads', 'encoder_layers'

# Far beyond any T5, and what a file may claim: names are listed layer by layer.
MOST_LAYERS, MOST = 1_000, 2**31 - 1

# What each family means by an absent feed_forward_proj and tie_word_embeddings.
FAMILIES = {'t5': ('relu', True), 'mt5': ('gated-gelu', False), 'umt5': ('gated-gelu', True)}


@dataclass(frozen=True)
class Config:
  """The shape and switches of one T5, mT5, umT5, ByT5 or UL2; the defaults are T5-base (v1.0).

  vocab (V) counts rows of the embedding, padding rows included. d_kv (K) is free: heads * d_kv
  need not equal d_model. `tied_head` reads logits off the token embedding and, as T5 v1.0 was
  trained, scales them by D**-0.5; an untied head is not scaled. `shared_bias` keeps one table of
  relative biases per stack; umT5 has one per layer. Raises ConfigError that lists every fault.
  """

  vocab: int = 32128
  d_model: int = 768
  d_kv: int = 64
  d_ff: int = 3072
  heads: int = 12
  encoder_layers: int = 12
  decoder_layers: int = 12
  relative_buckets: int = 32
  relative_max_distance: int = 128
  activation: str = 'relu'
  gated: bool = False
  tied_head: bool = True
  shared_bias: bool = True
  dropout: float = 0.1
  norm_epsilon: float = 1e-6
  pad_id: int = 0
  eos_id: int = 1
  decoder_start_id: int = 0

  def __post_init__(self):
    faults = list(_faults(self)) or list(_impossible(self))
    if faults:
      raise ConfigError(f'This is no T5: {"; ".join(faults)}.', where='compacter_jax.t5.Config')


def _faults(cfg: Config) -> Iterator[str]:
  """Fields of the wrong type or out of their own range."""
  for field in fields(cfg):
    value = getattr(cfg, field.name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if field.name == 'activation':
      if value not in ACTIVATIONS:
        yield f'activation is one of {", ".join(ACTIVATIONS)}, not {value!r}'
    elif field.type is bool:
      if not isinstance(value, bool):
        yield f'{field.name} is True or False, not {value!r}'
    elif field.type is float:
      # A dropout of 1 would divide by zero; an epsilon of 0 makes the norm of a zero vector NaN.
      fits = number and (0 <= value < 1 if field.name == 'dropout' else 0 < value < math.inf)
      if not fits:
        bounds = '[0, 1)' if field.name == 'dropout' else '(0, inf)'
        yield f'{field.name} is a number in {bounds}, not {value!r}'
    elif not isinstance(value, int) or isinstance(value, bool):
      yield f'{field.name} is a whole number, not {value!r}'
    elif value < (0 if field.name.endswith('_id') else 1):
      yield f'{field.name}={value} is too small'
    elif value > (MOST_LAYERS if field.name.endswith('_layers') else MOST):
      yield f'{field.name}={value} is too large'


def _impossible(cfg: Config) -> Iterator[str]:
  """Combinations of fields that no T5 can have."""
  for name in 'pad_id', 'eos_id', 'decoder_start_id':
    if getattr(cfg, name) >= cfg.vocab:
      yield f'{name}={getattr(cfg, name)} is outside a vocabulary of {cfg.vocab} rows'
  # Half of the buckets look ahead and half of those count single steps; the rest grow as
  # log(max_distance / single steps), which must not be the logarithm of one or of infinity.
  if cfg.relative_buckets < 4:
    yield f'relative_buckets={cfg.relative_buckets} is less than 4'
  elif cfg.relative_max_distance <= cfg.relative_buckets // 2:
    yield (
      f'relative_max_distance={cfg.relative_max_distance} must be more than '
      f'relative_buckets // 2 = {cfg.relative_buckets // 2}'
    )


def shapes(cfg: Config) -> dict[str, tuple[int, ...]]:
  """Every weight by path, layers stacked: {'encoder/layers/ffn/wo/kernel': (L, F, D), ...}."""
  out: dict[str, tuple[int, ...]] = {'token_embedding': (cfg.vocab, cfg.d_model)}
  for stack, depth in ('encoder', cfg.encoder_layers), ('decoder', cfg.decoder_layers):
    table = cfg.relative_buckets, cfg.heads
    if cfg.shared_bias:
      out[f'{stack}/relative_bias'] = table
    else:
      out[f'{stack}/layers/relative_bias'] = depth, *table
    for path, shape in _layer(cfg, cross=stack == 'decoder').items():
      out[f'{stack}/layers/{path}'] = depth, *shape
    out[f'{stack}/norm/scale'] = (cfg.d_model,)
  if not cfg.tied_head:
    out['lm_head/kernel'] = cfg.d_model, cfg.vocab
  return out


def _layer(cfg: Config, *, cross: bool) -> dict[str, tuple[int, ...]]:
  """The weights of one layer."""
  width, inner = cfg.d_model, cfg.heads * cfg.d_kv
  out: dict[str, tuple[int, ...]] = {}
  for block in ('self_attention', 'cross_attention') if cross else ('self_attention',):
    out[f'{block}_norm/scale'] = (width,)
    for name in 'q', 'k', 'v':
      out[f'{block}/{name}/kernel'] = width, inner
    out[f'{block}/o/kernel'] = inner, width
  out['ffn_norm/scale'] = (width,)
  for name in ('wi_0', 'wi_1') if cfg.gated else ('wi',):
    out[f'ffn/{name}/kernel'] = width, cfg.d_ff
  out['ffn/wo/kernel'] = cfg.d_ff, width
  return out


def count(cfg: Config) -> int:
  """The number of parameters; a tied head is counted once."""
  return sum(math.prod(shape) for shape in shapes(cfg).values())


def from_hf(hf: Mapping[str, Any]) -> Config:
  """The Config that a Hugging Face config.json of a t5, mt5 or umt5 describes.

  Keys that do not change the function are ignored. Raises ConfigError for another kind of model,
  for missing keys (all of them at once) and for whatever this T5 cannot compute.
  """
  family = hf.get('model_type')
  if not isinstance(family, str) or family not in FAMILIES:
    raise ConfigError(
      'This config.json describes no T5.',
      expected=f'model_type is one of {", ".join(FAMILIES)}',
      got=f'model_type={family!r}',
    )
  given = {ours: hf[name] for ours, name in HF_NAMES.items() if name in hf and hf[name] is not None}
  lacking = [HF_NAMES[ours] for ours in ESSENTIAL if ours not in given]
  if lacking:
    raise ConfigError(f'This config.json lacks {", ".join(lacking)}.', fix='take the original file')
  for key, wrong in ('is_encoder_decoder', False), ('is_decoder', True):
    if key in hf and hf[key] is wrong:
      raise ConfigError('This T5 is not an encoder with a decoder.', got=f'{key}={wrong}')
  if 'quantization_config' in hf and hf['quantization_config'] is not None:
    raise ConfigError('These weights are quantized.', fix='take the float weights of this model')
  given = {'decoder_layers': given['encoder_layers'], **given}
  if 'pad_id' in given:
    given = {'decoder_start_id': given['pad_id'], **given}  # T5 starts its decoder with padding
  activation, gated = _feed_forward(hf, FAMILIES[family][0])
  return Config(
    **given,
    activation=activation,
    gated=gated,
    tied_head=_tied(hf, FAMILIES[family][1]),
    shared_bias=family != 'umt5',
  )


def _feed_forward(hf: Mapping[str, Any], otherwise: str) -> tuple[str, bool]:
  """The activation under our name, and whether it gates."""
  form = hf.get('feed_forward_proj', otherwise)
  gate, _, activation = str(form).rpartition('-')
  # Of old, `gated-gelu` is the tanh form, though a bare `gelu` is the exact one.
  activation = 'gelu_new' if form == 'gated-gelu' else activation
  # transformers lets these two, which it derives and then writes out, win over their origin.
  activation = hf.get('dense_act_fn', activation)
  gated = hf.get('is_gated_act', gate == 'gated')
  same = {'gelu_pytorch_tanh': 'gelu_new', 'swish': 'silu'}
  activation = same.get(str(activation), activation)
  if gate not in ('', 'gated') or activation not in ACTIVATIONS:
    raise ConfigError(
      'This T5 has a feed-forward block that is not implemented.',
      expected=f'{", ".join(ACTIVATIONS)}, plain or gated',
      got=f'feed_forward_proj={form!r}, that is {activation!r}',
    )
  return activation, gated


def _tied(hf: Mapping[str, Any], otherwise: bool) -> bool:
  """Whether the head reads off the token embedding."""
  # transformers 5 writes tie_word_embeddings=true for every model. For a t5 it keeps the truth in
  # scale_decoder_outputs; for a published mt5 or umt5 the truth is an untied head.
  if 'scale_decoder_outputs' in hf:
    return hf['scale_decoder_outputs']
  by_five = 'transformers_version' in hf and str(hf['transformers_version']).startswith('5.')
  if by_five and hf['model_type'] != 't5':
    return False
  return hf.get('tie_word_embeddings', otherwise)


def to_hf(cfg: Config) -> dict[str, Any]:
  """The config.json that Hugging Face's T5 or umT5 reads; `from_hf` undoes it exactly."""
  activation = 'gelu' if cfg.gated and cfg.activation == 'gelu_new' else cfg.activation
  kind = ('t5', 'T5') if cfg.shared_bias else ('umt5', 'UMT5')
  return {
    'architectures': [f'{kind[1]}ForConditionalGeneration'],
    'model_type': kind[0],
    'is_encoder_decoder': True,
    'feed_forward_proj': f'gated-{activation}' if cfg.gated else activation,
    'tie_word_embeddings': cfg.tied_head,
    **{name: getattr(cfg, ours) for ours, name in HF_NAMES.items()},
  }
