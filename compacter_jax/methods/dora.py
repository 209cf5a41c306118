"""DoRA (Liu et al. 2024, arXiv:2402.09353), equation (5): m (W + s a b) / |W + s a b|.

LoRA, with the norm of each output's column of the kernel trained apart from its direction. The norm
that divides is a constant to the gradient, as section 4.3 has it.
"""

import dataclasses

import jax
import jax.numpy as jnp

from compacter_jax.errors import ConfigError
from compacter_jax.method import Here, Method, Tuned, fields, match_products
from compacter_jax.methods.lora import LoRA
from compacter_jax.weights import alter, whole


@dataclasses.dataclass(frozen=True)
class DoRA(Method):
  """A product of low rank beside each kernel, and the magnitude of each of its columns.

  Attributes:
    rank: R.
    alpha: the scale s, over R.
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
    """a and b as LoRA has them, and the magnitude [fan_out], at first the norms of W's columns."""
    pairs = self._lora().specs(sites, frozen).site
    hits = match_products(sites, frozen, self.where, self.encoder_layers, self.decoder_layers)
    magnitude = lambda s: s.spec((s.fan_out,), _norms_at(s.path, frozen))
    return Tuned(site={path: {**pairs[path], 'm': magnitude(s)} for path, s in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """(y + s * dropout(x) a b) m / |W + s a b|."""
    if here.weight is None:
      raise ConfigError(
        'DoRA turns a kernel, but another part of the chain edits the output of the kernel first.',
        expected='DoRA in front of all other parts at its sites',
        got=f'where={self.where!r}',
        fix='change the order of the parts, or the pattern of one',
      )
    lora = self._lora()
    gain = jax.lax.stop_gradient(_over_norms(here.weight().astype(jnp.float32) + lora.change(p)))
    # In float32: in bfloat16 a gain near 1 would move in steps of 0.4 %.
    y = lora.edit(x, y, p, shared, here)
    return (p['m'] * gain * y.astype(jnp.float32)).astype(y.dtype)

  def fold(self, frozen, tuned):
    """m (W + s a b) / |W + s a b|."""

    def turn(p):
      def change(kernel):
        direction = kernel + self._lora().change(p)
        return direction * (p['m'] * _over_norms(direction))[..., None, :]

      return change

    return alter(frozen, {path: turn(p) for path, p in tuned.site.items()})

  def _lora(self):
    return LoRA(**fields(self))


def _norms(kernel):
  """[..., fan_in, fan_out] -> [..., fan_out]."""
  return jnp.linalg.norm(kernel, axis=-2)


def _over_norms(kernel):
  """One over each norm; a column of zeros has none and stays as it is."""
  norms = _norms(kernel)
  return 1 / jnp.where(norms > 0, norms, 1)


def _norms_at(site, frozen):
  path, rows = whole(f'{site}/kernel')
  return lambda key, shape: _norms(jnp.asarray(frozen[path][rows]).astype(jnp.float32))
