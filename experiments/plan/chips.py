"""What one chip has: the figures of Google Cloud's documentation, and the slices it rents."""

import dataclasses

GB, GIB = 1e9, 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """The published figures of one chip; None is not known.

  Attributes:
    name: of the generation. kind: what JAX calls the device.
    flops: peak of bfloat16 products, FLOP/s.
    memory: bytes of HBM. usable: what libtpu 0.0.42 leaves of it to a program.
    bandwidth: bytes per second between HBM and chip.
    interconnect: bytes per second to and from all neighbours together, both directions.
    slices: the topologies that are rented. options: what libtpu is told beside the topology.
    source: page of the figures.
  """

  name: str
  kind: str
  flops: float | None = None
  memory: float | None = None
  usable: float | None = None
  bandwidth: float | None = None
  interconnect: float | None = None
  slices: tuple[str, ...] = ()
  options: tuple[tuple[str, str], ...] = ()
  source: str = ''


PAGES = 'https://docs.cloud.google.com/tpu/docs/'
FLAT = '1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16'
CUBES = '2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8', '8x8x16', '8x16x16'

# Read on these pages, but for the interconnect of v4: its page names none, and six links of 50 GB/s
# in each direction are recalled from the paper on TPU v4 (arXiv:2304.01433), not read again. Of v6e
# older versions of the page give 1,640 GB/s and 3,584 Gbit/s instead.
CHIPS = {
  chip.name: chip
  for chip in (
    Chip(
      'v4',
      'TPU v4',
      flops=275e12,
      memory=32 * GIB,
      usable=30.75 * GIB,
      bandwidth=1200 * GB,
      interconnect=600 * GB,
      slices=CUBES,
      options=(('chip_config_name', 'megacore'),),  # as rented: both cores of a chip are one device
      source=PAGES + 'v4',
    ),
    Chip(
      'v5e',
      'TPU v5 lite',
      flops=197e12,
      memory=16 * GIB,
      usable=15.75 * GIB,
      bandwidth=819 * GB,
      interconnect=400 * GB,
      slices=FLAT,
      source=PAGES + 'v5e',
    ),
    Chip(
      'v5p',
      'TPU v5',
      flops=459e12,
      memory=95 * GIB,
      usable=95.74 * GIB,
      bandwidth=2765 * GB,
      interconnect=1200 * GB,
      slices=CUBES,
      source=PAGES + 'v5p',
    ),
    Chip(
      'v6e',
      'TPU v6 lite',
      flops=918e12,
      memory=32 * GIB,
      usable=31.25 * GIB,
      bandwidth=1600 * GB,
      interconnect=800 * GB,
      slices=FLAT,
      source=PAGES + 'v6e',
    ),
  )
}
