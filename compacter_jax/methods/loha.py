"""LoHa (Yeh et al. 2024, arXiv:2309.14859): W + (alpha / R) (a1 b1) * (a2 b2), element by element.

The Hadamard product of two products of rank R, whose rank is up to R^2, is that of FedPara
(Hyeon-Woo et al. 2022, arXiv:2108.06098, proposition 1).
"""

import dataclasses

from compacter_jax.inits import normal, zeros
from compacter_jax.method import Here, Method, Tuned, match_products
from compacter_jax.settings import within
from compacter_jax.weights import alter


@dataclasses.dataclass(frozen=True)
class LoHa(Method):
  """A Hadamard product of two products of low rank beside each kernel.

  Attributes:
    rank: R.
    alpha: the scale, over R.
    where: pattern of the sites, which must have kernels.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  rank: int = 8
  alpha: float = 8.0
  where: str = r'.*attention/(q|v)'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """a1, a2 [fan_in, R] and b1, b2 [R, fan_out], drawn as the authors' code does: b2 is zero."""
    within('rank', self.rank, 1)
    hits = match_products(sites, frozen, self.where, self.encoder_layers, self.decoder_layers)
    four = lambda s: {
      'a1': s.spec((s.fan_in, self.rank), normal(1.0)),
      'b1': s.spec((self.rank, s.fan_out), normal(0.1)),
      'a2': s.spec((s.fan_in, self.rank), normal(1.0)),
      'b2': s.spec((self.rank, s.fan_out), zeros),
    }
    return Tuned(site={path: four(site) for path, site in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """y + scale * x ((a1 b1) * (a2 b2))."""
    del shared, here
    fan_in, fan_out = x.shape[-1], y.shape[-1]
    if self.rank**2 * (fan_in + fan_out) < fan_in * fan_out:
      # The kernel is a product of rank R^2: of all pairs of columns and all pairs of rows.
      a = (p['a1'][:, :, None] * p['a2'][:, None, :]).reshape(fan_in, -1)
      b = (p['b1'][:, None, :] * p['b2'][None, :, :]).reshape(-1, fan_out)
      change = (x @ a.astype(x.dtype)) @ b.astype(x.dtype)
    else:
      change = x @ _kernel(p).astype(x.dtype)
    return y + (self.alpha / self.rank * change).astype(y.dtype)

  def fold(self, frozen, tuned):
    """W + scale * (a1 b1) * (a2 b2)."""
    add = lambda p: lambda kernel: kernel + self.alpha / self.rank * _kernel(p)
    return alter(frozen, {path: add(p) for path, p in tuned.site.items()})


def _kernel(p):
  return (p['a1'] @ p['b1']) * (p['a2'] @ p['b2'])
