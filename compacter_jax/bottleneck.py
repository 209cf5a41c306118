"""The bottleneck that every adapter is: down, activation, up and a skip."""

from collections.abc import Callable

import jax
from flax import linen as nn

from compacter_jax import inits
from compacter_jax.errors import ConfigError
from compacter_jax.narrow import biased

ACTIVATIONS: dict[str, Callable] = {
  'gelu_new': lambda x: jax.nn.gelu(x, approximate=True),  # the tanh form, as in the paper's runs
  'gelu': lambda x: jax.nn.gelu(x, approximate=False),
  'relu': jax.nn.relu,
  'silu': jax.nn.silu,
}


def bottleneck_width(d_model: int, width: int | None, reduction: int) -> int:
  """M: the width that is given, else d_model // reduction.  Raises ConfigError below 1."""
  chosen = d_model // reduction if width is None and reduction > 0 else width
  if chosen is None or chosen < 1:
    raise ConfigError(
      'A bottleneck needs at least one unit.',
      where='width, reduction',
      expected=f'1 <= width, or 1 <= reduction <= {d_model}',
      got=f'width={width}, reduction={reduction}',
    )
  return chosen


class Projection(nn.Module):
  """y = x kernel + bias.  [..., fan_in] -> [..., features]."""

  features: int
  init: Callable

  @nn.compact
  def __call__(self, x):
    """x: [..., fan_in]; the result has its dtype."""
    kernel = self.param('kernel', self.init, (x.shape[-1], self.features))
    bias = self.param('bias', inits.zeros, (self.features,))
    return biased(x @ kernel.astype(x.dtype), bias)


class Bottleneck(nn.Module):
  """A(z) = z + up(activation(down(z))) (Houlsby et al. 2019); what differs is the projection."""

  down: nn.Module
  up: nn.Module
  activation: str = 'gelu_new'

  def __call__(self, z, down_shared=(), up_shared=()):
    """z: [..., D] -> [..., D].  Further arguments of each projection follow."""
    if self.activation not in ACTIVATIONS:
      raise ConfigError(
        'Unknown activation.', expected=f'one of {sorted(ACTIVATIONS)}', got=repr(self.activation)
      )
    hidden = ACTIVATIONS[self.activation](self.down(z, *down_shared))
    return z + self.up(hidden, *up_shared)
