import pytest

from compacter_jax.divisors import divisors


@pytest.mark.parametrize('size', [*range(-1, 50), 144, 768, 997, 2**16, 3**9])
def test_divisors(size):
  assert divisors(size) == [m for m in range(1, size + 1) if size % m == 0]


def test_none_is_above_the_most():
  assert divisors(768, 12) == [1, 2, 3, 4, 6, 8, 12]
  assert divisors(768, 0) == []


def test_a_size_that_a_file_claims_takes_no_minutes():
  assert divisors(2**31 - 1) == [1, 2**31 - 1]  # a prime
