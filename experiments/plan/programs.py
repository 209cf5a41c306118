"""The programs of a run, lowered from shapes: nothing is read or allocated.

They are those of `experiments.finetune` and `experiments.evaluation`, with the same placement.
"""

import dataclasses
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from compacter_jax import optim, sharding, t5, train
from compacter_jax.hub_names import SHIPPED
from compacter_jax.model import Model, abstract
from compacter_jax.placement import Placement
from compacter_jax.t5.config import Config
from experiments.flops import count_flops
from experiments.plan.topology import Topology
from experiments.schema import Job

STEPS = 1_000  # of the run; its program is the same for any number
# A quarter of libtpu's time, for T5-base on v5e:4x4: of a program that moves three times the bytes,
# so that what it holds is near that of the true one, and what it takes is not.
QUICK = {'exec_time_optimization_effort': -1.0}


@dataclasses.dataclass(frozen=True)
class Program:
  """One program and what it is called with.

  Attributes:
    name: for people. rows: of its batch, on all devices.
    groups: the arguments by what they are, as shapes that know where they lie.
    beside: what a run keeps on devices meanwhile, as such shapes too.
    turns: of a loop that may end early, at most.
  """

  name: str
  rows: int
  groups: dict[str, Any]
  beside: Any
  mesh: Mesh
  _function: Any
  _args: tuple[Any, ...]
  turns: int | None = None

  def compile(self, quick: bool = False) -> Any:
    """Its executable.  Raises what the compiler raises where memory does not suffice.

    quick: whether the compiler saves its own time at the cost of the program's. Compilers for other
      devices than TPUs take no notice.
    """
    with jax.set_mesh(self.mesh):
      return self._function.lower(*self._args).compile(QUICK if quick else None)

  def flops(self) -> int:
    """Floating-point operations of its products, on all devices together."""
    with jax.set_mesh(self.mesh):
      return count_flops(self._function, *self._args, turns=self.turns)


class Programs:
  """The programs of one job on a mesh of a topology.

  Attributes:
    mesh: the mesh. unit: a batch is a multiple of it.
  """

  def __init__(self, job: Job, cfg: Config, topology: Topology):
    """Raises ConfigError where the mesh does not fit the devices or the weights."""
    self.mesh = sharding.make_mesh(**dataclasses.asdict(job.mesh), among=topology.devices)
    self._job, self._model = job, Model(cfg, job.method, job.dtype, job.remat, job.unroll)
    frozen: Any = {path: _weight(job, shape) for path, shape in abstract(cfg).items()}
    placement = Placement(self.mesh, self._model, frozen)
    lies = sharding.shardings(self.mesh, sharding.t5_axes(frozen), frozen)
    self._frozen = _placed(self._model.trim(frozen), {k: lies[k] for k in self._model.trim(frozen)})
    self._optimizer = optim.build(job.optim, STEPS)
    state = jax.eval_shape(
      lambda frozen: train.start(self._model.init(jax.random.key(0), frozen), self._optimizer),
      frozen,
    )
    self._lies = placement.lies(self._optimizer)
    self._state: train.State = _placed(state, self._lies)
    self._ways = placement.ways
    self.unit = job.accumulate * placement.ways

  def step(self, rows: int, source: int, target: int) -> Program:
    """A training step.  Raises ConfigError for a batch that does not divide."""
    train.check_batch(rows, self._job.accumulate, self._ways)
    ids = {'source': source, 'target': target}
    if self._job.data.batching == 'packed':
      ids |= {f'{name}_segments': width for name, width in ids.items()}
    batch = {name: self._table(rows, width) for name, width in ids.items()}
    step = train.make_step(self._model, self._optimizer, self._job.accumulate, lies=self._lies)
    tuned = self._state.tuned
    optimizer = self._state.opt, self._state.step, self._state.seed
    groups = {'frozen': self._frozen, 'tuned': tuned, 'optimizer': optimizer, 'batch': batch}
    args = self._state, self._frozen, batch
    best = tuned  # those of the best evaluation so far
    return Program('training step', rows, groups, best, self.mesh, step, args)

  def decoding(self, rows: int, source: int, target: int) -> Program:
    """Greedy decoding of up to `target` ids; as in a run, rows are filled up to what divides."""
    rows = -(-rows // self._ways) * self._ways
    table = self._table(rows, source)

    def generate(tuned, frozen, source):
      return self._model.generate(tuned, frozen, source, target)

    args = self._state.tuned, self._frozen, table
    groups = {'frozen': self._frozen, 'tuned': self._state.tuned, 'batch': table}
    beside = self._state.tuned, self._state.opt
    return Program('decoding', rows, groups, beside, self.mesh, jax.jit(generate), args, target)

  def _table(self, rows: int, width: int) -> jax.ShapeDtypeStruct:
    lies = NamedSharding(self.mesh, PartitionSpec(sharding.BATCH))
    return jax.ShapeDtypeStruct((rows, width), jnp.int32, sharding=lies)


def config_of(model: str) -> Config:
  """The Config of a published size, or of a folder's config.json; no weights are read."""
  if model in SHIPPED or Path(model).is_dir():
    return t5.read_config(t5.resolve(model))
  return t5.size_named(model)


def _weight(job: Job, weight: Any) -> jax.ShapeDtypeStruct:
  # The type of a file's weights is not read: float32 is the most they take.
  dtype = 'float32' if job.weights_dtype == 'file' else job.weights_dtype
  return jax.ShapeDtypeStruct(weight.shape, jnp.dtype(dtype))


def _placed(shapes: Any, lies: Any) -> Any:
  """The shapes, each knowing where it lies."""
  return cast(
    Any,
    jax.tree.map(
      lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, lies
    ),
  )
