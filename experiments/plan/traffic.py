"""Bytes between HBM and chip in one execution of a program, by its compiled text.

The compiler's own `cost_analysis` counts a loop once however often it turns, hence this count: what
each instruction reads and writes that does not lie in a memory on the chip. Of an operand that a
fusion only slices, the slices count; of one that is updated in place, the update.
"""

from collections.abc import Mapping

from experiments.plan.collectives import SENT
from experiments.plan.hlo import ARRAY, FLOW, Instruction, Module, size

# These move nothing by themselves.
FREE = {
  *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all', 'iota'),
  *('partition-id', 'replica-id', 'opt-barrier', 'domain', *FLOW),
}
SLICES = 'dynamic-slice', 'slice', 'gather'
Inside = Mapping[str, Instruction]


def traffic(module: Module) -> int:
  """Bytes that one chip reads from its HBM and writes to it."""
  total = 0
  for each in module.executions():
    op = each.instruction.opcode
    if each.fused or op in FREE or op.endswith(('-done', '-update')):
      continue
    total += each.times * _moved(each.instruction, each.inside, module)
  return total


def _moved(one: Instruction, inside: Inside, module: Module) -> int:
  reads = [size(inside[name].shape, hbm=True) for name in one.operands if name in inside]
  written = size(one.shape, hbm=True)
  if one.opcode == 'fusion':
    fused = module.computations.get(one.attribute('calls'), {})
    parameters = sorted((p for p in fused.values() if p.opcode == 'parameter'), key=_number)
    reads = [min(whole, _read(p, fused)) for whole, p in zip(reads, parameters)]
    return sum(reads) + min(written, _written(fused))
  if one.opcode in SLICES:
    return 2 * written
  if one.opcode == 'dynamic-update-slice':
    return 2 * reads[1]
  if one.opcode == 'slice-start':
    return _sliced(one)
  if one.opcode.endswith('-start') and one.shape.startswith('('):
    return written  # the result holds the operand once more
  return sum(reads) + written


def _sliced(one: Instruction) -> int:
  """A slice on its way: read if its source is in HBM, and written if it goes there."""
  arrays = [found[0] for found in ARRAY.finditer(one.shape)]
  source, taken = arrays[0], arrays[1]
  return (size(source, hbm=True) > 0) * size(taken) + size(taken, hbm=True)


def _number(parameter: Instruction) -> int:
  return int(parameter.text.split('parameter(')[1].split(')')[0])


def _read(parameter: Instruction, fused: Inside) -> int:
  """How much of an operand a fusion reads."""
  whole, total = size(parameter.shape), 0
  for name in _aliases(parameter, fused):
    for user in (each for each in fused.values() if name in each.operands):
      if user.opcode in SLICES and user.operands[0] == name:
        total += size(user.shape)
      elif user.opcode == 'dynamic-update-slice' and user.operands[0] == name:
        continue
      elif user.opcode in ('bitcast', 'tuple') or user.opcode in SENT:
        continue  # passed on; of a collective that is spread over fusions, the sending is counted
      else:
        return whole
  return min(whole, total)


def _aliases(parameter: Instruction, fused: Inside) -> set[str]:
  """The parameter under all its names."""
  names, size_ = {parameter.name}, 0
  while len(names) > size_:
    size_ = len(names)
    names |= {x.name for x in fused.values() if x.opcode == 'bitcast' and names & {*x.operands}}
  return names


def _written(fused: Inside) -> int:
  """How much of its results a fusion writes."""
  (root,) = [each for each in fused.values() if each.root] or [None]
  if root is None:
    return 0
  parts = root.operands if root.opcode == 'tuple' else (root.name,)
  return sum(_part(fused[name], fused) for name in parts if name in fused)


def _part(one: Instruction, fused: Inside) -> int:
  while one.opcode == 'bitcast' and one.operands[0] in fused:
    one = fused[one.operands[0]]
  if one.opcode == 'parameter':
    return 0
  if one.opcode == 'dynamic-update-slice':
    return size(fused[one.operands[1]].shape)
  return size(one.shape, hbm=True)
