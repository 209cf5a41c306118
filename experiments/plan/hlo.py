"""A compiled program's text, read: computations, instructions, and how often each is executed."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping

# Bits of an element; those of types that are not here are their digits: 32 of f32.
BITS = {'pred': 8, 'token': 0, 'opaque': 0, 'c64': 64, 'c128': 128, 'bf16': 16}
ARRAY = re.compile(r'\b([a-z]\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?')
HEADER = re.compile(r'(ENTRY )?%?([\w.\-]+) \(.*\{$')
LINE = re.compile(r'\s+(ROOT )?%?([\w.\-]+) = ')
CALLS = re.compile(r'\b(?:calls|body|to_apply|branch_computations|\w+_computation)=\{?(%?[^,{}]+)')
NAME = re.compile(r'%([\w.\-]+)')
COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
FLOW = 'call', 'while', 'conditional', 'async-start'


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One instruction.

  Attributes:
    shape: of its result, with layouts. operands: their names. text: all of the line.
    rest: what follows the operands.
  """

  name: str
  opcode: str
  shape: str
  operands: tuple[str, ...]
  rest: str
  text: str
  root: bool

  def attribute(self, name: str) -> str:
    """The name of a computation that it refers to: body, condition or calls."""
    found = re.search(rf'\b{name}=%?([\w.\-]+)', self.rest)
    return found[1] if found else ''


@dataclasses.dataclass(frozen=True)
class Execution:
  """An instruction as a part of the whole program.

  Attributes:
    times: how often it is executed. inside: its computation. fused: that of the fusion it is in,
      or ''. caller: the computation of that fusion, or its own.
  """

  instruction: Instruction
  times: int
  inside: Mapping[str, Instruction]
  fused: str
  caller: str


class Module:
  """A program.

  Attributes:
    computations: by name, their instructions by name.
  """

  def __init__(self, text: str, turns: int = 1):
    """turns: of loops that do not tell how often they turn."""
    self.computations: dict[str, dict[str, Instruction]] = {}
    self._entry, self._turns = '', turns
    current: dict[str, Instruction] = {}
    for line in text.splitlines():
      if header := HEADER.match(line):
        current = self.computations.setdefault(header[2], {})
        if header[1]:
          self._entry = header[2]
      elif found := LINE.match(line):
        instruction = _parsed(line, found)
        current[instruction.name] = instruction

  def executions(self) -> Iterator[Execution]:
    """Every instruction, those inside of fusions too, with how often it is executed."""
    yield from self._of(self._entry, 1, '', '')

  def turns(self, loop: Instruction) -> int:
    """How often a while loop turns; of a loop that may end early, at most."""
    if known := COUNT.search(loop.rest):
      return int(known[1])
    limits = list(self._limits(loop.attribute('condition')))
    return max(limits, default=self._turns)

  def _of(self, name: str, times: int, fused: str, caller: str) -> Iterator[Execution]:
    inside = self.computations.get(name, {})
    for each in inside.values():
      yield Execution(each, times, inside, fused, caller or name)
      if each.opcode == 'while':
        yield from self._of(each.attribute('body'), times * self.turns(each), '', '')
      elif each.opcode == 'fusion':
        called = each.attribute('calls')
        yield from self._of(called, times, called, caller or name)
      elif each.opcode in FLOW:
        for called in _called(each):
          yield from self._of(called, times, fused, caller if fused else '')

  def _limits(self, condition: str) -> Iterator[int]:
    """The whole numbers that a loop's condition compares with: `scan` counts up from 0."""
    for each in self.computations.get(condition, {}).values():
      if each.opcode == 'constant' and (found := re.search(r'constant\((\d+)\)', each.text)):
        yield int(found[1])
      for called in _called(each):
        yield from self._limits(called)


def size(shape: str, hbm: bool = False) -> int:
  """Bytes of a result, all of a tuple's.  hbm: without what lies in a memory on the chip."""
  total = 0
  for kind, dimensions, layout in ARRAY.findall(shape):
    on_chip = re.search(r'S\((\d+)\)', layout)
    if not (hbm and on_chip and on_chip[1] != '0'):
      count = math.prod(int(n.lstrip('<=')) for n in dimensions.split(',') if n)
      total += (count * _bits(kind) + 7) // 8
  return total


@functools.cache
def _bits(kind: str) -> int:
  if kind in BITS:
    return BITS[kind]
  digits = re.match(r'[a-z]+(\d+)', kind)
  return int(digits[1]) if digits else 0


def _called(instruction: Instruction) -> list[str]:
  if instruction.opcode in ('while', 'reduce', 'all-reduce', 'reduce-scatter'):
    return []
  found = re.findall(r'\bbranch_computations=\{([^}]*)\}', instruction.rest)
  names = [name for group in found for name in NAME.findall(group)]
  for name in CALLS.findall(instruction.rest):
    names += [] if 'branch_computations' in name else [name.strip().lstrip('%')]
  return list(dict.fromkeys(names))


def _parsed(line: str, head: re.Match[str]) -> Instruction:
  start = head.end()
  end = _closing(line, start) + 1 if line[start] == '(' else line.index(' ', start)
  opening = line.index('(', end)
  closing = _closing(line, opening)
  operands = tuple(NAME.findall(line[opening:closing]))
  opcode = line[end:opening].strip()
  parts = line[start:end], operands, line[closing + 1 :], line
  return Instruction(head[2], opcode, *parts, root=bool(head[1]))


def _closing(line: str, start: int) -> int:
  """Where the parenthesis that opens at `start` is closed."""
  depth = 0
  for found in re.compile(r'[()]').finditer(line, start):
    depth += 1 if found[0] == '(' else -1
    if not depth:
      return found.start()
  return len(line)
