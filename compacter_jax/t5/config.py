"""What a T5 is: its sizes, its switches, and the weights that follow from them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from compacter_jax.errors import ConfigError

ACTIVATIONS = 'relu', 'gelu_new', 'silu'


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
