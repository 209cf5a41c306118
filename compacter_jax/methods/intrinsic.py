"""Intrinsic dimensions (Aghajanyan et al. 2021, arXiv:2012.13255), sections 2 and 3.

All of T5 moves within a random subspace: theta_j + lambda_j P_j(v), with one small v for all
tensors. SAID trains a scale lambda_j for each tensor (one for each layer of a stack, as they are
stacked here); DID (Li et al. 2018, arXiv:1804.08838) has none.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from compacter_jax.errors import ConfigError
from compacter_jax.fastfood import Fastfood
from compacter_jax.inits import ones, zeros
from compacter_jax.method import Method, Spec, Tuned
from compacter_jax.settings import check_seed


@dataclasses.dataclass(frozen=True)
class Intrinsic(Method):
  """A Fastfood projection of one vector onto every weight of T5.

  Attributes:
    dimension: how many numbers are trained. With `said`, the scales are counted in: v is shorter
      by the number of tensors and one, for the paper's code makes a scale for v itself too.
    said: whether each tensor has a scale of its own.
    reference_grad: the gradient of v as the paper's code has it: each tensor's share is divided by
      the length of its transform (its size, rounded up to a power of two), so that small tensors
      rule.
    frozen_head: a head that is tied to the embedding keeps reading the table as it was before
      training, as in the paper's code. Such a model cannot be folded.
    seed: draws the projections.
  """

  dimension: int = 20_000
  said: bool = True
  reference_grad: bool = False
  frozen_head: bool = False
  seed: int = 0

  def specs(self, sites, frozen):
    """v, zero at first, and the scales, one at first."""
    del sites
    check_seed('seed', self.seed)
    tensors = _count(frozen)
    scales = tensors + 1 if self.said else 0
    if self.dimension <= scales:
      raise ConfigError(
        f'Nothing is left for v: this T5 has {tensors} tensors.',
        where='dimension',
        expected=f'more than {scales}',
        got=str(self.dimension),
      )
    if self.frozen_head and 'lm_head/kernel' in frozen:
      raise ConfigError(
        'The head of this T5 is not tied to its embedding.',
        where='frozen_head',
        expected='False',
        got='True',
      )
    out = {'v': Spec((self.dimension - scales,), zeros, (None,))}
    if self.said:
      out['scales'] = Spec((scales,), ones, (None,))
    return Tuned(weights=out)

  def weights(self, frozen, p):
    """theta_j + lambda_j P_j(v) for each tensor, in float32."""
    out, first = dict(frozen), 0
    fold_in = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(self.seed)))
    keys = fold_in(jnp.arange(_count(frozen)))
    scales = p['scales'] if self.said else jnp.ones(len(keys))
    for path in sorted(frozen):
      weight, last = frozen[path], first + _tensors(path, frozen[path])
      tensors = weight.reshape(last - first, -1)
      moved = _moved(self.reference_grad, p['v'], tensors, keys[first:last], scales[first:last])
      out[path], first = moved.reshape(weight.shape), last
    if self.frozen_head:
      out['head_table'] = frozen['token_embedding']
    return out

  def fold(self, frozen, tuned):
    """The weights once projected."""
    if self.frozen_head:
      raise TypeError('With frozen_head the embedding and the tied head differ: T5 has one table.')
    return self.weights(frozen, tuned.weights)


def _tensors(path, weight) -> int:
  """How many of T5's tensors are stacked in one of ours."""
  return weight.shape[0] if '/layers/' in path else 1


def _count(frozen) -> int:
  return sum(_tensors(path, weight) for path, weight in frozen.items())


@functools.partial(jax.jit, static_argnums=0)
def _moved(reference_grad, v, tensors, keys, scales):
  """theta_j + scale_j * P_j(v) of some tensors of one size.  v: [V], tensors: [T,Z] -> [T,Z]."""

  # One after the other: what a projection needs is held for one of them at a time.
  def move(each):
    tensor, *draws = each
    return tensor.astype(jnp.float32) + _scaled((tensor.size, reference_grad), v, *draws)

  return jax.lax.map(move, (tensors, keys, scales))


# The projections are linear, so what the backward pass needs is v and the scale alone.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scaled(options, v, key, scale):
  """scale * P(v).  options: the size, and whether the gradient is that of the paper's code."""
  size, _ = options
  return scale * Fastfood(len(v), size, key).project(v)


def _forward(options, v, key, scale):
  return _scaled(options, v, key, scale), (v, key, scale)


def _backward(options, saved, gradient):
  (size, reference_grad), (v, key, scale) = options, saved
  fastfood = Fastfood(len(v), size, key)
  back = fastfood.project_back(gradient)
  by = scale / fastfood.padded if reference_grad else scale
  return by * back, None, jnp.vdot(v, back)


_scaled.defvjp(_forward, _backward)
