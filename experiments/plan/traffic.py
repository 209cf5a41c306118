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
IDLE = 'AllocateBuffer', 'AssumeGatherIndicesInBound', 'ConcatBitcast'  # of custom calls
SLICES = 'dynamic-slice', 'slice', 'gather'
Inside = Mapping[str, Instruction]


def traffic(module: Module) -> int:
  """Bytes that one chip reads from its HBM and writes to it."""
  total = 0
  for each in module.executions():
    op = each.instruction.opcode
    if each.fused or op in FREE or op.endswith(('-done', '-update')):
      continue
    if any(f'custom_call_target="{name}"' in each.instruction.rest for name in IDLE):
      continue
    total += each.times * _moved(each.instruction, each.inside, module)
  return total


def _moved(one: Instruction, inside: Inside, module: Module) -> int:
  reads = [size(inside[name].shape, hbm=True) for name in one.operands if name in inside]
  written = size(one.shape, hbm=True)
  if one.opcode == 'fusion':
    parameters = _parameters(one, module)
    reads = [min(whole, _read(p, one, module)) for whole, p in zip(reads, parameters)]
    return sum(reads) + min(written, _written(one, module))
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


def _fused(fusion: Instruction, module: Module) -> Inside:
  return module.computations.get(fusion.attribute('calls'), {})


def _parameters(fusion: Instruction, module: Module) -> list[Instruction]:
  number = lambda p: int(p.text.split('parameter(')[1].split(')')[0])
  found = (each for each in _fused(fusion, module).values() if each.opcode == 'parameter')
  return sorted(found, key=number)


def _read(parameter: Instruction, fusion: Instruction, module: Module) -> int:
  """How much of an operand a fusion reads."""
  fused = _fused(fusion, module)
  whole, total = size(parameter.shape), 0
  names = _aliases(parameter, fused)
  users = (each for each in fused.values() if names & {*each.operands} and not _same(each))
  for user in users:
    places = [i for i, name in enumerate(user.operands) if name in names]
    if user.opcode in SLICES and places == [0]:
      total += size(user.shape)
    elif user.opcode == 'fusion':
      inner = _parameters(user, module)
      total += sum(_read(inner[i], user, module) for i in places)
    elif user.opcode == 'dynamic-update-slice' and places == [0]:
      continue
    elif user.opcode == 'tuple' or user.opcode in SENT:
      continue  # passed on; of a collective that is spread over fusions, the sending is counted
    else:
      return whole
  return min(whole, total)


def _aliases(parameter: Instruction, fused: Inside) -> set[str]:
  """The parameter under all its names."""
  names, before = {parameter.name}, 0
  while len(names) > before:
    before = len(names)
    names |= {x.name for x in fused.values() if _same(x) and names & {*x.operands}}
  return names


def _same(one: Instruction) -> bool:
  """Whether it is its operand under another name, or in a layout that is read on the way."""
  aliased = 'output_to_operand_aliasing={{}: (0, {})}' in one.rest
  return one.opcode == 'bitcast' or one.opcode == 'fusion' and aliased


def _written(fusion: Instruction, module: Module) -> int:
  """How much of its results a fusion writes."""
  fused = _fused(fusion, module)
  root = next((each for each in fused.values() if each.root), None)
  if root is None:
    return 0
  parts = root.operands if root.opcode == 'tuple' else (root.name,)
  return sum(_part(fused[name], fused, module) for name in parts if name in fused)


def _part(one: Instruction, fused: Inside, module: Module) -> int:
  while _same(one) and one.operands[0] in fused:
    one = fused[one.operands[0]]
  if one.opcode == 'parameter':
    return 0
  if one.opcode == 'dynamic-update-slice':
    return size(fused[one.operands[1]].shape)
  whole = size(one.shape, hbm=True)
  return min(whole, _written(one, module)) if one.opcode == 'fusion' else whole
