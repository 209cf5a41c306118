"""KronA (Edalati et al. 2022, arXiv:2212.10650): W + s A (x) B, one Kronecker product.

Beside the whole feed-forward net, `where='.*/ffn'`, the same product is the paper's KronA^B.
"""

import dataclasses

from compacter_jax.divisors import divisors
from compacter_jax.errors import ConfigError
from compacter_jax.hypercomplex import kron, kron_sum_times, split
from compacter_jax.inits import uniform, zeros
from compacter_jax.method import Here, Method, Tuned, match
from compacter_jax.weights import alter, whole


@dataclasses.dataclass(frozen=True)
class KronA(Method):
  """A Kronecker product beside each site.

  Attributes:
    rows, columns: of A; divide the sizes of the input and of the output. None is the divisor next
      below the square root for rows, above it for columns: A and B are then about as large, and
      trained is the least.
    scale: s.
    where: pattern of the sites.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  rows: int | None = None
  columns: int | None = None
  scale: float = 1.0
  where: str = r'.*attention/(q|v)'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """A U(+-1 / sqrt(rows)) and B [fan_in / rows, fan_out / columns], zero."""
    del frozen
    hits = match(sites, self.where, self.encoder_layers, self.decoder_layers)
    return Tuned(site={path: self._pair(site) for path, site in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """y + s * x (A (x) B), the kernel never built."""
    del shared, here
    change = kron_sum_times(x, *(p[name][None].astype(x.dtype) for name in 'ab'))
    return y + (self.scale * change).astype(y.dtype)

  def fold(self, frozen, tuned):
    """W + s A (x) B."""
    missing = [path for path in tuned.site if whole(f'{path}/kernel')[0] not in frozen]
    if missing:
      raise TypeError(f'{missing[0]} is no product with a kernel: it cannot be folded.')
    add = lambda p: lambda kernel: kernel + self.scale * kron(p['a'], p['b'])
    return alter(frozen, {path: add(p) for path, p in tuned.site.items()})

  def _pair(self, site):
    rows = split(site.fan_in)[0] if self.rows is None else self.rows
    columns = split(site.fan_out)[1] if self.columns is None else self.columns
    for field, side, size in ('rows', rows, site.fan_in), ('columns', columns, site.fan_out):
      if side < 1 or size % side:
        raise ConfigError(
          f'A Kronecker product cannot have the size of {site.path}.',
          where=field,
          expected=f'a divisor of {size}: {divisors(size)}',
          got=str(side),
        )
    return {
      'a': site.spec((rows, columns), uniform(rows**-0.5)),
      'b': site.spec((site.fan_in // rows, site.fan_out // columns), zeros),
    }
