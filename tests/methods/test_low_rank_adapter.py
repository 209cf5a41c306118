import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compacter_jax.errors import ConfigError
from compacter_jax.methods.low_rank_adapter import LowRankAdapter
from compacter_jax.model import Model
from compacter_jax.t5.sizes import SIZES
from tests.conftest import TINY

SITE = 'encoder/layers/ffn'


@pytest.mark.parametrize('rank', [1, 3])
def test_the_equation(rank):
  rng = np.random.default_rng(0)
  array = lambda *shape: rng.standard_normal(shape).astype(np.float32)
  p = {
    'down': {'left': array(8, rank), 'right': array(rank, 4), 'bias': array(4)},
    'up': {'left': array(4, rank), 'right': array(rank, 8), 'bias': array(8)},
  }
  z = array(5, 8)
  times = lambda x, q: x @ (q['left'] @ q['right']) + q['bias']
  want = z + times(jax.nn.gelu(times(z, p['down'])), p['up'])
  got = LowRankAdapter(rank=rank, width=4).edit(None, jnp.array(z), p, {})
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_initial_distribution_on_t5_base():
  """Bounds sqrt(2) sqrt(6 / (fan_in + fan_out)) of each factor: 0.12492 and 0.69282 going down."""
  site = Model(SIZES['t5-base'], LowRankAdapter()).specs().site[SITE]
  for (projection, factor), bound in {
    ('down', 'left'): 0.12492,
    ('down', 'right'): 0.69282,
    ('up', 'left'): 0.69282,
    ('up', 'right'): 0.12492,
  }.items():
    spec = site[projection][factor]
    drawn = np.concatenate([np.ravel(spec.init(jax.random.key(i), spec.shape)) for i in range(10)])
    assert np.abs(drawn).max() <= bound + 1e-5
    assert np.std(drawn) == pytest.approx(bound / 3**0.5, rel=0.03)
    assert not np.any(site[projection]['bias'].init(jax.random.key(0), (12, 24)))


def test_a_rank_below_one_is_refused():
  with pytest.raises(ConfigError, match='rank is out of range'):
    Model(TINY['t5'], LowRankAdapter(rank=0)).specs()
