"""A training state on disk, to go on from with the very same bits: one safetensors file.

Weights that stay frozen are no part of a state. The file is written whole or not at all.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from compacter_jax import tensor_file
from compacter_jax.errors import WeightsError


def save_state(path: str | Path, state: Any, about: str) -> None:
  """Writes all arrays of a pytree.  about: what the state belongs to, checked when it is read."""
  leaves = {name: np.asarray(leaf) for name, leaf in _named(state).items()}
  tensor_file.write(path, leaves, {'about': about})


def load_state(path: str | Path, like: Any, about: str) -> Any:
  """The pytree in that file, of the structure, shapes and dtypes of `like`.

  Raises WeightsError for a file that is damaged, of something else, or of another structure.
  """
  found = tensor_file.metadata(path).get('about')
  if found != about:
    raise WeightsError(
      'This state is of another run.', where=str(path), expected=about, got=str(found)
    )
  arrays, wanted = tensor_file.read(path), _named(like)
  kind = lambda leaves: {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
  if kind(arrays) != kind(wanted):
    odd = sorted(set(kind(arrays).items()) ^ set(kind(wanted).items()))
    raise WeightsError('This state does not fit.', where=str(path), got=str(odd[:4]))
  leaves = [jnp.asarray(arrays[name]) for name in wanted]
  return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(tree: Any) -> dict[str, Any]:
  return {jax.tree_util.keystr(k): leaf for k, leaf in jax.tree_util.tree_leaves_with_path(tree)}
