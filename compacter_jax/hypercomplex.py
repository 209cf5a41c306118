"""The hypercomplex layer: a dense layer whose kernel is a sum of Kronecker products.

Parameterised hypercomplex multiplication (PHM) is due to Zhang et al. 2021; Karimi Mahabadi et al.
2021 (arXiv:2106.04647, section 4) factor its matrices and share some of them among layers.
Shapes: N hypercomplex dimension, K = fan_in / N, P = features / N, R rank.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from compacter_jax import inits
from compacter_jax.divisors import divisors
from compacter_jax.errors import ConfigError
from compacter_jax.narrow import biased

_A_INITS = {'normal': inits.normal, 'uniform': inits.uniform}
_B_INITS = {
  'glorot_uniform': lambda std: inits.glorot_uniform,
  'glorot_normal': lambda std: inits.glorot_normal,
  'normal': inits.normal,
}


def a_initialiser(name: str, range_: float) -> inits.Init:
  """The initialiser of A: 'normal' (std range_) or 'uniform' (bound range_)."""
  return _choose('a_init', name, _A_INITS)(range_)


def b_initialiser(name: str, range_: float) -> inits.Init:
  """That of B or its factors: 'glorot_uniform', 'glorot_normal' or 'normal' (std range_)."""
  return _choose('b_init', name, _B_INITS)(range_)


def kron_sum(a: Array, b: Array) -> Array:
  """sum_i a_i (x) b_i, as equation (4) defines it.  a: [N,p,q], b: [N,r,s] -> [p r, q s]."""
  return jax.vmap(jnp.kron)(a, b).sum(0)


def kron_sum_contracted(a: Array, b: Array) -> Array:
  """`kron_sum` as one contraction over i, which never holds the N products side by side."""
  (_, p, q), (_, r, s) = a.shape, b.shape
  return jnp.einsum('iac,ikp->akcp', a, b).reshape(p * r, q * s)


def kron_sum_times(x: Array, a: Array, *b: Array) -> Array:
  """x @ kron_sum(a, b) without building the kernel.  x: [...,N K], a: [N,N,N] -> [...,N P].

  b: either one array [N,K,P], or its two factors [N,K,R] and [N,R,P].
  """
  n = a.shape[-1]
  x = x.reshape(*x.shape[:-1], a.shape[1], -1)
  if len(b) == 1:
    y = jnp.einsum('...ak,iac,ikp->...cp', x, a, b[0], optimize='optimal')
  else:
    s, t = b
    u = jnp.einsum('...ak,ikr->...air', x, s)
    y = jnp.einsum('...cir,irp->...cp', jnp.einsum('...air,iac->...cir', u, a), t)
  return y.reshape(*y.shape[:-2], n * y.shape[-1])


def split(size: int, factor: int | None = None) -> tuple[int, int]:
  """A divisor of `size` and the other: `factor`, or the nearest below it and the square root."""
  if factor is not None and size % factor == 0:
    return factor, size // factor
  most = min(factor or size, math.isqrt(size))
  small = max(divisors(size, most))
  return small, size // small


def kron(a: Array, b: Array) -> Array:
  """a (x) b of each pair of matrices.  [..., m, n], [..., k, l] -> [..., m k, n l]."""
  product = jnp.einsum('...mn,...kl->...mknl', a, b)
  sides = a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1]
  return product.reshape(*product.shape[:-4], *sides)


ROUTES = 'auto', 'kron', 'contracted', 'factored'
FEW = 4  # up to N R of it the factored route wins


def check_divides(n: int, **sizes: int) -> None:
  """Raises a ConfigError that names the n which would do, unless n divides every size."""
  if n > 0 and all(size % n == 0 for size in sizes.values()):
    return
  raise ConfigError(
    f'The hypercomplex dimension n={n} does not divide both sides of the layer.',
    expected='n divides ' + ' and '.join(f'{name}={v}' for name, v in sizes.items()),
    got=f'n={n}',
    fix=f'take n from {divisors(math.gcd(*sizes.values()))}, or another width',
  )


class HypercomplexDense(nn.Module):
  """y = x H + bias with H = sum_i A_i (x) B_i and B_i = s_i t_i.  [...,N K] -> [...,N P].

  Arrays named in `shared` at the call ('a' or 'a_left' and 'a_right'; 'b' or 's' and 't') are used
  instead of the layer's own. Alone, the layer owns everything.

  Attributes:
    features: N P.
    n: N; must divide both sides.
    rank: R of B's factors; None keeps B whole.
    factorized_a: A_i = l_i r_i of rank one.
    learn_a: whether the layer's own A trains; else it lies in the collection 'constants'.
    a_init, a_range: 'normal' (std a_range) or 'uniform' (bound a_range); 0.01 is the published
      value of an A that is not shared.
    b_init, b_range: 'glorot_uniform', 'glorot_normal' or 'normal' (std b_range).
    bias: whether to add a bias, zero at first.
    route: 'kron' is the definition, 'contracted' builds H in one contraction, 'factored' never
      builds H. All three are equal. 'auto' takes the one that was measured to be fastest:
      'factored' while N R <= FEW, else 'contracted' (docs/performance.md).

  Raises:
    ConfigError: n does not divide, or an option is unknown.
  """

  features: int
  n: int
  rank: int | None = 1
  factorized_a: bool = False
  learn_a: bool = True
  a_init: str = 'normal'
  a_range: float = 0.01
  b_init: str = 'glorot_uniform'
  b_range: float = 0.01
  bias: bool = True
  route: str = 'auto'

  @nn.compact
  def __call__(self, x: Array, shared: dict[str, Array] | None = None) -> Array:
    """x: [..., fan_in] -> [..., features], in the dtype of x."""
    own = functools.partial(self._own, shared or {})
    a_shapes, b_shapes = shapes(x.shape[-1], self.features, self.n, self.rank, self.factorized_a)
    a = functools.reduce(jnp.matmul, [own(*item, self._a_array) for item in a_shapes.items()])
    b = [own(*item, self._b_array) for item in b_shapes.items()]
    y = _apply(self.route, x, a, *b)
    if self.bias:
      y = biased(y, self.param('bias', inits.zeros, (self.features,)))
    return y

  def _own(self, shared, name, shape, make):
    return shared[name] if name in shared else make(name, shape)

  def _a_array(self, name, shape):
    init = a_initialiser(self.a_init, self.a_range)
    if self.learn_a:
      return self.param(name, init, shape)
    return self.variable('constants', name, lambda: init(self.make_rng('params'), shape)).value

  def _b_array(self, name, shape):
    return self.param(name, b_initialiser(self.b_init, self.b_range), shape)


def shapes(
  fan_in: int, features: int, n: int, rank: int | None, factorized_a: bool
) -> tuple[dict[str, tuple], dict[str, tuple]]:
  """The arrays that make up A and B of one layer, by name: two dicts of shapes.

  Raises:
    ConfigError: n does not divide fan_in or features.
  """
  check_divides(n, fan_in=fan_in, features=features)
  k, p = fan_in // n, features // n
  a = {'a_left': (n, n, 1), 'a_right': (n, 1, n)} if factorized_a else {'a': (n, n, n)}
  b = {'b': (n, k, p)} if rank is None else {'s': (n, k, rank), 't': (n, rank, p)}
  return a, b


def _apply(route: str, x: Array, a: Array, *b: Array) -> Array:
  if route == 'auto':
    few = len(b) == 2 and len(a) * b[1].shape[1] <= FEW
    route = 'factored' if few else 'contracted'
  if route == 'factored':
    return kron_sum_times(x, a.astype(x.dtype), *(f.astype(x.dtype) for f in b))
  build = _choose('route', route, {'kron': kron_sum, 'contracted': kron_sum_contracted})
  # The kernel is built in the parameters' precision and rounded once.
  return x @ build(a, functools.reduce(jnp.matmul, b)).astype(x.dtype)


def _choose(field: str, name: str, table: dict):
  if name not in table:
    raise ConfigError(f'Unknown {field}.', expected=f'one of {sorted(table)}', got=repr(name))
  return table[name]
