"""(IA)^3 (Liu et al. 2022, arXiv:2205.05638), section 3.3: learned gains on activations.

Keys, values and the hidden activations of the feed-forward net, after the nonlinearity, are
multiplied by one vector each.
"""

import dataclasses
import functools

import jax.numpy as jnp

from compacter_jax.inits import ones
from compacter_jax.method import Here, Method, Tuned, match
from compacter_jax.weights import alter


@dataclasses.dataclass(frozen=True)
class Ia3(Method):
  """A gain on the output of each site.

  Attributes:
    where: pattern of the sites.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  where: str = r'.*attention/(k|v)|.*/ffn/activation'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """One vector for each site, one at first."""
    del frozen
    hits = match(sites, self.where, self.encoder_layers, self.decoder_layers)
    return Tuned(site={path: {'gain': s.spec((s.fan_out,), ones)} for path, s in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """gain * y."""
    del x, shared, here
    return y * p['gain'].astype(y.dtype)

  def fold(self, frozen, tuned):
    """Gains go into the kernel that makes the output, or into the one that reads the activation."""
    changes = {}
    for path, p in tuned.site.items():
      reads = path.endswith('/activation')
      axes = (slice(None), None) if reads else (None, slice(None))
      gain = jnp.asarray(p['gain'])[(..., *axes)]
      changes[path.removesuffix('activation') + 'wo' if reads else path] = functools.partial(
        jnp.multiply, gain
      )
    missing = [path for path in changes if _kernel(path) not in frozen]
    if missing:
      raise TypeError(f'No kernel of T5 makes the output of {missing[0]}: it cannot be folded.')
    return alter(frozen, changes)


def _kernel(path):
  stack, _, rest = path.partition('/')
  return f'{stack}/layers/{rest.partition("/")[2]}/kernel' if 'layers' in rest else f'{path}/kernel'
