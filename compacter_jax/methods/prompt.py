"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691), as in Karimi Mahabadi et al. 2021.

P trained vectors in front of the encoder's input embeddings: they are positions like any other, and
the decoder sees them too.
"""

import dataclasses

import jax.numpy as jnp

from compacter_jax.errors import ConfigError
from compacter_jax.inits import uniform
from compacter_jax.method import Method, Spec, Tuned
from compacter_jax.settings import choose, within


@dataclasses.dataclass(frozen=True)
class Prompt(Method):
  """A soft prompt.

  Attributes:
    length: P.
    init: 'uniform' (bound `range`), 'vocabulary' (the embeddings of the first P ids, the most
      frequent pieces) or 'ids' (those of `ids`, over and over).
    range: of 'uniform'.
    ids: of 'ids', e.g. the pieces of a description of the task or of its labels.
  """

  length: int = 100
  init: str = 'uniform'
  range: float = 0.5
  ids: tuple[int, ...] = ()

  def specs(self, sites, frozen):
    """One array [P, D]; from the vocabulary, its rows are copied once the weights are there."""
    del sites
    choose('init', self.init, ('uniform', 'vocabulary', 'ids'))
    within('length', self.length, 1)
    table = frozen['token_embedding']
    init, shape = uniform(self.range), (self.length, table.shape[1])
    if self.init != 'uniform':
      rows = jnp.array(self._rows(table.shape[0]))
      init = lambda key, shape: jnp.asarray(table)[rows].astype(jnp.float32)
    return Tuned(prompt={'prompt': Spec(shape, init, (None, 'embed'))})

  def prompt(self, x, mask, p):
    """The prompt in front.  x: [B,S,D], mask: [B,S]."""
    front = jnp.broadcast_to(p['prompt'].astype(x.dtype), (len(x), *p['prompt'].shape))
    seen = jnp.ones((len(x), self.length), mask.dtype)
    return jnp.concatenate([front, x], 1), jnp.concatenate([seen, mask], 1)

  def _rows(self, vocab):
    """The ids whose embeddings the prompt starts from."""
    ids = self.ids if self.init == 'ids' else range(self.length)
    rows = [ids[i % len(ids)] for i in range(self.length)] if ids else [-1]
    if not all(0 <= i < vocab for i in rows):
      raise ConfigError(
        'The prompt has no such rows of the vocabulary to start from.',
        where='ids' if self.init == 'ids' else 'length',
        expected=f'ids from 0 to {vocab - 1}',
        got=str(ids),
      )
    return rows
