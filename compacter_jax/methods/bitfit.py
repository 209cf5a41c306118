"""BitFit (Ben Zaken et al. 2022, arXiv:2106.10199): train biases only.

T5 has none, so they are born at zero where the reference implementation of Karimi Mahabadi et al.
2021 puts them: on every product and norm within the layers, and on the head's logits. Those on keys
are counted as published, but cannot learn: they add the same to all scores of a query.
"""

import dataclasses

from compacter_jax.inits import zeros
from compacter_jax.method import Here, Method, Tuned, match
from compacter_jax.narrow import biased


@dataclasses.dataclass(frozen=True)
class BitFit(Method):
  """A bias on the output of each site.

  Attributes:
    where: pattern of the sites; '.*/layers/...' alone leaves the head without a bias.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  where: str = r'.*/layers/(.*/(q|k|v|o|wi|wi_0|wi_1|wo)|.*_norm)|lm_head'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """One vector for each site, zero at first."""
    del frozen
    hits = match(sites, self.where, self.encoder_layers, self.decoder_layers)
    return Tuned(site={path: {'bias': s.spec((s.fan_out,), zeros)} for path, s in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """y + bias."""
    del x, shared, here
    return biased(y, p['bias'])
