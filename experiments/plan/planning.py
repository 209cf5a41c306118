"""The whole plan of a job: its programs, the largest batch and the best mesh."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

from compacter_jax.errors import ConfigError
from experiments.plan import search, text
from experiments.plan.estimate import Estimate, estimate
from experiments.plan.programs import Programs, config_of
from experiments.plan.topology import Topology
from experiments.schema import Job, Mesh

Told = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Wanted:
  """What is planned beside the programs as they are.

  Attributes:
    target: ids of an answer. largest: whether the largest batch is looked for. search: whether
      every mesh is tried.
  """

  target: int
  largest: bool = False
  search: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
  """What came of it.

  Attributes:
    estimates: of the training step and of decoding. largest: rows of the largest batch that fits,
      None if it was not looked for. tried: every mesh, the best first.
  """

  job: Job
  topology: Topology
  estimates: list[Estimate]
  largest: int | None
  tried: list[search.Tried]

  @property
  def chips(self) -> int:
    """How many are used."""
    return math.prod(self.estimates[0].mesh.values())

  def text(self, config: str, form: str) -> str:
    """The plan for people; config: the name of its settings."""
    parts = [
      text.head(self.job, config, self.topology, self.chips),
      text.estimates(self.estimates, form),
    ]
    if self.largest is not None:
      parts.append(f'largest batch that fits: {self.largest:,} rows' if self.largest else NOTHING)
    if self.tried:
      parts.append(text.meshes(self.tried, form))
    source = self.topology.chip.source
    parts.append(f'figures of the chip: {source}' if source else '')
    return '\n\n'.join(part for part in parts if part)

  def as_json(self) -> dict[str, Any]:
    """The plan as JSON has it."""
    return {
      'model': self.job.model,
      'topology': self.topology.name,
      'chips': self.chips,
      'chip': dataclasses.asdict(self.topology.chip),
      'estimates': [each.as_json() for each in self.estimates],
      'largest': self.largest,
      'meshes': [
        {
          'mesh': dataclasses.asdict(each.mesh),
          'estimate': each.estimate.as_json() if each.estimate else None,
          'why': each.why,
        }
        for each in self.tried
      ],
    }


NOTHING = 'largest batch that fits: none on this mesh'


def plan(job: Job, topology: Topology, wanted: Wanted, told: Told = lambda text: None) -> Plan:
  """Compiles what a job runs, for the devices of a topology.

  Raises ConfigError where model, method, mesh and batch do not go together.
  """
  cfg = config_of(job.model)
  programs = Programs(job, cfg, topology)
  ids = job.data.max_source, wanted.target
  measured = functools.partial(estimate, topology=topology, told=told)
  step = measured(programs.step(job.batch_size, *ids))
  found = [step, measured(programs.decoding(job.eval_batch_size, *ids))]
  most = None
  if wanted.largest and step.memory.limit is not None:
    most = largest(programs, ids, step, measured)
  tried = []
  if wanted.search:
    one = functools.partial(on_mesh, job, cfg, topology, ids, told)
    devices = job.mesh.devices or len(topology.devices)
    tried = search.search(search.meshes(devices), one, told)
  return Plan(job, topology, found, most, tried)


def largest(
  programs: Programs, ids: tuple[int, int], step: Estimate, measured: Callable[[Any], Estimate]
) -> int:
  """The largest batch whose training step fits."""
  if (limit := step.memory.limit) is None:
    raise ConfigError('How much memory a device has is not known.', where='topology')

  def memory(rows: int) -> tuple[int, int]:
    found = step if rows == step.rows else measured(programs.step(rows, *ids))
    return found.memory.total, found.memory.limit or limit

  return search.largest(memory, programs.unit, step.rows)


def on_mesh(
  job: Job, cfg: Any, topology: Topology, ids: tuple[int, int], told: Told, mesh: Mesh
) -> Estimate:
  """The training step on a mesh, its rows filled up to what that divides."""
  programs = Programs(dataclasses.replace(job, mesh=mesh), cfg, topology)
  rows = -(-job.batch_size // programs.unit) * programs.unit
  return estimate(programs.step(rows, *ids), topology, told)
