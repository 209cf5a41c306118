"""Parallel adapters (He et al. 2022, arXiv:2110.04366), section 4: y + s up(activation(down(x))).

They read the input x of a sub-layer instead of its output y; on the feed-forward and scaled by s is
the paper's best. T5 norms that input, and so x is normed here. The authors' code reads the residual
stream before the norm where a model has its norms in front (mBART).
"""

import dataclasses

from compacter_jax.bottleneck import ACTIVATIONS, bottleneck_width
from compacter_jax.inits import ones, uniform, zeros
from compacter_jax.method import Here, Method, Tuned, match
from compacter_jax.narrow import biased, scaled
from compacter_jax.settings import choose, within


@dataclasses.dataclass(frozen=True)
class ParallelAdapter(Method):
  """A dense bottleneck beside each site.

  Attributes:
    reduction: d_model / M, M being the width of the bottleneck.
    width: M itself; None goes by `reduction`.
    activation: 'gelu_new', 'gelu', 'relu' or 'silu'.
    scale: s; the authors take 4, and 2 where they classify.
    learn_scale: whether each site trains an s of its own, from `scale` on (as published, from 1).
    where: pattern of the sites.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  reduction: int = 2
  width: int | None = None
  activation: str = 'relu'
  scale: float = 4.0
  learn_scale: bool = False
  where: str = r'.*/ffn'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """Two dense layers with biases; down from U(+-1 / sqrt(fan_in)), all else zero, as LoRA."""
    del frozen
    choose('activation', self.activation, ACTIVATIONS)
    within('scale', abs(self.scale), 1e-8)  # with 0 nothing would ever learn
    hits = match(sites, self.where, self.encoder_layers, self.decoder_layers)
    return Tuned(site={path: self._declared(site) for path, site in hits.items()})

  def edit(self, x, y, p, shared, here=Here()):
    """y + s up(activation(down(x)))."""
    del shared, here
    hidden = ACTIVATIONS[self.activation](_apply(p['down'], x))
    change = _apply(p['up'], hidden)
    return y + (scaled(change, p['scale']) if self.learn_scale else self.scale * change)

  def _declared(self, site):
    width = bottleneck_width(site.fan_in, self.width, self.reduction)
    kernel, bias = site.spec((site.fan_in, width), uniform(site.fan_in**-0.5)), (width,)
    out = {
      'down': {'kernel': kernel, 'bias': site.spec(bias, zeros)},
      'up': {
        'kernel': site.spec((width, site.fan_out), zeros),
        'bias': site.spec((site.fan_out,), zeros),
      },
    }
    start = lambda key, shape: self.scale * ones(key, shape)
    return out | ({'scale': site.spec((), start)} if self.learn_scale else {})


def _apply(p, x):
  """A dense layer in the dtype of x.  x: [..., fan_in] -> [..., features]."""
  return biased(x @ p['kernel'].astype(x.dtype), p['bias'])
