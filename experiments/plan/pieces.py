"""One T5 with one method on one slice: its mesh, and the most rows that fit.

A normal compilation takes minutes, so what fits is asked of a quick one, which holds about as much
(`programs.QUICK`); what is told of the rows that were found is of a normal one.
"""

import functools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from compacter_jax.errors import ConfigError
from experiments import schema
from experiments.configs import HERE, read_config
from experiments.plan import search
from experiments.plan.estimate import estimate
from experiments.plan.memory import Memory, compiled
from experiments.plan.programs import Programs, config_of
from experiments.plan.topology import Topology

SOURCE, TARGET = 512, 64
TENSOR = 1, 4, 8  # ways to split a matrix that are tried
PER_CHIP = 8, 1  # rows of a step for which a mesh is chosen, the first that fits
SURELY = 1.25  # times the memory there is, which an estimate is never wrong by
MOST = 128  # rows a chip that are tried: more are of no use, and take long to compile


def piece(
  model: str,
  config: str,
  found: Topology,
  batch: int = 0,
  near: tuple[dict[str, int], int] | None = None,
) -> dict[str, Any]:
  """What came of it, for JSON: 'estimate' of the training step, 'tried' meshes.

  batch: its rows; 0 looks for the most. near: mesh and rows of another method on the same frozen
    T5: the mesh is taken, and the search begins with the rows.

  Raises ConfigError where no mesh suits the T5.
  """
  fit, chips = _Fit(model, config, found), len(found.devices)
  tried = []
  if near:
    mesh, start = schema.Mesh(**near[0], devices=chips), near[1]
  else:
    tried, start = _first(fit, list(meshes(chips)), [batch or each * chips for each in PER_CHIP])
    mesh, held = tried[-1]
    if not held.fits:
      mesh, held = min(tried, key=lambda one: one[1].total)
      return {'estimate': _told(mesh, held), 'tried': [_told(*each) for each in tried]}
    start = min(_guess(held, start), MOST * chips)
  programs, most = fit.programs(mesh), MOST * chips
  true = functools.partial(estimate, topology=found, told=_tell)
  if near and not batch:  # as many rows fit as did there, most often
    best = true(programs.step(start, SOURCE, TARGET))
    if best.memory.fits and (2 * start > most or _overfull(best.memory)):
      return {'estimate': best.as_json(), 'tried': []}
  rows = batch or search.doubled(functools.partial(fit.fits, mesh), start, programs.unit, most)
  rows = rows or programs.unit  # where none fit, that is told of the fewest
  best = true(programs.step(rows, SOURCE, TARGET))
  while not best.memory.fits and not batch and rows % (2 * programs.unit) == 0:
    rows //= 2
    best = true(programs.step(rows, SOURCE, TARGET))
  return {'estimate': best.as_json(), 'tried': [_told(*each) for each in tried]}


def meshes(chips: int) -> Iterator[schema.Mesh]:
  """Weights on every chip; split over all; and these with matrices split in a few.

  In the order of what they send, least first.
  """
  yield schema.Mesh(chips, 1, 1, chips)
  for tensor in (each for each in TENSOR if chips % each == 0):
    yield schema.Mesh(1, chips // tensor, tensor, chips)


class _Fit:
  """What a training step holds on meshes, by quick compilations."""

  def __init__(self, model: str, config: str, found: Topology):
    self._model, self._config, self._found = model, config, found
    self._programs: dict[schema.Mesh, Programs] = {}
    self._held: dict[tuple[schema.Mesh, int], Memory] = {}

  def programs(self, mesh: schema.Mesh) -> Programs:
    if mesh not in self._programs:
      settings = _settings(self._model, self._config) | {'mesh': vars(mesh)}
      job, cfg = schema.job(settings), config_of(self._model)
      self._programs[mesh] = Programs(job, cfg, self._found)
    return self._programs[mesh]

  def memory(self, mesh: schema.Mesh, rows: int) -> Memory:
    _tell(f'{mesh.data} x {mesh.fsdp} x {mesh.tensor}, {rows} rows')
    program = self.programs(mesh).step(rows, SOURCE, TARGET)
    held = compiled(program, self._found.chip.usable, quick=True)[0]
    self._held[mesh, rows] = held
    return held

  def fits(self, mesh: schema.Mesh, rows: int) -> bool:
    half = self._held.get((mesh, rows // 2))
    return not (half and _overfull(half)) and self.memory(mesh, rows).fits


def _first(
  fit: _Fit, among: list[schema.Mesh], rows: Iterable[int]
) -> tuple[list[tuple[schema.Mesh, Memory]], int]:
  """The meshes up to the first that fits, and the rows for which it does; all if none does."""
  tried, wrong = [], None
  for each in rows:
    tried = []
    for mesh in among:
      try:
        tried.append((mesh, fit.memory(mesh, each)))
      except ConfigError as error:  # the mesh does not suit the T5, or the rows the mesh
        wrong = error
        continue
      if tried[-1][1].fits:
        return tried, each
  if not tried and wrong:
    raise wrong
  return tried, 0


def _guess(held: Memory, rows: int) -> int:
  """Rows that may fit, a power of two times those that do, as if memory grew evenly with them."""
  if held.limit is None:
    raise ConfigError('How much memory a device has is not known.', where='topology')
  fixed = _fixed(held)
  times = (held.limit - fixed) // max(held.total - fixed, 1)
  return min(rows << max(times.bit_length() - 1, 0), search.MOST)


def _overfull(held: Memory) -> bool:
  """Whether twice the rows would not fit by far, which the compiler takes longest to find."""
  twice = 2 * held.total - _fixed(held)
  return held.limit is not None and twice > SURELY * held.limit


def _fixed(held: Memory) -> int:
  """Bytes that do not grow with the rows."""
  return held.beside + sum(size for name, size in held.groups.items() if name != 'batch')


def _settings(model: str, config: str) -> dict[str, Any]:
  settings = read_config(HERE / f'{config}.py').to_dict()
  own = {'model': model, 'accumulate': 1, 'remat': 'full'}
  own |= {'dtype': 'bfloat16', 'weights_dtype': 'bfloat16'}
  return settings | own | {'data': settings['data'] | {'max_source': SOURCE, 'max_target': TARGET}}


def _told(mesh: schema.Mesh, held: Memory) -> dict[str, Any]:
  sizes = {'data': mesh.data, 'fsdp': mesh.fsdp, 'tensor': mesh.tensor}
  return {
    'mesh': sizes,
    'memory': {'total': held.total, 'limit': held.limit, 'fits': held.fits},
  }


def _tell(text: str) -> None:
  print(f'  {text}', file=sys.stderr, flush=True)
