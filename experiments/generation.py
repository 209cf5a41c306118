"""What is trained, answering rows on a mesh."""

from collections.abc import Callable

import numpy as np
from jax import Array

from compacter_jax import evaluate
from compacter_jax.data import Encoded, Tokenizer
from compacter_jax.method import Tuned
from compacter_jax.model import Model
from compacter_jax.placement import Placement
from compacter_jax.weights import Flat


class Generation:
  """Generates answers; to be called while the mesh is set."""

  def __init__(
    self,
    model: Model,
    tokenizer: Tokenizer,
    placement: Placement,
    frozen: Flat,
    batch_size: int,
    between: Callable[[tuple[int, ...]], None] = lambda shape: None,
  ):
    """frozen: the weights that are still read, on the mesh. batch_size: rows at a time.

    between: is told what decides the program of each batch before it is begun, and may raise.
    """
    self._model, self._tokenizer, self._placement = model, tokenizer, placement
    self._frozen, self._batch_size, self._between = frozen, batch_size, between

  def answers(self, tuned: Tuned, split: Encoded, steps: int) -> list[str]:
    """The text for each row, of at most `steps` ids, in the order of the split."""
    ways = self._placement.ways
    size = -(-min(self._batch_size, len(split)) // ways) * ways
    args = self._model, self._placement.tuned(tuned), self._frozen, split, self._tokenizer
    return evaluate.predict(*args, size, steps, lambda each: self._table(each, steps))

  def _table(self, sources: np.ndarray, steps: int) -> Array:
    self._between((*sources.shape, steps))
    return self._placement.table(sources)
