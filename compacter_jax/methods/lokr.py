"""LoKr (Yeh et al. 2024, arXiv:2309.14859): W + (alpha / R) A (x) B, a Kronecker product.

A is small and B = s t of rank R. Which sides they have follows the authors' code, LyCORIS.
"""

import dataclasses

from compacter_jax.hypercomplex import kron, kron_sum_times, split
from compacter_jax.inits import uniform, zeros
from compacter_jax.method import Here, Method, Tuned, match_products
from compacter_jax.settings import within
from compacter_jax.weights import alter


@dataclasses.dataclass(frozen=True)
class LoKr(Method):
  """A Kronecker product beside each kernel.

  Attributes:
    rank: R; from half of the longer side of B on, B is whole.
    alpha: the scale, over R.
    factor: the sides of A, where it divides those of the kernel. None, and where it does not, is
      the largest divisor up to the square root (and up to `factor`).
    decompose_both: A = a_left a_right of rank R too, unless R is half of its longer side or more.
    where: pattern of the sites, which must have kernels.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  rank: int = 8
  alpha: float = 8.0
  factor: int | None = None
  decompose_both: bool = False
  where: str = r'.*attention/(q|v)'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """A U(+-1 / sqrt(rows)), t or a_left and a_right too; B, or its factor s, is zero."""
    within('rank', self.rank, 1)
    if self.factor is not None:
      within('factor', self.factor, 1)
    hits = match_products(sites, frozen, self.where, self.encoder_layers, self.decoder_layers)
    return Tuned(site={path: self._arrays(site) for path, site in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """y + scale * x (A (x) B), the kernel never built."""
    del shared, here
    a, b = _factors(p)
    change = kron_sum_times(x, *(f[None].astype(x.dtype) for f in (a, *b)))
    return y + (self.alpha / self.rank * change).astype(y.dtype)

  def fold(self, frozen, tuned):
    """W + scale * A (x) B."""

    def add(p):
      a, b = _factors(p)
      product = kron(a, b[0] @ b[1] if len(b) == 2 else b[0])
      return lambda kernel: kernel + self.alpha / self.rank * product

    return alter(frozen, {path: add(p) for path, p in tuned.site.items()})

  def _arrays(self, site):
    rows, columns = split(site.fan_in, self.factor), split(site.fan_out, self.factor)
    a, b = zip(rows, columns, strict=True)
    drawn = lambda *shape: site.spec(shape, uniform(shape[0] ** -0.5))
    if self.decompose_both and self.rank < max(a) / 2:
      out = {'a_left': drawn(a[0], self.rank), 'a_right': drawn(self.rank, a[1])}
    else:
      out = {'a': drawn(*a)}
    if self.rank < max(b) / 2:
      return {**out, 's': site.spec((b[0], self.rank), zeros), 't': drawn(self.rank, b[1])}
    return {**out, 'b': site.spec(b, zeros)}


def _factors(p):
  """A, and B as one array or as its two factors."""
  a = p['a'] if 'a' in p else p['a_left'] @ p['a_right']
  return a, [p['b']] if 'b' in p else [p['s'], p['t']]
