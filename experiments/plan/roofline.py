"""The least time of a step: each of three walls alone, and which one is hit."""

import dataclasses

from experiments.plan.chips import Chip


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Seconds that a program takes at least, on one chip.

  Attributes:
    compute: of its products at the peak of bfloat16. hbm: of its traffic with HBM.
    interconnect: of what it sends, all links of a chip busy in one direction.
  """

  compute: float
  hbm: float
  interconnect: float

  @property
  def seconds(self) -> float:
    """The largest: the others pass meanwhile."""
    return max(self.compute, self.hbm, self.interconnect)

  @property
  def wall(self) -> str:
    """Which it is."""
    walls = 'compute', 'hbm', 'interconnect'
    return max(walls, key=lambda wall: getattr(self, wall))


def roofline(chip: Chip, flops: float, traffic: float, sent: float) -> Roofline | None:
  """The floor of one chip's work; None where the chip's figures are not known.

  sent: bytes that the chip sends; the published figure is of both directions, hence the half.
  """
  if chip.flops is None or chip.bandwidth is None or chip.interconnect is None:
    return None
  return Roofline(flops / chip.flops, traffic / chip.bandwidth, sent / (chip.interconnect / 2))
