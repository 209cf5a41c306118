"""Which batch and which mesh suit a topology, tried out by compiling."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

from compacter_jax.divisors import divisors
from compacter_jax.errors import ConfigError
from experiments.plan.estimate import Estimate
from experiments.schema import Mesh

MOST = 65_536  # rows of a batch that are tried
PRECISION = 8  # the largest batch is found to an eighth of it, or exactly where it is small


def largest(memory: Callable[[int], tuple[int, int]], unit: int, start: int) -> int:
  """The largest batch that fits, a multiple of `unit`; 0 if not even one unit does.

  memory: rows -> bytes that they take and bytes that there are. It grows almost evenly with the
    rows, so that few are tried: where the line through the last two meets the bound.
  start: rows to begin with.
  """
  fits, fails = 0, MOST // unit + 1  # in units
  seen: dict[int, int] = {}
  guess = min(max(start // unit, 1), fails - 1)
  while fails - fits > max(1, fits // PRECISION):
    used, limit = memory(guess * unit)
    seen[guess] = used
    fits, fails = (guess, fails) if used <= limit else (fits, guess)
    guess = min(max(_meets(seen, limit, guess), fits + 1), fails - 1)
  return fits * unit


def _meets(seen: dict[int, int], limit: int, last: int) -> int:
  """Where the line through what was seen meets the limit."""
  if len(seen) == 1:
    return last * 2 if seen[last] <= limit else last // 2
  near = sorted(seen, key=lambda k: abs(seen[k] - limit))[:2]
  a, b = sorted(near)
  slope = (seen[b] - seen[a]) / (b - a)
  return int(a + (limit - seen[a]) / slope) if slope > 0 else last * 2


def doubled(fits: Callable[[int], bool], start: int, unit: int, most: int = MOST) -> int:
  """The largest of start, twice, four times, half of it and so on that fits; 0 if none does.

  unit: all of them are multiples of it. most: no more is tried.
  """
  rows = start
  if fits(rows):
    while 2 * rows <= most and fits(2 * rows):
      rows *= 2
    return rows
  while rows % (2 * unit) == 0:
    rows //= 2
    if fits(rows):
      return rows
  return 0


def meshes(devices: int) -> Iterator[Mesh]:
  """Every mesh of so many devices, the least split weights first."""
  for tensor, fsdp in itertools.product(divisors(devices), repeat=2):
    if devices % (tensor * fsdp) == 0:
      yield Mesh(devices // (tensor * fsdp), fsdp, tensor, devices)


@dataclasses.dataclass(frozen=True)
class Tried:
  """One mesh: what it takes, or why it cannot be."""

  mesh: Mesh
  estimate: Estimate | None
  why: str = ''


def search(
  choices: Iterator[Mesh], estimate: Callable[[Mesh], Estimate], told: Callable[[str], None]
) -> list[Tried]:
  """Every mesh, the fastest per row that fits first, then those that do not fit or cannot be."""
  tried = []
  for mesh in choices:
    told(f'mesh {mesh.data} x {mesh.fsdp} x {mesh.tensor}')
    try:
      tried.append(Tried(mesh, estimate(mesh)))
    except ConfigError as error:
      tried.append(Tried(mesh, None, f'{error.what} {error.expected}'.strip()))
  return sorted(tried, key=_rank)


def _rank(tried: Tried) -> tuple[int, float]:
  found = tried.estimate
  if found is None:
    return 2, 0.0
  if not found.memory.fits:
    return 1, float(found.memory.total)
  if found.roofline is None:  # of a chip without figures: by what is sent and held
    return 0, found.sent + found.memory.total
  return 0, found.roofline.seconds / found.rows
