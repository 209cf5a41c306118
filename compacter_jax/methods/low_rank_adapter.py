"""Low-rank adapter (Karimi Mahabadi et al. 2021, section 5.1): both projections of rank R.

The paper's code multiplies the two factors element by element, which is their product only for
R = 1, the published rank. Here it is a product for every R.
"""

import dataclasses

from flax import linen as nn

from compacter_jax import inits
from compacter_jax.bottleneck import Bottleneck, bottleneck_width
from compacter_jax.method import Here, Method, Tuned, declare, match
from compacter_jax.narrow import biased
from compacter_jax.settings import within


class LowRankDense(nn.Module):
  """y = x left right + bias.  [..., fan_in] -> [..., features]."""

  features: int
  rank: int

  @nn.compact
  def __call__(self, x):
    """x: [..., fan_in]."""
    left = self.param('left', inits.glorot_uniform, (x.shape[-1], self.rank))
    right = self.param('right', inits.glorot_uniform, (self.rank, self.features))
    bias = self.param('bias', inits.zeros, (self.features,))
    return biased((x @ left.astype(x.dtype)) @ right.astype(x.dtype), bias)


@dataclasses.dataclass(frozen=True)
class LowRankAdapter(Method):
  """A bottleneck of low-rank projections at each site.

  Attributes:
    rank: R of each projection.
    reduction: d_model / M, M being the width of the bottleneck.
    width: M itself; None goes by `reduction`.
    activation: 'gelu_new', 'gelu', 'relu' or 'silu'.
    where: pattern of the sites.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  rank: int = 1
  reduction: int = 32
  width: int | None = None
  activation: str = 'gelu_new'
  where: str = r'.*/(self_attention|ffn)'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """Two factors and a bias for each projection; factors Glorot uniform, biases 0."""
    del frozen
    within('rank', self.rank, 1)
    hits = match(sites, self.where, self.encoder_layers, self.decoder_layers)
    return Tuned(site={path: declare(self._module(s.fan_out), s) for path, s in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """y + up(activation(down(y)))."""
    del x, shared, here
    return self._module(y.shape[-1]).apply({'params': p}, y)

  def _module(self, features):
    # No parent: the module is made while T5 runs, but is no part of it.
    dense = lambda width: LowRankDense(width, self.rank, parent=None)
    width = bottleneck_width(features, self.width, self.reduction)
    return Bottleneck(dense(width), dense(features), self.activation, parent=None)
