"""What a size can be cut into."""

import math


def divisors(size: int, most: int | None = None) -> list[int]:
  """The whole numbers that divide `size`, rising, none above `most`: 12 -> [1, 2, 3, 4, 6, 12].

  Takes the time of a square root, as a file may claim any size.
  """
  small = [m for m in range(1, math.isqrt(max(size, 0)) + 1) if size % m == 0]
  large = [size // m for m in reversed(small) if m * m != size]
  return [m for m in small + large if most is None or m <= most]
