"""Arithmetic on arrays of few bits: computed in float32 and rounded once, forward and back.

A product of bfloat16 arrays that is asked for in bfloat16 runs at the speed of float32 on a CPU, at
twice that when asked for in float32 (`python -m experiments.benchmarks.pretrain_step`). JAX's own
gradient of the latter would multiply float32 by bfloat16, which is slow on every device. Here the
gradient is rounded to the operands' type before its two products, as accelerators do by default.
What is in float32 already is left to JAX.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import SymbolicZero

# Names of rounded results, for what decides what the backward pass finds stored: of products
# without and with dimensions that all three arrays have.
PRODUCT, BATCHED = 'product', 'batched product'


def product(spec: str, x: Array, y: Array, out: jnp.dtype | None = None) -> Array:
  """`jnp.einsum(spec, x, y)`, with the result in `out` or else in x's dtype.

  spec: of two operands, without '...', no letter twice in one of them, and each letter in two of
  the three. x and y have one dtype.
  """
  out = jnp.dtype(out or x.dtype)
  if x.dtype == jnp.float32:
    return jnp.einsum(spec, x, y).astype(out)
  operands, result = spec.split('->')
  batched = set.intersection(*map(set, (*operands.split(','), result)))
  name = BATCHED if batched else PRODUCT
  return checkpoint_name(_product(spec, x.dtype, out)(x, y), name)


def elementwise(function: Callable[..., Array], *xs: Array) -> Array:
  """`function(*xs)` in the dtype of the first; each gradient is in the dtype of its own array.

  For the backward pass nothing but xs is kept.
  """
  if xs[0].dtype == jnp.float32:
    return function(*xs)
  return _elementwise(function, xs[0].dtype)(*xs)


def biased(y: Array, bias: Array) -> Array:
  """y + bias in y's dtype.  y: [..., F], bias: [F].

  The gradient of the bias is a sum over all rows: in bfloat16 it would be off by 3 % of 12,800.
  """
  return (y.astype(jnp.float32) + bias).astype(y.dtype)


def scaled(y: Array, gain: Array) -> Array:
  """gain * y in y's dtype.  gain: float32, in which 1 is not 0.4 % from the next number."""
  return elementwise(jnp.multiply, y, gain)


@functools.cache
def _product(spec: str, dtype: jnp.dtype, out: jnp.dtype) -> Callable[[Array, Array], Array]:
  """The product of two arrays of `dtype`, and its gradient."""
  ins, result = spec.split('->')
  left, right = ins.split(',')

  def summed(spec: str, x: Array, y: Array, out: jnp.dtype) -> Array:
    return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32).astype(out)

  @jax.custom_vjp
  def narrow(x, y):
    return summed(spec, x, y, out)

  def forward(x, y):
    # An operand is kept only for the gradient of the other: frozen weights need none.
    kept = x.value if y.perturbed else None, y.value if x.perturbed else None
    return summed(spec, x.value, y.value, out), kept

  def backward(kept, g):
    x, y = kept
    if isinstance(g, SymbolicZero):
      return None, None
    g = g.astype(dtype)
    dx = None if y is None else summed(f'{result},{right}->{left}', g, y, dtype)
    dy = None if x is None else summed(f'{left},{result}->{right}', x, g, dtype)
    return dx, dy

  narrow.defvjp(forward, backward, symbolic_zeros=True)
  return narrow


@functools.cache
def _elementwise(function: Callable[..., Array], dtype: jnp.dtype) -> Callable[..., Array]:
  """`function`, its result in `dtype`, and its gradient."""

  def wide(xs: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(x.astype(jnp.float32) for x in xs)

  @jax.custom_vjp
  def narrow(*xs):
    return function(*wide(xs)).astype(dtype)

  def backward(xs, g):
    grads = jax.vjp(function, *wide(xs))[1](g.astype(jnp.float32))
    return tuple(grad.astype(x.dtype) for x, grad in zip(xs, grads))

  narrow.defvjp(lambda *xs: (narrow(*xs), xs), backward)
  return narrow
