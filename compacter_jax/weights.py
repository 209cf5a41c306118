"""T5's weights by path; those of a run of layers have it in their path."""

import re
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jax import Array

Flat = dict[str, Array]  # 'encoder/layers/ffn/wi/kernel', or 'encoder/layers[5:12]/ffn/wi/kernel'

LAYERED = re.compile(r'(?P<stack>\w+)/layers(\[(?P<start>\d+):(?P<stop>\d+)\])?/(?P<path>.+)')


def merged(weights: Flat) -> Flat:
  """Weights whose runs of layers are laid over the whole; as they are where there are none."""
  if not any('[' in path for path in weights):
    return weights
  out = {path: weight for path, weight in weights.items() if '[' not in path}
  for path, weight in weights.items():
    where = LAYERED.fullmatch(path)
    if where and where['start']:
      whole = f'{where["stack"]}/layers/{where["path"]}'
      rows = slice(int(where['start']), int(where['stop']))
      out[whole] = jnp.asarray(out[whole]).at[rows].set(weight.astype(out[whole].dtype))
  return out


def alter(frozen: Flat, changes: Mapping[str, Callable[[Array], Array]]) -> Flat:
  """T5's weights with the kernels at some sites changed; the others are the same objects.

  changes: by the path of the site, (kernel [..., fan_in, fan_out] in float32) -> the new kernel.
  """
  out = dict(frozen)
  for site, change in changes.items():
    where = LAYERED.fullmatch(site)
    bare = f'{where["stack"]}/layers/{where["path"]}' if where else site
    rows = slice(int(where['start']), int(where['stop'])) if where and where['start'] else ...
    whole = jnp.asarray(out[f'{bare}/kernel'])
    new = change(whole[rows].astype(jnp.float32)).astype(whole.dtype)
    out[f'{bare}/kernel'] = whole.at[rows].set(new)
  return out
