import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.method import Site, init
from compacter_jax.methods.loha import LoHa
from compacter_jax.model import Model
from tests.conftest import TINY

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(('fan_in', 'fan_out'), [(13, 11), (60, 7), (1, 5)])
@pytest.mark.parametrize('rank', [1, 2, 5])  # of 5 the kernel is built
def test_the_equation(rank, fan_in, fan_out):
  draw = lambda *shape: RNG.standard_normal(shape)
  p = {'a1': draw(fan_in, rank), 'b1': draw(rank, fan_out)}
  p |= {'a2': draw(fan_in, rank), 'b2': draw(rank, fan_out)}
  x, y = draw(4, fan_in), draw(4, fan_out)
  got = LoHa(rank=rank, alpha=3).edit(*jax.tree.map(jnp.float32, (x, y, p, {})))
  want = y + 3 / rank * x @ ((p['a1'] @ p['b1']) * (p['a2'] @ p['b2']))
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_the_kernel_is_built_only_where_that_is_cheaper():
  def longest(rank):
    site = {'s': Site('s', 96, 64, None)}
    p = init(LoHa(rank=rank, where='s').specs(site, {'s/kernel': 0}), jax.random.key(0)).site['s']
    jaxpr = jax.make_jaxpr(LoHa(rank=rank).edit)(jnp.ones((1, 96)), jnp.ones((1, 64)), p, {})
    return max(out.aval.size for eqn in jaxpr.eqns for out in eqn.outvars)

  assert longest(6) == 96 * 6**2
  assert longest(7) == 96 * 64


def test_initial_distribution():
  site = {'s': Site('s', 640, 320, None)}
  specs = LoHa(rank=64, where='s').specs(site, {'s/kernel': 0})
  made = init(specs, jax.random.key(0)).site['s']
  for name, std in ('a1', 1), ('b1', 0.1), ('a2', 1):
    assert np.std(made[name]) == pytest.approx(std, rel=0.03)
    assert abs(np.mean(made[name])) < 0.03 * std
  assert not made['b2'].any()


def test_an_empty_rank_is_refused():
  with pytest.raises(ConfigError, match='rank is out of range'):
    Model(TINY['t5'], LoHa(rank=0)).specs()
