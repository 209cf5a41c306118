"""The one permutation that decides which rows are drawn: torch's, without torch."""

from collections.abc import Collection

import numpy as np

from compacter_jax.errors import ConfigError

SEEDS = 2**32  # of a Mersenne Twister


def torch_permutation(n: int, seed: int = 42) -> np.ndarray:
  """`torch.randperm(n)` of a CPU generator with that seed: int64 [n].

  Torch shuffles forwards, entry i with one of the n - i from i on, drawn by the remainder of a raw
  output of the Mersenne Twister. Raises ConfigError unless 0 <= seed < 2**32.
  """
  if not 0 <= seed < SEEDS:
    raise ConfigError('The seed is out of range.', expected='0 <= seed < 2**32', got=str(seed))
  twister = np.random.RandomState(seed)
  raw = twister.randint(0, 2**32, size=max(n - 1, 0), dtype=np.uint32)  # full range: raw outputs
  first = np.arange(len(raw))
  order = list(range(n))  # a list: swapping entries of an array one by one is slow
  for i, j in enumerate((first + raw % (n - first)).tolist()):
    order[i], order[j] = order[j], order[i]
  return np.array(order, np.int64)


def permuted(rows: Collection[int], n: int, seed: int) -> list[int]:
  """Some of n rows, in the order in which the permutation of all n has them."""
  wanted = set(rows)
  return [row for row in torch_permutation(n, seed).tolist() if row in wanted]
