"""The arrays of a pytree by name, and whether two trees have the same."""

import difflib
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from compacter_jax.checkpoints.manifest import Tree
from compacter_jax.errors import WeightsError

MOST = 10  # differences that are told


def leaves(state: Any) -> tuple[Tree, list[jax.Array]]:
  """Path, shape and dtype of each array, and the arrays.

  Raises TypeError, with the path, for a leaf that would not come back as it is: anything but a
  JAX array, and typed keys of random numbers (keep their `jax.random.key_data`).
  """
  spec, arrays = [], []
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    name = jax.tree_util.keystr(path)
    if not isinstance(leaf, jax.Array) or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
      raise TypeError(f'state{name} is no plain JAX array but a {type(leaf).__name__}')
    spec.append((name, list(leaf.shape), str(leaf.dtype)))
    arrays.append(leaf)
  return spec, arrays


def matched(spec: Tree, like: Any, where: str) -> list[int]:
  """For each leaf of `like`, the place of its array in `spec`.

  Raises WeightsError that names the leaves which are missing, left over or of another kind.
  """
  saved = {path: (place, tuple(shape), dtype) for place, (path, shape, dtype) in enumerate(spec)}
  wanted = {
    jax.tree_util.keystr(path): (tuple(leaf.shape), str(leaf.dtype))
    for path, leaf in jax.tree_util.tree_leaves_with_path(like)
  }
  kind = lambda shape, dtype: f'{dtype}{list(shape)}'
  lines = []
  for path, (shape, dtype) in wanted.items():
    if path not in saved:
      lines.append(f'{path}: not in the checkpoint{_nearest(path, saved.keys() - wanted.keys())}')
    elif saved[path][1:] != (shape, dtype):
      lines.append(f'{path}: expected {kind(shape, dtype)}, got {kind(*saved[path][1:])}')
  lines += [f'{path}: in the checkpoint only' for path in saved if path not in wanted]
  if lines:
    more = f'\n    and {len(lines) - MOST} more' if len(lines) > MOST else ''
    raise WeightsError(
      'This checkpoint has other arrays than the run.',
      where=where,
      expected=f'{len(wanted)} arrays of the run, the same in the checkpoint',
      got=f'{len(lines)} that differ\n    ' + '\n    '.join(lines[:MOST]) + more,
      fix='go on with the model, method and optimizer of that run, or take another folder',
    )
  return [saved[path][0] for path in wanted]


def size(spec: Tree) -> int:
  """Bytes of all arrays."""
  return sum(math.prod(shape) * jnp.dtype(dtype).itemsize for _, shape, dtype in spec)


def _nearest(path: str, others: Sequence[str] | set[str]) -> str:
  near = difflib.get_close_matches(path, others, 1)
  return f', which has {near[0]}' if near else ''
