import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compacter_jax import inits
from compacter_jax.bottleneck import Bottleneck
from compacter_jax.errors import ConfigError
from compacter_jax.hypercomplex import (
  ROUTES,
  HypercomplexDense,
  kron_sum,
  kron_sum_contracted,
  kron_sum_times,
)

# The worked example of the definition: n = 2, 4 -> 2.
A = jnp.array([[[1, 2], [3, 4]], [[0, 1], [1, 0]]], jnp.float32)
B = jnp.array([[[1], [2]], [[3], [-1]]], jnp.float32)
H = [[1, 5], [2, 3], [6, 4], [5, 8]]


@pytest.mark.parametrize('build', [kron_sum, kron_sum_contracted])
def test_worked_example(build):
  assert build(A, B).tolist() == H


def test_worked_example_applied():
  x = jnp.array([1.0, 2.0, 3.0, 4.0])
  assert kron_sum_times(x, A, B).tolist() == [43, 55]
  # One row times one column each: B as two factors.
  assert kron_sum_times(x, A, B, jnp.ones((2, 1, 1))).tolist() == [43, 55]
  for route in ROUTES:
    layer = HypercomplexDense(2, n=2, rank=None, route=route)
    assert layer.apply(
      {'params': {'a': A, 'b': B, 'bias': jnp.array([1.0, -1.0])}}, x
    ).tolist() == [
      44,
      54,
    ]


def test_kron_sum_is_its_definition():
  """Entry by entry: H[a r + k, c s + p] = sum_i A[i,a,c] B[i,k,p], sides of any size."""
  rng = np.random.default_rng(0)
  a, b = rng.standard_normal((3, 2, 5)), rng.standard_normal((3, 4, 2))
  want = np.zeros((8, 10))
  for i, j, c, k, p in itertools.product(range(3), range(2), range(5), range(4), range(2)):
    want[j * 4 + k, c * 2 + p] += a[i, j, c] * b[i, k, p]
  for build in kron_sum, kron_sum_contracted:
    got = build(jnp.array(a, jnp.float32), jnp.array(b, jnp.float32))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@given(
  n=st.integers(1, 4),
  k=st.integers(1, 4),
  p=st.integers(1, 4),
  rank=st.sampled_from([None, 1, 2, 3]),
  factorized_a=st.booleans(),
  lead=st.sampled_from([(), (3,), (2, 3)]),
  seed=st.integers(0, 9),
)
# No shrinking: each example is compiled.
@settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])
def test_routes_are_equal_in_value_and_gradient(n, k, p, rank, factorized_a, lead, seed):
  x, tangent = (
    jnp.array(np.random.default_rng(seed).standard_normal((*lead, n * size)), jnp.float32)
    for size in (k, p)
  )
  layers = [HypercomplexDense(n * p, n, rank, factorized_a, route=route) for route in ROUTES]

  def run(key, x):
    params = layers[0].init(key, x)
    loss = lambda layer: lambda params, x: jnp.vdot(tangent, layer.apply(params, x))
    return [jax.value_and_grad(loss(layer), (0, 1))(params, x) for layer in layers]

  kron, *others = jax.jit(run)(jax.random.key(seed), x)
  for other in others:
    for a, b in zip(jax.tree.leaves(kron), jax.tree.leaves(other), strict=True):
      # 1e-6 of the largest: float32 after sums in another order.
      assert np.abs(a - b).max() <= 1e-6 * max(np.abs(a).max(), np.abs(tangent).max())


OWN = {
  'default': ({}, {'a': (4, 4, 4), 's': (4, 2, 1), 't': (4, 1, 3), 'bias': (12,)}),
  'rank 2': ({'rank': 2}, {'a': (4, 4, 4), 's': (4, 2, 2), 't': (4, 2, 3), 'bias': (12,)}),
  'whole b': ({'rank': None}, {'a': (4, 4, 4), 'b': (4, 2, 3), 'bias': (12,)}),
  'no bias': ({'bias': False}, {'a': (4, 4, 4), 's': (4, 2, 1), 't': (4, 1, 3)}),
  'factorized a': (
    {'factorized_a': True, 'rank': None},
    {'a_left': (4, 4, 1), 'a_right': (4, 1, 4), 'b': (4, 2, 3), 'bias': (12,)},
  ),
}


