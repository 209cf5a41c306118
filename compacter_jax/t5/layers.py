"""The plain layers of T5: dense without bias, RMS norm, feed-forward."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from compacter_jax import inits
from compacter_jax.graft import Hook
from compacter_jax.narrow import elementwise, product
from compacter_jax.t5.config import Config
from compacter_jax.t5.dropout import Dropout

ACTIVATIONS = {'relu': jax.nn.relu, 'gelu_new': jax.nn.gelu, 'silu': jax.nn.silu}


def _gated(activation: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
  return lambda x, gate: activation(x) * gate


GATED = {name: _gated(activation) for name, activation in ACTIVATIONS.items()}


class Dense(nn.Module):
  """y = x W.  [..., fan_in] -> [..., features], computed in `dtype`; the result is in `out`."""

  fan_in: int
  features: int
  std: float
  dtype: jnp.dtype
  out: jnp.dtype | None = None

  def setup(self):
    self.kernel = self.param('kernel', inits.normal(self.std), (self.fan_in, self.features))

  def __call__(self, x: Array, hook: Hook) -> Array:
    """x: [..., fan_in]."""
    rows = 'abcdefgh'[: x.ndim - 1]
    y = product(f'{rows}x,xy->{rows}y', x, self.weight(), self.out)
    return hook('/'.join(self.path), x, y, self.weight)

  def weight(self) -> Array:
    """W, [fan_in, features], in the dtype of the products."""
    return self.kernel.astype(self.dtype)


class Norm(nn.Module):
  """T5's layer norm: a root mean square, no mean and no bias, its statistics in float32."""

  epsilon: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array, hook: Hook) -> Array:
    """x: [..., D] -> [..., D]."""
    scale = self.param('scale', inits.ones, (x.shape[-1],))
    wide = x.astype(jnp.float32)
    y = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + self.epsilon)
    y = (y * scale.astype(jnp.float32)).astype(self.dtype)
    return hook('/'.join(self.path), x, y)


class Ffn(nn.Module):
  """The feed-forward net, plain (T5 v1.0) or gated (v1.1 and later; Shazeer 2020)."""

  cfg: Config
  dtype: jnp.dtype
  training: bool

  def setup(self):
    cfg = self.cfg
    wide = lambda: Dense(cfg.d_model, cfg.d_ff, cfg.d_model**-0.5, self.dtype)
    if cfg.gated:
      self.wi_0, self.wi_1 = wide(), wide()
    else:
      self.wi = wide()
    self.wo = Dense(cfg.d_ff, cfg.d_model, cfg.d_ff**-0.5, self.dtype)
    self.dropout = Dropout(cfg.dropout, self.training)

  def __call__(self, x: Array, hook: Hook) -> Array:
    """x: [B,S,D] -> [B,S,D]."""
    if self.cfg.gated:
      y = elementwise(GATED[self.cfg.activation], self.wi_0(x, hook), self.wi_1(x, hook))
    else:
      y = elementwise(ACTIVATIONS[self.cfg.activation], self.wi(x, hook))
    y = hook('/'.join((*self.path, 'activation')), y, y)
    return hook('/'.join(self.path), x, self.wo(self.dropout(y), hook))
