"""Arithmetic in few bits: sums in float32, one rounding, and gradients that keep no more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.narrow import biased, elementwise, product, scaled

HALF = jnp.bfloat16
ULP = 2.0**-8  # of bfloat16, relative: half the distance to the next number
SPECS = {
  'dense': ('abx,xy->aby', (3, 5, 64), (64, 7)),
  'of a stack': ('abx,xy->aby', (1, 1, 8), (8, 8)),
  'scores': ('bhqk,bhtk->bhqt', (2, 3, 5, 64), (2, 3, 7, 64)),
  'shared memory': ('bhqd,btd->bhqt', (2, 3, 5, 64), (2, 7, 64)),
  'head': ('btd,vd->btv', (2, 3, 64), (11, 64)),
}


def draw(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.standard_normal(shape), HALF) for shape in shapes]


def exact(spec, x, y):
  return np.einsum(spec, *(np.asarray(a, np.float64) for a in (x, y)))


def assert_rounded_once(got, want, terms):
  """Within half a step of bfloat16 of the true sum, and float32's rounding of its terms."""
  slack = 2e-6 * np.sqrt(terms)
  np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=ULP, atol=slack)


@pytest.mark.parametrize('name', SPECS)
def test_a_product_and_its_gradients_are_rounded_once(name):
  spec, *shapes = SPECS[name]
  ins, result = spec.split('->')
  left, right = ins.split(',')
  x, y = draw(*shapes)
  z, back = jax.vjp(lambda x, y: product(spec, x, y), x, y)
  (g,) = draw(z.shape)
  dx, dy = back(g)
  assert z.dtype == dx.dtype == dy.dtype == HALF
  assert_rounded_once(z, exact(spec, x, y), 64)
  assert_rounded_once(dx, exact(f'{result},{right}->{left}', g, y), 64)
  assert_rounded_once(dy, exact(f'{left},{result}->{right}', x, g), 64)


def test_sums_do_not_stop_growing():
  """4,096 ones added in bfloat16 end at 256."""
  ones = jnp.ones((1, 4096), HALF)
  assert product('ax,xy->ay', ones, ones.T) == 4096


def test_a_product_may_come_in_float32_and_its_gradient_is_rounded_before_use():
  x, y = draw((4, 64), (64, 6))
  z, back = jax.vjp(lambda x, y: product('ax,xy->ay', x, y, jnp.float32), x, y)
  assert z.dtype == jnp.float32
  np.testing.assert_allclose(z, exact('ax,xy->ay', x, y), rtol=1e-5, atol=1e-5)
  g = jnp.asarray(np.random.default_rng(1).standard_normal(z.shape), jnp.float32)
  dx, dy = back(g)
  assert_rounded_once(dx, exact('ay,xy->ax', g.astype(HALF), y), 6)
  assert_rounded_once(dy, exact('ax,ay->xy', x, g.astype(HALF)), 4)
  products = [e for e in jax.make_jaxpr(back)(g).eqns if e.primitive.name == 'dot_general']
  assert {v.aval.dtype for e in products for v in e.invars} <= {jnp.dtype(HALF)}


def kept(function, *xs):
  """Shapes of what the backward pass is given."""
  return sorted(leaf.shape for leaf in jax.tree.leaves(jax.vjp(function, *xs)[1]))


def test_an_operand_is_kept_only_for_the_gradient_of_the_other():
  x, w = draw((4, 64), (64, 6))
  assert kept(lambda x: product('ax,xy->ay', x, w), x) == [(64, 6)]
  assert kept(lambda w: product('ax,xy->ay', x, w), w) == [(4, 64)]
  assert kept(lambda x, w: product('ax,xy->ay', x, w), x, w) == [(4, 64), (64, 6)]


def test_what_is_not_used_has_no_gradient():
  x, w = draw((4, 64), (64, 6))

  def unused(x):
    product('ax,xy->ay', x, w)
    return jnp.sum(x * 2)

  np.testing.assert_array_equal(jax.grad(unused)(x), jnp.full(x.shape, 2, HALF))


def test_elementwise_functions_are_rounded_once_and_keep_their_inputs_only():
  def function(x, gate):
    return jax.nn.gelu(x) * gate

  x, gate = draw((50, 8), (50, 8))
  wide = [jnp.asarray(a, jnp.float32) for a in (x, gate)]
  y, back = jax.vjp(lambda *xs: elementwise(function, *xs), x, gate)
  want, wide_back = jax.vjp(function, *wide)
  (g,) = draw(y.shape)
  for got, true in zip((y, *back(g)), (want, *wide_back(jnp.asarray(g, jnp.float32))), strict=True):
    assert got.dtype == HALF
    np.testing.assert_array_equal(got, true.astype(HALF))
  assert kept(lambda *xs: elementwise(function, *xs), x, gate) == [(50, 8)] * 2


def test_float32_is_left_to_jax():
  """Forward mode and all."""
  x, w = (jnp.asarray(a, jnp.float32) for a in draw((4, 64), (64, 6)))
  z, dz = jax.jvp(lambda x: elementwise(jnp.tanh, product('ax,xy->ay', x, w)), (x,), (x,))
  np.testing.assert_allclose(z, np.tanh(exact('ax,xy->ay', x, w)), atol=1e-5)
  np.testing.assert_allclose(dz, (1 - z**2) * (x @ w), atol=1e-4)


def test_gradients_of_biases_and_gains_are_sums_in_float32():
  """12,800 rows; in bfloat16 they would be off by 3 %."""
  y, g = draw((12_800, 4), (12_800, 4))
  for function, at, want in (
    (biased, 0.0, np.asarray(g, np.float64).sum(0)),
    (scaled, 1.0, (np.asarray(g, np.float64) * np.asarray(y, np.float64)).sum(0)),
  ):
    p = jnp.full(4, at, jnp.float32)
    z, back = jax.vjp(function, y, p)
    assert z.dtype == HALF and (z == y).all()
    dy, dp = back(g)
    assert dy.dtype == HALF and (dy == g).all() and dp.dtype == jnp.float32
    np.testing.assert_allclose(dp, want, rtol=1e-4, atol=1e-3)


def test_a_gain_near_one_is_not_rounded_to_one():
  y = jnp.full(100, 1.0, HALF) * jnp.arange(1, 101, dtype=HALF)
  moved = scaled(y, jnp.float32(1.003))
  assert (moved != y).any() and (y * jnp.asarray(1.003, HALF) != y).sum() == 0


def test_what_is_multiplied_by_a_gain_is_kept_in_few_bits():
  y, p = draw((4, 6))[0], jnp.ones(6, jnp.float32)
  dtypes = {
    leaf.dtype for leaf in jax.tree.leaves(jax.vjp(scaled, y, p)[1]) if leaf.shape == (4, 6)
  }
  assert dtypes == {jnp.dtype(HALF)}
  assert not [s for s in kept(biased, y, p) if s == (4, 6)]
