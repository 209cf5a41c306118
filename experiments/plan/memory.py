"""What one chip holds while a program runs, by the compiler's own account."""

import dataclasses
import math
import re
from typing import Any

import jax

from compacter_jax.errors import ConfigError
from experiments.plan.programs import Program

UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
# What libtpu 0.0.42 says, arguments counted among the temporaries; and what older ones said.
NUMBER = r'([\d.]+)([KMGT]?)'
USED = (
  re.compile(rf'required for HLO temporaries \({NUMBER}\) exceeds available HBM \({NUMBER}\)'),
  re.compile(rf'Used {NUMBER} of {NUMBER} hbm'),
)


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes on one chip, that of the most where they differ.

  Attributes:
    groups: of the arguments by what they are. padding: what layouts add to them.
    results: that are not written over arguments. temporaries: the most at one time.
    code: of the program itself. limit: what there is, None where that is not known.
    beside: what a run keeps meanwhile and the program does not know of.
  """

  groups: dict[str, int]
  padding: int
  results: int
  temporaries: int
  code: int
  limit: int | None
  beside: int = 0

  @property
  def total(self) -> int:
    """All of them."""
    held = sum(self.groups.values()) + self.padding
    return held + self.results + self.temporaries + self.code + self.beside

  @property
  def fits(self) -> bool:
    """Whether there is room for it."""
    return self.limit is None or self.total <= self.limit


def per_chip(tree: Any) -> int:
  """Bytes of arrays, or of shapes that know where they lie, on one device."""
  leaves = jax.tree.leaves(tree)
  return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def compiled(program: Program, limit: float | None, quick: bool = False) -> tuple[Memory, Any]:
  """The memory of a program and its executable, None where the compiler found it does not fit.

  limit: bytes of a chip. The compiler may leave less; if so its own bound is told. What is called
    with more than that is not compiled. quick: see `Program.compile`.
  """
  groups = {name: per_chip(group) for name, group in program.groups.items()}
  beside = per_chip(program.beside)
  if limit is not None and sum(groups.values()) + beside > limit:
    return Memory(groups, 0, 0, 0, 0, int(limit), beside), None
  try:
    executable = program.compile(quick)
  except jax.errors.JaxRuntimeError as error:
    found = exhausted(str(error), groups, program.name)
    return dataclasses.replace(found, beside=beside), None
  told = executable.memory_analysis()
  memory = Memory(
    groups,
    padding=max(told.argument_size_in_bytes - sum(groups.values()), 0),
    results=told.output_size_in_bytes - told.alias_size_in_bytes,
    temporaries=told.temp_size_in_bytes,
    code=told.generated_code_size_in_bytes,
    limit=None if limit is None else int(limit),
    beside=beside,
  )
  return memory, executable


def exhausted(message: str, groups: dict[str, int], name: str = 'program') -> Memory:
  """The memory of a program that does not fit, from what the compiler says of it.

  Raises ConfigError where it says something else.
  """
  found = next(filter(None, (each.search(message) for each in USED)), None)
  if 'RESOURCE_EXHAUSTED' not in message or not found:
    raise ConfigError(f'The {name} cannot be compiled.', got=message.splitlines()[0])
  used, limit = (int(float(found[i]) * UNITS[found[i + 1]]) for i in (1, 3))
  return Memory(groups, 0, 0, max(used - sum(groups.values()), 0), 0, limit)
