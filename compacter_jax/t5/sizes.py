"""The published T5s by name, so that a shape can be had without its weights."""

import difflib
from dataclasses import replace

from compacter_jax.errors import ConfigError
from compacter_jax.t5.config import Config


def _square(d_model: int, d_ff: int, heads: int, layers: int) -> Config:
  """A T5 v1.0 with as many decoder as encoder layers."""
  return Config(
    d_model=d_model, d_ff=d_ff, heads=heads, encoder_layers=layers, decoder_layers=layers
  )


# T5 v1.0 (Raffel et al. 2020, table 2 and appendix). 3b and 11b have K = 128.
_V1_0 = {
  'small': _square(512, 2048, 8, 6),
  'base': _square(768, 3072, 12, 12),
  'large': _square(1024, 4096, 16, 24),
  '3b': replace(_square(1024, 16384, 32, 24), d_kv=128),
  '11b': replace(_square(1024, 65536, 128, 24), d_kv=128),
}

# v1.1 gates with GELU and reads logits off a head of its own; mT5, ByT5 and umT5 follow it.
_GATED = {
  size: replace(_square(*numbers), activation='gelu_new', gated=True, tied_head=False)
  for size, numbers in {
    'small': (512, 1024, 6, 8),
    'base': (768, 2048, 12, 12),
    'large': (1024, 2816, 16, 24),
    'xl': (2048, 5120, 32, 24),
    'xxl': (4096, 10240, 64, 24),
  }.items()
}

# ByT5 (Xue et al. 2022, table 1) spends on an encoder three times as deep as the decoder.
_BYTES = {
  size: Config(
    vocab=384,
    d_model=d_model,
    d_ff=d_ff,
    heads=heads,
    encoder_layers=3 * layers,
    decoder_layers=layers,
    activation='gelu_new',
    gated=True,
    tied_head=False,
  )
  for size, (d_model, d_ff, heads, layers) in {
    'small': (1472, 3584, 6, 4),
    'base': (1536, 3968, 12, 6),
    'large': (1536, 3840, 16, 12),
    'xl': (2560, 6720, 32, 12),
    'xxl': (4672, 12352, 64, 12),
  }.items()
}

# UL2 gates with SiLU and, unlike v1.1, ties its head: 19.46 G parameters, not 19.59 G.
_UL2 = replace(_square(4096, 16384, 16, 32), d_kv=256, activation='silu', gated=True)

SIZES: dict[str, Config] = {
  **{f't5-{size}': cfg for size, cfg in _V1_0.items()},
  **{f't5-v1_1-{size}': cfg for size, cfg in _GATED.items()},
  **{f't5-{size}-lm-adapt': cfg for size, cfg in _GATED.items()},
  **{f'flan-t5-{size}': cfg for size, cfg in _GATED.items()},
  **{f'mt5-{size}': replace(cfg, vocab=250112) for size, cfg in _GATED.items()},
  # There is no umt5-large on the Hub.
  **{
    f'umt5-{size}': replace(_GATED[size], vocab=256384, shared_bias=False)
    for size in ('small', 'base', 'xl', 'xxl')
  },
  **{f'byt5-{size}': cfg for size, cfg in _BYTES.items()},
  'ul2': _UL2,
  'flan-ul2': _UL2,
}


def size_named(name: str) -> Config:
  """The Config of a published T5: 't5-base', 'google-t5/t5-base', 'google/flan-t5-xl'.

  Raises ConfigError, with the names that come nearest, for any other.
  """
  owner, _, bare = name.rpartition('/')
  if owner in ('', 'google', 'google-t5') and bare in SIZES:
    return SIZES[bare]
  near = difflib.get_close_matches(bare, SIZES, n=3)
  raise ConfigError(
    f'No published T5 is called {name!r}.',
    expected=f'one of {", ".join(SIZES)}',
    fix=f'did you mean {" or ".join(near)}?' if near else '',
  )
