import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard
from scipy.stats import kstest

from compacter_jax.fastfood import Fastfood, walsh_hadamard

# V < Z and V > Z, with and without padding, down to a single number.
SIZES = [(5, 7), (5, 3), (19, 300), (20, 1), (300, 17), (64, 64), (100, 1000), (40, 2000)]
sizes = pytest.mark.parametrize(('length', 'size'), SIZES)


def fastfood(length, size, seed=3):
  return Fastfood(length, size, jax.random.key(seed))


def permutation(f):
  return np.asarray(f.permute(jnp.arange(f.padded, dtype=jnp.uint32)))


def dense(f):
  """The projection as a matrix [Z, V] in float64, built as its definition says."""
  transform, gaussians = hadamard(f.padded).astype(float), np.asarray(f.gaussians(), float)
  pad = np.eye(f.padded, f.length)
  signs = np.ones(f.padded)
  signs[: len(f.signs())] = f.signs()
  shuffled = (transform @ (signs[:, None] * pad))[permutation(f)]
  product = transform @ (gaussians[:, None] * shuffled)
  norm = np.sqrt(f.padded * (gaussians**2).sum()) * np.sqrt(f.size / f.padded)
  return product[: f.size] / norm


@pytest.mark.parametrize('bits', [0, 1, 4, 5, 6, 11])
def test_walsh_hadamard_is_the_matrix(bits):
  x = np.random.default_rng(0).standard_normal(1 << bits)
  got = walsh_hadamard(jnp.float32(x))
  np.testing.assert_allclose(got, hadamard(1 << bits) @ x, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(walsh_hadamard(jnp.arange(1.0, 5)), [10, -2, -4, 0])


@sizes
def test_it_is_the_dense_matrix_column_by_column(length, size):
  f = fastfood(length, size)
  matrix = dense(f)
  columns = jax.jit(jax.vmap(f.project, out_axes=1))(jnp.eye(length))
  np.testing.assert_allclose(columns, matrix, atol=2e-6)
  rows = jax.jit(jax.vmap(f.project_back))(jnp.eye(size))
  np.testing.assert_allclose(rows, matrix, atol=2e-6)


@sizes
def test_the_way_back_is_the_transpose(length, size):
  f, rng = fastfood(length, size), np.random.default_rng(1)
  v, u = jnp.float32(rng.standard_normal(length)), jnp.float32(rng.standard_normal(size))
  there, back = jnp.vdot(f.project(v), u), jnp.vdot(v, f.project_back(u))
  np.testing.assert_allclose(there, back, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ('length', 'size', 'tolerance'), [(500, 1 << 17, 0.01), (900, 70_001, 0.02), (2_000, 768, 0.12)]
)
def test_lengths_are_kept(length, size, tolerance):
  v = jnp.float32(np.random.default_rng(0).standard_normal(length))
  for seed in range(3):
    f = fastfood(length, size, seed)
    seen = v[: f.padded]  # what lies behind the padded size is cut
    ratio = jnp.linalg.norm(f.project(v)) / jnp.linalg.norm(seen)
    assert abs(ratio - 1) < tolerance
    assert not f.project(jnp.zeros(length)).any()


def test_what_does_not_fit_is_cut():
  f, v = fastfood(20, 7), np.arange(20, dtype=np.float32)
  other = np.where(np.arange(20) < 8, v, 99)
  np.testing.assert_array_equal(f.project(jnp.array(v)), f.project(jnp.array(other)))
  assert not f.project_back(jnp.ones(7))[8:].any()


@pytest.mark.parametrize('bits', [0, 1, 2, 3, 9, 10, 15])
def test_permutations_are_permutations(bits):
  for seed in range(20):
    assert sorted(permutation(fastfood(3, 1 << bits, seed))) == list(range(1 << bits))


def test_permutations_are_random():
  # Each place takes each entry equally often, and a place tells nothing about the next.
  drawn = np.array([permutation(fastfood(3, 16, seed)) for seed in range(800)])
  every = np.array([np.bincount(column, minlength=16) for column in drawn.T])
  assert abs(every / 800 - 1 / 16).max() < 0.04  # 4.7 standard deviations
  steps = np.bincount(((drawn[:, 1:] - drawn[:, :-1]) % 16).ravel(), minlength=16)[1:]
  assert abs(steps / steps.sum() - 1 / 15).max() < 0.015


def test_gaussians_are_normal_and_independent():
  first, second = (np.asarray(fastfood(3, 1 << 17, seed).gaussians()) for seed in (0, 1))
  assert kstest(first, 'norm').pvalue > 0.01
  assert np.isfinite(first).all() and 4 < abs(first).max() < 5.5
  for other in (second, np.roll(first, 1), np.roll(first, 1 << 8)):
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.012  # 4.3 standard deviations
    assert abs(np.corrcoef(first**2, other**2)[0, 1]) < 0.012


def test_what_a_key_draws_never_changes():
  # Adapter files hold a seed: these numbers are part of their format.
  got = fastfood(5, 7, 0).project(jnp.arange(1.0, 6))
  want = [-4.938735, 2.716119, -0.589335, 0.245959, 1.385908, -0.085721, -2.051976]
  np.testing.assert_allclose(got, want, rtol=1e-5)
