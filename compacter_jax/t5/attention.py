"""T5's attention: no scaling of the scores, relative position biases, softmax in float32.

Shapes: B batch, Q queries, T keys, H heads, K head size, D d_model.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from compacter_jax.graft import Hook
from compacter_jax.narrow import product
from compacter_jax.t5.config import Config
from compacter_jax.t5.dropout import Dropout
from compacter_jax.t5.layers import Dense

# Far below any score, yet finite: a row with nothing to attend to gets a mean and not a NaN.
MASKED = -1e10


def relative_buckets(relative: np.ndarray, bidirectional: bool, buckets: int, max_distance: int):
  """The bucket of each relative position (key minus query), any shape (Raffel et al. 2020, 2.1).

  Half of the buckets hold one distance each, the rest grow logarithmically up to `max_distance`.
  """
  out = np.zeros_like(relative)
  if bidirectional:
    buckets //= 2
    out += buckets * (relative > 0)
    distance = np.abs(relative)
  else:
    distance = np.maximum(-relative, 0)
  exact = buckets // 2
  growth = np.log(np.maximum(distance, 1) / exact) / math.log(max_distance / exact)
  # Rounding must not drop a distance that lies on an edge into the bucket below.
  far = exact + (growth * (buckets - exact) + 1e-6).astype(relative.dtype)
  return out + np.where(distance < exact, distance, np.minimum(far, buckets - 1))


def position_bias(table: Array, buckets: Array) -> Array:
  """table: [buckets, H], buckets: [Q,T] -> [1,H,Q,T]."""
  return table[buckets].transpose(2, 0, 1)[None].astype(jnp.float32)


def mask_bias(visible: Array) -> Array:
  """What to add to the scores.  visible: any shape, bool -> 0 where True, hugely negative else."""
  return jnp.where(visible, 0.0, MASKED)


def _four(bias: Array) -> Array:
  """A bias with all four dimensions, which it may leave out in front."""
  return bias.reshape((1,) * (4 - bias.ndim) + bias.shape)


class Attention(nn.Module):
  """Multi-head attention whose keys and values are made apart, so that they can be cached."""

  cfg: Config
  dtype: jnp.dtype
  training: bool

  def setup(self):
    inner = self.cfg.heads * self.cfg.d_kv
    d, k = self.cfg.d_model, self.cfg.d_kv
    self.q = Dense(d, inner, (d * k) ** -0.5, self.dtype)
    self.k = Dense(d, inner, d**-0.5, self.dtype)
    self.v = Dense(d, inner, d**-0.5, self.dtype)
    self.o = Dense(inner, d, inner**-0.5, self.dtype)
    self.dropout = Dropout(self.cfg.dropout, self.training)

  def keys_values(self, x: Array, hook: Hook) -> tuple[Array, Array]:
    """x: [B,T,D] -> keys and values, each [B,H,T,K]."""
    return self._heads(self.k(x, hook)), self._heads(self.v(x, hook))

  def __call__(self, x: Array, keys: Array, values: Array, biases: list[Array], hook: Hook):
    """x: [B,Q,D], keys and values: [B,H,T,K], biases: each broadcasts to [B,H,Q,T] -> [B,Q,D]."""
    queries, before = self._heads(self.q(x, hook)), keys.shape[2]
    keys, values = hook.attend('/'.join(self.path), keys, values)
    if more := keys.shape[2] - before:  # seen by all, and nowhere in particular
      front = ((0, 0), (0, 0), (0, 0), (more, 0))
      biases = [jnp.pad(b, front) for b in map(_four, biases)]
    shares = self._shares('bhqk,bhtk->bhqt', queries, keys, biases)
    return self._out(x, product('bhqt,bhtk->bhqk', shares, values), hook)

  def across(self, x: Array, memory: Array, biases: list[Array], hook: Hook) -> Array:
    """Attention to a memory that is used this once.  x: [B,Q,D], memory: [B,T,D] -> [B,Q,D].

    Few queries need no keys and values of a long memory: q . (m Wk) = (q Wk') . m, and the shares
    of m Wv are those of m, times Wv (docs/performance.md).
    """
    edited = any(hook.edits('/'.join(module.path)) for module in (self, self.k, self.v))
    if edited or not self._absorbs(x.shape[1], memory.shape[1]):
      return self(x, *self.keys_values(memory, hook), biases, hook)
    wk, wv = (w.weight().reshape(-1, self.cfg.heads, self.cfg.d_kv) for w in (self.k, self.v))
    q = product('bhqk,dhk->bhqd', self._heads(self.q(x, hook)), wk)
    shares = self._shares('bhqd,btd->bhqt', q, memory, biases)
    seen = product('bhqt,btd->bhqd', shares, memory)
    return self._out(x, product('bhqd,dhk->bhqk', seen, wv), hook)

  def _absorbs(self, queries: int, keys: int) -> bool:
    """Whether queries in the width of the memory cost clearly less than keys and values of it."""
    d, k = self.cfg.d_model, self.cfg.d_kv
    return 2 * queries * d * (k + keys) <= keys * k * (d + queries)

  def _shares(self, spec: str, queries: Array, keys: Array, biases: list[Array]) -> Array:
    """What each query takes of each key: [B,H,Q,T], each row summing to 1."""
    scores = product(spec, queries, keys, jnp.float32)
    for bias in biases:
      scores += bias
    return self.dropout(jax.nn.softmax(scores).astype(self.dtype))

  def _out(self, x: Array, y: Array, hook: Hook) -> Array:
    """The heads joined.  y: [B,H,Q,K] -> [B,Q,D]."""
    y = self.o(y.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1), hook)
    return hook('/'.join(self.path), x, y)

  def _heads(self, x: Array) -> Array:
    # Heads lead, so that the products of each head are of matrices that lie in one piece: a
    # third faster on a CPU.
    return x.reshape(*x.shape[:-1], self.cfg.heads, self.cfg.d_kv).transpose(0, 2, 1, 3)