@pytest.mark.parametrize(('options', 'shapes'), OWN.values(), ids=OWN)
@pytest.mark.parametrize('route', ROUTES)
def test_alone_it_owns_everything(options, shapes, route):
  layer = HypercomplexDense(12, 4, **options, route=route)
  x = jax.random.normal(jax.random.key(0), (2, 8))
  variables = layer.init(jax.random.key(1), x)
  assert jax.tree.map(jnp.shape, variables) == {'params': shapes}
  p = variables['params']
  a = p['a'] if 'a' in p else p['a_left'] @ p['a_right']
  b = p['b'] if 'b' in p else p['s'] @ p['t']
  np.testing.assert_allclose(layer.apply(variables, x), x @ kron_sum(a, b), rtol=1e-5, atol=1e-6)


def test_a_factor_product_is_the_whole_b():
  """Rank R: s_i t_i is a matrix product, also for R > 1."""
  x = jax.random.normal(jax.random.key(0), (5, 8))
  layer = HypercomplexDense(12, 4, rank=2)
  params = dict(layer.init(jax.random.key(1), x)['params'])
  whole = {'a': params['a'], 'b': params['s'] @ params['t'], 'bias': params['bias']}
  y = HypercomplexDense(12, 4, rank=None).apply({'params': whole}, x)
  np.testing.assert_allclose(layer.apply({'params': params}, x), y, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('factorized_a', [False, True])
def test_an_a_that_does_not_learn_is_no_parameter(factorized_a):
  layer = HypercomplexDense(12, 4, factorized_a=factorized_a, learn_a=False)
  x = jnp.ones((1, 8))
  variables = layer.init(jax.random.key(0), x)
  names = {'a_left', 'a_right'} if factorized_a else {'a'}
  assert set(variables['constants']) == names
  assert set(variables['params']) == {'s', 't', 'bias'}
  assert all(np.any(a) for a in variables['constants'].values())
  other = layer.init(jax.random.key(1), x)
  assert not np.array_equal(*(next(iter(v['constants'].values())) for v in (variables, other)))
  assert np.any(layer.apply(variables, x))


@pytest.mark.parametrize(
  ('rank', 'names'), [(1, ('s', 't')), (1, ('a', 's', 't')), (None, ('b',)), (None, ('a', 'b'))]
)
def test_shared_arrays_are_used_instead_of_its_own(rank, names):
  layer = HypercomplexDense(12, 4, rank=rank)
  x = jax.random.normal(jax.random.key(0), (2, 8))
  params = dict(layer.init(jax.random.key(1), x)['params'])
  shared = {name: params[name] for name in names}
  own = layer.init(jax.random.key(1), x, shared)['params']
  assert set(own) == set(params) - set(names)
  rest = {name: params[name] for name in own}
  want = layer.apply({'params': params}, x)
  np.testing.assert_array_equal(layer.apply({'params': rest}, x, shared), want)


def test_bfloat16_stays_bfloat16():
  x = jax.random.normal(jax.random.key(0), (3, 8), jnp.bfloat16)
  for route in ROUTES:
    layer = HypercomplexDense(12, 4, route=route, a_range=1.0)
    variables = layer.init(jax.random.key(1), x)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))
    y = layer.apply(variables, x)
    exact = layer.apply(variables, x.astype(jnp.float32))
    assert y.dtype == jnp.bfloat16
    assert np.abs(y.astype(jnp.float32) - exact).max() < 0.03 * np.abs(exact).max()


# Initial distributions, as the reference implementation draws them (T5-base, width 24).


def drawn(fan_in, features, n, count=200, **options):
  """The parameters of `count` layers: {name: [count, ...]}."""
  layer = HypercomplexDense(features, n, **options)
  make = lambda key: layer.init(key, jnp.zeros((1, fan_in)))['params']
  return jax.jit(jax.vmap(make))(jax.random.split(jax.random.key(0), count))


UNIFORM = {
  # (n, in, out, rank): name -> the bound
  'compacter down': ((4, 768, 24, 1), {'s': 0.24935, 't': 1.30931}),
  'compacter up': ((4, 24, 768, 1), {'s': 1.30931, 't': 0.24935}),
  'phm down': ((12, 768, 24, None), {'b': 0.42640}),
  'phm up': ((12, 24, 768, None), {'b': 0.42640}),
}


