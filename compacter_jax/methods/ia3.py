"""(IA)^3 (Liu et al. 2022, arXiv:2205.05638), section 3.3: learned gains on activations.

Keys, values and the hidden activations of the feed-forward net, after the nonlinearity, are
multiplied by one vector each.
"""

import dataclasses
import functools

import jax.numpy as jnp

from compacter_jax.inits import ones
from compacter_jax.method import Here, Method, Tuned, match
from compacter_jax.narrow import scaled
from compacter_jax.weights import alter, whole


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
    return scaled(y, p['gain'])

  def fold(self, frozen, tuned):
    """Gains go into the kernel that makes the output, or into the one that reads the activation."""
    changes = []  # a kernel may be changed on both of its sides
    for path, p in tuned.site.items():
      if path.endswith('/activation'):
        reader = path.removesuffix('activation') + 'wo'
        changes.append((reader, functools.partial(jnp.multiply, p['gain'][..., :, None])))
      else:
        changes.append((path, functools.partial(jnp.multiply, p['gain'][..., None, :])))
    for path, change in changes:
      if whole(f'{path}/kernel')[0] not in frozen:
        raise TypeError(f'No kernel of T5 makes the output of {path}: it cannot be folded.')
      frozen = alter(frozen, {path: change})
    return frozen
