"""LoRA (Hu et al. 2022, arXiv:2106.09685), section 4: W + (alpha / R) a b, of rank R.

The rank-stabilised scale alpha / sqrt(R) is that of Kalajdzievski 2023 (arXiv:2312.03732).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from compacter_jax.inits import uniform, zeros
from compacter_jax.method import Here, Method, Tuned, match_products
from compacter_jax.settings import within
from compacter_jax.weights import alter


@dataclasses.dataclass(frozen=True)
class LoRA(Method):
  """A product of low rank beside each kernel.

  Attributes:
    rank: R.
    alpha: the scale, over R.
    rank_stabilized: the scale is alpha / sqrt(R) instead.
    dropout: of the input of the low-rank product, while training.
    where: pattern of the sites, which must have kernels.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  rank: int = 8
  alpha: float = 16.0
  rank_stabilized: bool = False
  dropout: float = 0.0
  where: str = r'.*attention/(q|v)'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """a [fan_in, R], drawn from U(+-1 / sqrt(fan_in)) as the authors' code does, and b zero."""
    within('rank', self.rank, 1)
    within('dropout', self.dropout, 0, 0.99)
    hits = match_products(sites, frozen, self.where, self.encoder_layers, self.decoder_layers)
    pair = lambda s: {
      'a': s.spec((s.fan_in, self.rank), uniform(s.fan_in**-0.5)),
      'b': s.spec((self.rank, s.fan_out), zeros),
    }
    return Tuned(site={path: pair(site) for path, site in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """y + scale * dropout(x) a b."""
    del shared
    if here.key is not None and self.dropout:
      keep = jax.random.bernoulli(here.key, 1 - self.dropout, x.shape)
      x = jnp.where(keep, x / (1 - self.dropout), 0).astype(x.dtype)
    change = (x @ p['a'].astype(x.dtype)) @ p['b'].astype(x.dtype)
    return y + (self._scale() * change).astype(y.dtype)

  def fold(self, frozen, tuned):
    """W + scale * a b."""
    add = lambda p: lambda kernel: kernel + self.change(p)
    return alter(frozen, {path: add(p) for path, p in tuned.site.items()})

  def change(self, p):
    """scale * a b, what a kernel changes by: [..., fan_in, fan_out]."""
    return self._scale() * (p['a'] @ p['b'])

  def _scale(self):
    return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)
