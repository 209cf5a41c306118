"""Our weights under the names that Hugging Face's T5 gives them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from compacter_jax.errors import WeightsError
from compacter_jax.t5.config import Config, shapes

# Files may repeat the token embedding under these names, or hold it under one of them alone.
EMBEDDING = 'shared.weight'
EMBEDDING_COPIES = 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'
HEAD = 'lm_head.weight'

# Left behind in old T5 files: cross-attention has no positions, and nothing ever read it.
STRAY = 'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight'

_BIAS = 'layer.0.SelfAttention.relative_attention_bias.weight'
_WHOLE = {
  'token_embedding': EMBEDDING,
  'encoder/relative_bias': f'encoder.block.0.{_BIAS}',
  'decoder/relative_bias': f'decoder.block.0.{_BIAS}',
  'encoder/norm/scale': 'encoder.final_layer_norm.weight',
  'decoder/norm/scale': 'decoder.final_layer_norm.weight',
  'lm_head/kernel': HEAD,
}


class Name(NamedTuple):
  """One tensor of a Hugging Face T5: the whole array at `path`, or one `layer` of it.

  `shape` is that of the file, where torch keeps a kernel as [out, in]: ours is its transpose.
  """

  hf: str
  path: str
  layer: int | None
  transpose: bool
  shape: tuple[int, ...]


def names(cfg: Config) -> Iterator[Name]:
  """Every tensor that a file of this T5 must hold, path after path, in the order of `shapes`."""
  for path, shape in shapes(cfg).items():
    transpose = path.endswith('/kernel')
    stack, _, leaf = path.partition('/layers/')
    of_file = shape[1:] if leaf else shape
    of_file = of_file[::-1] if transpose else of_file
    if leaf:
      for layer in range(shape[0]):
        hf = f'{stack}.block.{layer}.{_in_block(stack, leaf)}'
        yield Name(hf, path, layer, transpose, of_file)
    else:
      yield Name(_WHOLE[path], path, None, transpose, of_file)


def copies(cfg: Config) -> tuple[str, ...]:
  """What else a file may call the token embedding; a tied head is stored as a copy of it."""
  return (*EMBEDDING_COPIES, HEAD) if cfg.tied_head else EMBEDDING_COPIES


def compare(want: Mapping[str, Any], got: Mapping[str, Any], where: str) -> None:
  """Raises one WeightsError for every name that is missing, unexpected or of another shape."""
  shown = lambda shape: list(shape) if isinstance(shape, tuple) else shape
  wrong = [name for name in want if name in got and got[name] != want[name]]
  told = {
    'missing': [name for name in want if name not in got],
    'unexpected': [name for name in got if name not in want],
    'misshapen': [f'{name} {shown(got[name])}, not {shown(want[name])}' for name in wrong],
  }
  if any(told.values()):
    counted = [f'{len(each)} {kind}: {listed(each)}' for kind, each in told.items() if each]
    raise WeightsError(
      'These weights are not those of the config.', where=where, got='; '.join(counted)
    )


def listed(items: Sequence[str]) -> str:
  """The first twenty, and how many more."""
  return ', '.join(items[:20]) + (f' and {len(items) - 20:,} more' if len(items) > 20 else '')


def _in_block(stack: str, leaf: str) -> str:
  """('decoder', 'ffn/wo/kernel') -> 'layer.2.DenseReluDense.wo.weight'."""
  if leaf == 'relative_bias':
    return _BIAS
  block, *module, _ = leaf.split('/')
  place, attention_or_ffn = {
    'self_attention': (0, 'SelfAttention'),
    'cross_attention': (1, 'EncDecAttention'),
    'ffn': (2 if stack == 'decoder' else 1, 'DenseReluDense'),
  }[block.removesuffix('_norm')]
  within = ['layer_norm'] if block.endswith('_norm') else [attention_or_ffn, *module]
  return '.'.join([f'layer.{place}', *within, 'weight'])
