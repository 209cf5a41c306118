"""One compiled program: what it holds, computes, moves and sends on each chip."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from experiments.plan.collectives import Collective, collectives
from experiments.plan.hlo import Module
from experiments.plan.memory import Memory, compiled
from experiments.plan.programs import Program
from experiments.plan.roofline import Roofline, roofline
from experiments.plan.topology import Topology
from experiments.plan.traffic import traffic


@dataclasses.dataclass(frozen=True)
class Estimate:
  """What a program takes, on one chip.

  Attributes:
    name: of the program. rows: of its batch, on all chips. mesh: sizes of the axes.
    flops: of its products. traffic: bytes to and from HBM; None where it does not fit.
    seconds: that the compiler took.
  """

  name: str
  rows: int
  mesh: dict[str, int]
  memory: Memory
  flops: float
  traffic: int | None
  collectives: list[Collective]
  roofline: Roofline | None
  seconds: float

  @property
  def sent(self) -> float:
    """Bytes that each chip sends."""
    return sum(each.bytes for each in self.collectives)

  def as_json(self) -> dict[str, Any]:
    """All of it as JSON has it."""
    out = dataclasses.asdict(self)
    out['memory'] |= {'total': self.memory.total, 'fits': self.memory.fits}
    out['sent'] = self.sent
    if self.roofline:
      out['roofline'] |= {'seconds': self.roofline.seconds, 'wall': self.roofline.wall}
    return out


def estimate(
  program: Program, topology: Topology, told: Callable[[str], None] = lambda text: None
) -> Estimate:
  """Compiles a program and reads what came of it.  told: hears what takes long."""
  chips, chip = program.mesh.size, topology.chip
  told(f'compiling the {program.name} of {program.rows} rows')
  begin = time.perf_counter()
  memory, executable = compiled(program, chip.usable)
  seconds = time.perf_counter() - begin
  flops = program.flops() / chips
  mesh = {str(axis): size for axis, size in program.mesh.shape.items()}
  told_of = program.name, program.rows, mesh, memory, flops
  if executable is None:
    return Estimate(*told_of, None, [], None, seconds)
  module = Module(executable.as_text(), program.turns or 1)
  # The text of a CPU or GPU program does not tell which memory is which.
  moved = traffic(module) if chip.bandwidth else None
  found = collectives(module, chips)
  floor = roofline(chip, flops, moved or 0, sum(each.bytes for each in found))
  return Estimate(*told_of, moved, found, floor, seconds)
