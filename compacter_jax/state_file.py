"""A training state on disk, to go on from with the very same bits: one safetensors file.

Weights that stay frozen are no part of a state. The file is written whole or not at all, and has
the SHA-256 of all arrays, so that one bit that flipped is seen.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from compacter_jax import tensor_file
from compacter_jax.errors import WeightsError


def save_state(path: str | Path, state: Any, about: str) -> None:
  """Writes all arrays of a pytree.  about: what the state belongs to, checked when it is read.

  Raises StorageError where the file cannot be written.
  """
  leaves = {name: np.asarray(leaf) for name, leaf in _named(state).items()}
  tensor_file.write(path, leaves, {'about': about, 'sha256': _digest(leaves)})


def load_state(path: str | Path, like: Any, about: str) -> Any:
  """The pytree in that file, of the structure, shapes and dtypes of `like`.

  like: arrays, or `jax.ShapeDtypeStruct`s. Raises WeightsError for a file that is damaged, of
  something else, or of another structure.
  """
  told = tensor_file.metadata(path)
  if told.get('about') != about:
    raise WeightsError(
      'This state is of another run.', where=str(path), expected=about, got=f'{told.get("about")}'
    )
  arrays, wanted = tensor_file.read(path), _named(like)
  if odd := _differences(arrays, wanted):
    raise WeightsError(
      'This state has other arrays.',
      where=str(path),
      expected=', '.join(f'{name} {_kind(wanted.get(name))}' for name in odd[:4]),
      got=', '.join(f'{name} {_kind(arrays.get(name))}' for name in odd[:4]),
    )
  if _digest(arrays) != told.get('sha256'):
    raise _damaged(path)
  leaves = [jnp.asarray(arrays[name]) for name in wanted]
  return jax.tree.unflatten(jax.tree.structure(like), leaves)


def check(path: str | Path) -> str:
  """Reads a state whatever it is of; what it says of itself.  Raises WeightsError for damage."""
  told = tensor_file.metadata(path)
  if _digest(tensor_file.read(path)) != told.get('sha256'):
    raise _damaged(path)
  return told.get('about', '')


def _damaged(path: str | Path) -> WeightsError:
  fix = 'remove it; the run then starts from step 0'
  return WeightsError('This state is damaged.', where=str(path), fix=fix)


def _named(tree: Any) -> dict[str, Any]:
  return {jax.tree_util.keystr(k): leaf for k, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _kind(leaf: Any) -> str:
  return 'absent' if leaf is None else f'{leaf.dtype}{list(leaf.shape)}'


def _differences(arrays: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
  names = sorted(arrays.keys() | wanted.keys())
  return [name for name in names if _kind(arrays.get(name)) != _kind(wanted.get(name))]


def _digest(leaves: Mapping[str, np.ndarray]) -> str:
  digest = hashlib.sha256()
  for name, leaf in sorted(leaves.items()):
    digest.update(f'{name} {_kind(leaf)}\n'.encode())
    digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
  return digest.hexdigest()