@pytest.mark.parametrize(('layer', 'bounds'), UNIFORM.values(), ids=UNIFORM)
def test_glorot_uniform_of_each_slice(layer, bounds):
  n, fan_in, features, rank = layer
  params = drawn(fan_in, features, n, rank=rank)
  for name, bound in bounds.items():
    values = np.asarray(params[name])
    assert 0.99 * bound < np.abs(values).max() <= bound * (1 + 1e-5)
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert abs(values.mean()) < 0.03 * bound
  assert not np.any(params['bias'])


def test_glorot_normal_of_each_slice():
  params = drawn(768, 24, 4, b_init='glorot_normal')
  assert np.std(params['s']) == pytest.approx(math.sqrt(2) * math.sqrt(2 / 193), rel=0.03)
  assert np.std(params['t']) == pytest.approx(math.sqrt(2) * math.sqrt(2 / 7), rel=0.03)


def test_normal_and_uniform_with_a_range():
  params = drawn(768, 24, 4, b_init='normal', b_range=1e-4, a_init='uniform', a_range=0.5)
  for name in 's', 't':
    assert np.std(params[name]) == pytest.approx(1e-4, rel=0.03)
  a = np.asarray(params['a'])
  assert 0.49 < np.abs(a).max() <= 0.5 and a.std() == pytest.approx(0.5 / math.sqrt(3), rel=0.03)


@pytest.mark.parametrize('factorized_a', [False, True])
def test_an_a_of_its_own_starts_at_a_hundredth(factorized_a):
  params = drawn(768, 24, 12, factorized_a=factorized_a)
  for name in ('a_left', 'a_right') if factorized_a else ('a',):
    assert np.std(params[name]) == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize(
  ('n', 'rank', 'a_range', 'std'), [(4, 1, 1e-4, 2.18e-5), (12, None, 0.01, 8.53e-3)]
)
def test_kernels_start_as_small_as_published(n, rank, a_range, std):
  p = drawn(768, 24, n, rank=rank, a_range=a_range)
  h = jax.jit(jax.vmap(kron_sum_contracted))(p['a'], p['b'] if rank is None else p['s'] @ p['t'])
  assert h.shape == (200, 768, 24)
  assert np.std(h) == pytest.approx(std, rel=0.03)


def test_initialisers_take_a_dtype():
  for init in inits.zeros, inits.ones, inits.normal(1.0), inits.uniform(1.0), inits.glorot_normal:
    assert init(jax.random.key(0), (2, 3), jnp.bfloat16).dtype == jnp.bfloat16


# Errors.


@pytest.mark.parametrize(('n', 'fits'), [(5, r'\[1, 2, 3, 4, 6, 8, 12, 24\]'), (0, ''), (48, '')])
def test_an_n_that_does_not_divide_is_told_which_do(n, fits):
  with pytest.raises(ConfigError, match=f'fan_in=768 and features=24(.|\n)*{fits}'):
    HypercomplexDense(24, n).init(jax.random.key(0), jnp.zeros((1, 768)))


@pytest.mark.parametrize('option', ['a_init', 'b_init', 'route'])
def test_an_unknown_option_is_told_the_choices(option):
  layer = HypercomplexDense(12, 4, **{option: 'glorrot'})
  with pytest.raises(ConfigError, match=rf"Unknown {option}(.|\n)*one of \[(.|\n)*'glorrot'"):
    layer.init(jax.random.key(0), jnp.zeros((1, 8)))


def test_an_unknown_activation_is_told_the_choices():
  layer = Bottleneck(HypercomplexDense(8, 4), HypercomplexDense(12, 4), 'gelu_old')
  with pytest.raises(ConfigError, match='Unknown activation(.|\n)*gelu_new'):
    layer.init(jax.random.key(0), jnp.zeros((1, 12)))


def test_bottleneck_adds_to_its_input():
  layer = Bottleneck(HypercomplexDense(8, 4), HypercomplexDense(12, 4), 'relu')
  z = jax.random.normal(jax.random.key(0), (2, 12))
  params = layer.init(jax.random.key(1), z)['params']
  down, up = (kron_sum(p['a'], p['s'] @ p['t']) for p in (params['down'], params['up']))
  want = z + jnp.maximum(z @ down, 0) @ up
  np.testing.assert_allclose(layer.apply({'params': params}, z), want, rtol=1e-5)
