"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691), as in Karimi Mahabadi et al. 2021.

P trained vectors in front of the encoder's input embeddings: they are positions like any other, and
the decoder sees them too.
"""

import dataclasses

import jax
import jax.numpy as jnp

from compacter_jax.errors import ConfigError
from compacter_jax.inits import uniform
from compacter_jax.method import Method, Spec, Tuned
from compacter_jax.settings import choose, within

_FREQUENT = 5_000  # SentencePiece sorts its pieces by frequency


@dataclasses.dataclass(frozen=True)
class Prompt(Method):
  """A soft prompt.

  Attributes:
    length: P.
    init: 'uniform' (bound `range`), 'vocabulary' (the embeddings of the first P ids, the most
      frequent pieces), 'text' (those of the pieces of `text`, over and over) or 'labels' (one for
      each of the task's labels, the mean of its pieces; the rest are drawn from the 5,000 most
      frequent, as in section 3.2 of Lester et al.).
    range: of 'uniform'.
    text: of 'text', e.g. a description of the task.
    rows: the ids whose mean each vector starts from; `prepare` finds them for 'text' and 'labels'.
  """

  length: int = 100
  init: str = 'uniform'
  range: float = 0.5
  text: str = ''
  rows: tuple[tuple[int, ...], ...] = ()

  def prepare(self, tokenize, labels):
    """Looks up the pieces of the text, or of the task's labels."""
    if self.init not in ('text', 'labels'):
      return self
    texts = labels if self.init == 'labels' else ()
    pieces = [(i,) for i in tokenize(self.text)] if self.init == 'text' else map(tokenize, texts)
    rows = tuple(map(tuple, pieces))
    if not 1 <= len(rows) <= self.length or not all(rows):
      raise ConfigError(
        f'The prompt cannot start from the {self.init}.',
        where='length, text' if self.init == 'text' else 'length, init',
        expected=f'1 to {self.length} pieces of text, or labels',
        got=f'{len(rows)}',
        fix='change length, or init',
      )
    return dataclasses.replace(self, rows=rows)

  def specs(self, sites, frozen):
    """One array [P, D]; from the vocabulary, its rows are copied once the weights are there."""
    del sites
    choose('init', self.init, ('uniform', 'vocabulary', 'text', 'labels'))
    within('length', self.length, 1)
    table = frozen['token_embedding']
    init, shape = uniform(self.range), (self.length, table.shape[1])
    if self.init != 'uniform':
      self._check(table.shape[0])
      init = lambda key, shape: self._start(key, jnp.asarray(table, jnp.float32))
    return Tuned(prompt={'prompt': Spec(shape, init, (None, 'embed'))})

  def prompt(self, x, mask, p):
    """The prompt in front.  x: [B,S,D], mask: [B,S]."""
    # Rounded behind the broadcast: its gradient is a sum over rows, in float32 so.
    front = jnp.broadcast_to(p['prompt'], (len(x), *p['prompt'].shape)).astype(x.dtype)
    seen = jnp.ones((len(x), self.length), mask.dtype)
    return jnp.concatenate([front, x], 1), jnp.concatenate([seen, mask], 1)

  def _start(self, key, table):
    """The prompt as it starts.  table: [V,D] -> [P,D]."""
    if self.init == 'vocabulary':
      return table[: self.length]
    if not self.rows:
      raise ConfigError(
        f'The {self.init} were not turned into ids.',
        where='init',
        expected='a method that is prepared',
        got=repr(self.init),
        fix='method = method.prepare(tokenize, labels)',
      )
    start = jnp.stack([table[jnp.array(ids)].mean(0) for ids in self.rows])
    if self.init == 'text':
      return jnp.tile(start, (-(-self.length // len(start)), 1))[: self.length]
    others = jax.random.choice(key, min(_FREQUENT, len(table)), (self.length - len(start),))
    return jnp.concatenate([start, table[others]])

  def _check(self, vocab):
    """Raises ConfigError unless the vocabulary has the rows to start from."""
    named = [i for row in self.rows for i in row]
    ids = [self.length - 1] if self.init == 'vocabulary' else named
    if wrong := [i for i in ids if not 0 <= i < vocab]:
      raise ConfigError(
        'The prompt has no such rows of the vocabulary to start from.',
        where='length' if self.init == 'vocabulary' else 'rows',
        expected=f'ids from 0 to {vocab - 1}',
        got=f'{wrong[0]}',
      )
