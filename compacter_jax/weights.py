"""T5's weights by path; those of a run of layers have it in their path."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array

Flat = dict[str, Array]  # 'encoder/layers/ffn/wi/kernel', or 'encoder/layers[5:12]/ffn/wi/kernel'

LAYERED = re.compile(r'(?P<stack>\w+)/layers(\[(?P<start>\d+):(?P<stop>\d+)\])?/(?P<path>.+)')


def whole(path: str) -> tuple[str, Any]:
  """Where a run of layers lies: the path of the whole stack, and which of its rows it is."""
  where = LAYERED.fullmatch(path)
  if not where or not where['start']:
    return path, ...
  return f'{where["stack"]}/layers/{where["path"]}', slice(int(where['start']), int(where['stop']))


def merged(weights: Flat) -> Flat:
  """Weights whose runs of layers are laid over the whole; as they are where there are none."""
  if not any('[' in path for path in weights):
    return weights
  out = {path: weight for path, weight in weights.items() if '[' not in path}
  for path, weight in weights.items():
    stack, rows = whole(path)
    if stack != path:
      out[stack] = jnp.asarray(out[stack]).at[rows].set(weight.astype(out[stack].dtype))
  return out


def alter(frozen: Flat, changes: Mapping[str, Callable[[Array], Array]]) -> Flat:
  """T5's weights with the kernels at some sites changed; the others are the same objects.

  changes: by the path of the site, (kernel [..., fan_in, fan_out] in float32) -> the new kernel.
  """
  out = dict(frozen)
  for site, change in changes.items():
    path, rows = whole(f'{site}/kernel')
    kernel = jnp.asarray(out[path])
    new = change(kernel[rows].astype(jnp.float32)).astype(kernel.dtype)
    out[path] = kernel.at[rows].set(new)
  return out
