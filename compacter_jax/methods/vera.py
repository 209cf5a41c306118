"""VeRA (Kopiczko et al. 2024, arXiv:2310.11454), equation (2): W + left diag(d) right diag(b).

LoRA whose two matrices are random, never trained and the same at all sites; each site trains two
vectors. Sites of different sizes take their part of one pair that is as large as the largest.
"""

import dataclasses
import math

import jax

from compacter_jax.inits import ones, uniform, zeros
from compacter_jax.method import Here, Method, Tuned, match, match_products
from compacter_jax.narrow import scaled
from compacter_jax.settings import check_seed, within
from compacter_jax.weights import alter, whole


@dataclasses.dataclass(frozen=True)
class VeRA(Method):
  """Two vectors that scale a random product of low rank beside each kernel.

  Attributes:
    rank: R.
    d_init: what every number of d is at first; with 0 nothing would ever learn.
    where: pattern of the sites, which must have kernels.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
    seed: draws the random pair.
  """

  rank: int = 256
  d_init: float = 0.1
  where: str = r'.*attention/(q|v)'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None
  seed: int = 0

  def specs(self, sites, frozen):
    """d [R], all d_init, and b [fan_out], zero."""
    within('rank', self.rank, 1)
    within('d_init', self.d_init, 1e-8)
    check_seed('seed', self.seed)
    hits = match_products(sites, frozen, self.where, self.encoder_layers, self.decoder_layers)
    init = lambda key, shape: self.d_init * ones(key, shape)
    pair = lambda s: {'d': s.spec((self.rank,), init), 'b': s.spec((s.fan_out,), zeros)}
    return Tuned(site={path: pair(site) for path, site in hits.items()})

  def constants(self, sites):
    """The random pair: 'left' [fan_in, R] and 'right' [R, fan_out], of the largest sites."""
    hits = match(sites, self.where, self.encoder_layers, self.decoder_layers)
    return Tuned(shared=self._pair([(s.fan_in, s.fan_out) for s in hits.values()]))

  def edit(self, x, y, p, shared, here=Here()):
    """y + b * ((d * (x left)) right)."""
    del here
    left, right = _cut(shared, x.shape[-1], y.shape[-1])
    hidden = scaled(x @ left.astype(x.dtype), p['d'])
    return y + scaled(hidden @ right.astype(x.dtype), p['b']).astype(y.dtype)

  def fold(self, frozen, tuned):
    """W + left diag(d) right diag(b)."""
    sizes = [frozen[whole(f'{path}/kernel')[0]].shape[-2:] for path in tuned.site]
    shared = self._pair(sizes)

    def add(p):
      def change(kernel):
        left, right = _cut(shared, *kernel.shape[-2:])
        return kernel + (left * p['d'][..., None, :]) @ (right * p['b'][..., None, :])

      return change

    return alter(frozen, {path: add(p) for path, p in tuned.site.items()})

  def _pair(self, sizes):
    """Kaiming uniform, U(+-sqrt(6 / fan_in)), as published.  sizes: fan_in and fan_out of each."""
    fan_in, fan_out = map(max, zip(*sizes, strict=True))
    keys = jax.random.split(jax.random.key(self.seed))
    kaiming = lambda key, shape: uniform(math.sqrt(6 / shape[0]))(key, shape)
    return {
      'left': kaiming(keys[0], (fan_in, self.rank)),
      'right': kaiming(keys[1], (self.rank, fan_out)),
    }


def _cut(shared, fan_in, fan_out):
  """The part of the pair that a site of this size takes."""
  return shared['left'][:fan_in], shared['right'][:, :fan_out]
