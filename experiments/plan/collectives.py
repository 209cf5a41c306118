"""What chips send each other in one execution of a program, by its compiled text."""

import dataclasses
import math
import re

from experiments.plan.hlo import Execution, Module, size

# What each chip sends on, as a share of its operand, among a group of g chips in a ring.
SENT = {
  'all-gather': lambda g: g - 1,
  'all-reduce': lambda g: 2 * (g - 1) / g,
  'reduce-scatter': lambda g: (g - 1) / g,
  'all-to-all': lambda g: (g - 1) / g,
  'collective-permute': lambda g: 1,
}


@dataclasses.dataclass(frozen=True)
class Collective:
  """All collectives of a kind.

  Attributes:
    count: how many a step executes. bytes: that each chip sends in them.
  """

  kind: str
  count: int
  bytes: float


def collectives(module: Module, chips: int) -> list[Collective]:
  """The collectives of a program by kind, the ones that send most first."""
  counts: dict[str, int] = {}
  sent: dict[str, float] = {}
  seen: set[tuple[str, str]] = set()
  for each in module.executions():
    kind = each.instruction.opcode.removesuffix('-start')
    if kind not in SENT or _again(each, seen):
      continue
    # A TPU scatters a sum in a fusion of an all-reduce and a slice of its result.
    if each.fused.startswith('all-reduce-scatter'):
      kind = 'reduce-scatter'
    operand = sum(
      size(each.inside[name].shape) for name in each.instruction.operands if name in each.inside
    )
    group = group_size(each.instruction.rest, chips)
    counts[kind] = counts.get(kind, 0) + each.times
    sent[kind] = sent.get(kind, 0) + each.times * operand * SENT[kind](group)
  found = [Collective(kind, counts[kind], sent[kind]) for kind in counts]
  return sorted(found, key=lambda c: -c.bytes)


def group_size(attributes: str, chips: int) -> int:
  """How many chips take part in one group of a collective.

  The text has them listed, `{{0,1},{2,3}}`; counted, `[2,2]<=[4]`, groups first; or as axes of a
  mesh, `mesh['a'=2,'b'=2] {'b'}`, where an axis may be a part of one, `'a':(1)2`, and the order of
  the devices may stand between. Empty is all. Raises ValueError for any other notation.
  """
  if 'replica_groups=' not in attributes or 'replica_groups={}' in attributes:
    return chips
  text = attributes.split('replica_groups=', 1)[1]
  if listed := re.match(r'\{\{([\d,]+)\}', text):
    return listed[1].count(',') + 1
  if counted := re.match(r'\[\d+,(\d+)\]<=', text):
    return int(counted[1])
  if mesh := re.match(r'mesh\[([^\]]*)\][^{]*\{([^}]*)\}', text):
    sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", mesh[1])}
    axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", mesh[2])
    return math.prod(int(part) if part else sizes[name] for name, part in axes)
  raise ValueError(f'groups of chips in an unknown notation: {text[:80]}')


def _again(each: Execution, seen: set[tuple[str, str]]) -> bool:
  """Whether this is a further part of a collective that was counted.

  A TPU overlaps a collective with products by spreading it over the fusions of several of them;
  all parts have one channel.
  """
  channel = re.search(r'channel_id=(\d+)', each.instruction.rest)
  if not each.fused or not channel:
    return False
  key = each.caller, channel[1]
  if key in seen:
    return True
  seen.add(key)
  return False
