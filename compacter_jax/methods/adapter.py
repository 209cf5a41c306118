"""Adapters (Houlsby et al. 2019): a bottleneck after self-attention and after the feed-forward.

Placed inside of the sub-layer, before its dropout and T5's residual, never on cross-attention, as
in Karimi Mahabadi et al. 2021. One position only (Pfeiffer et al. 2021) is another `where`, some
layers only (AdapterDrop; Rueckle et al. 2021) is `encoder_layers` and `decoder_layers`.
"""

import dataclasses

from compacter_jax.bottleneck import Bottleneck, Projection, bottleneck_width
from compacter_jax.inits import normal
from compacter_jax.method import Here, Method, Tuned, declare, match


@dataclasses.dataclass(frozen=True)
class Adapter(Method):
  """A dense bottleneck at each site.

  Attributes:
    reduction: d_model / M, M being the width of the bottleneck.
    width: M itself; None goes by `reduction`.
    activation: 'gelu_new', 'gelu', 'relu' or 'silu'.
    where: pattern of the sites.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  reduction: int = 32
  width: int | None = None
  activation: str = 'gelu_new'
  where: str = r'.*/(self_attention|ffn)'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """Two dense layers with biases for each site: weights N(0, 0.01^2), biases 0."""
    del frozen
    hits = match(sites, self.where, self.encoder_layers, self.decoder_layers)
    return Tuned(site={path: declare(self._module(s.fan_out), s) for path, s in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """y + up(activation(down(y)))."""
    del x, shared, here
    return self._module(y.shape[-1]).apply({'params': p}, y)

  def _module(self, features):
    # No parent: the module is made while T5 runs, but is no part of it.
    dense = lambda width: Projection(width, normal(0.01), parent=None)
    width = bottleneck_width(features, self.width, self.reduction)
    return Bottleneck(dense(width), dense(features), self.activation, parent=None)
