"""Where arrays lie: a mesh, and one table from the names of dimensions to its axes.

A mesh has three axes. Batches are split over `data` and `fsdp`, weights over `fsdp` and `tensor`;
XLA places the computation and the communication. Methods name the dimensions of their arrays in
Specs, T5's weights are named here.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from compacter_jax.divisors import divisors
from compacter_jax.errors import ConfigError
from compacter_jax.method import Spec, Tree, is_spec
from compacter_jax.partition import BATCH
from compacter_jax.settings import within
from compacter_jax.weights import whole

Axes = tuple[str | None, ...]

AXES = 'data', 'fsdp', 'tensor'

# Logical name of a dimension -> axis of the mesh. Layers are scanned over, hence never split.
RULES = {'layer': None, 'embed': 'fsdp', 'heads': 'tensor', 'mlp': 'tensor', 'vocab': 'tensor'}

# T5's own weights: pattern of the whole path -> the name of each dimension. Every path matches one.
T5_AXES: dict[str, Axes] = {
  r'token_embedding': ('vocab', 'embed'),
  r'lm_head/kernel': ('embed', 'vocab'),
  r'\w+/relative_bias': (None, 'heads'),
  r'\w+/layers/relative_bias': ('layer', None, 'heads'),
  r'\w+/norm/scale': (None,),
  r'\w+/layers/\w+_norm/scale': ('layer', None),
  r'\w+/layers/\w+_attention/[qkv]/kernel': ('layer', 'embed', 'heads'),
  r'\w+/layers/\w+_attention/o/kernel': ('layer', 'heads', 'embed'),
  r'\w+/layers/ffn/wi(_[01])?/kernel': ('layer', 'embed', 'mlp'),
  r'\w+/layers/ffn/wo/kernel': ('layer', 'mlp', 'embed'),
}


def make_mesh(
  data: int = -1,
  fsdp: int = 1,
  tensor: int = 1,
  devices: int = 0,
  among: Sequence[Any] | None = None,
) -> Mesh:
  """A mesh; one size may be -1, which takes the devices that are left.

  devices: how many of them, the first; 0 takes all.
  among: the devices there are; by default those of this machine.

  Raises:
    ConfigError: the sizes do not multiply to the number of devices, or there are not so many.
  """
  there = jax.devices() if among is None else list(among)
  within('devices', devices, 0, len(there))
  devices = devices or len(there)
  sizes: dict[str, int] = dict(zip(AXES, (data, fsdp, tensor), strict=True))
  known = math.prod(size for size in sizes.values() if size != -1)
  filled = {k: devices // max(known, 1) if size == -1 else size for k, size in sizes.items()}
  open_ = list(sizes.values()).count(-1)
  if open_ > 1 or min(filled.values()) < 1 or math.prod(filled.values()) != devices:
    raise ConfigError(
      f'No mesh of {_listed(sizes)} has {devices} devices.',
      where='data, fsdp, tensor',
      expected=f'three sizes whose product is {devices}; one may be -1 and takes what is left',
      got=_listed(sizes),
      fix=f'each size is one of {divisors(devices)}, or leave data=-1',
    )
  # An axis may share a dimension of a TPU's torus with another: 2 x 8 lies on 4 x 4 chips too.
  placed = mesh_utils.create_device_mesh(
    tuple(filled.values()), there[:devices], allow_split_physical_axes=True
  )
  # Auto, not Explicit: T5 is written without sharding types and XLA decides.
  return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def t5_axes(paths: Iterable[str]) -> dict[str, Axes]:
  """The name of each dimension of T5's weights, by path."""
  return {path: _t5_axes(path) for path in paths}


def shardings(mesh: Mesh, declared: Tree, arrays: Tree) -> Tree:
  """A NamedSharding for each array.

  declared: a tree like `arrays` of Specs, or of tuples with a name for each dimension. What is
    declared under a path of T5 is one of its weights, to be trained, and lies where that would.
  arrays: anything with shapes.

  Raises:
    ConfigError: the mesh does not divide a dimension; the message says which sizes would.
  """

  def one(path, spec, array):
    key = whole(str(getattr(path[-1], 'key', path[-1])))[0]
    axes = spec.axes if isinstance(spec, Spec) else spec
    known = isinstance(spec, Spec) and any(re.fullmatch(p, key) for p in T5_AXES)
    axes = _t5_axes(key) if known else axes
    name = '/'.join(str(getattr(k, 'name', getattr(k, 'key', k))) for k in path)
    return NamedSharding(mesh, _partition(mesh, name, axes, array.shape))

  leaf = lambda x: is_spec(x) or isinstance(x, tuple) and not hasattr(x, '_fields')
  return jax.tree_util.tree_map_with_path(one, declared, arrays, is_leaf=leaf)


def shard(mesh: Mesh, declared: Tree, arrays: Tree) -> Tree:
  """Lays arrays out on the mesh; see `shardings`."""
  return lay(arrays, shardings(mesh, declared, arrays))


def lay(arrays: Tree, lies: Tree) -> Tree:
  """Lays arrays out: of the mesh already, or of which every process has the same.

  lies: a sharding for each.
  """
  if jax.process_count() == 1:
    return jax.device_put(arrays, lies)
  return jax.tree.map(_lay_among_processes, arrays, lies)


def _lay_among_processes(array: Any, lies: NamedSharding) -> Array:
  if isinstance(array, Array) and not array.is_fully_addressable:
    if array.sharding.is_equivalent_to(lies, array.ndim):
      return array
    return jax.jit(lambda array: array, out_shardings=lies)(array)
  # device_put would send all of the array to all processes, to compare it.
  return jax.make_array_from_callback(array.shape, lies, lambda part: np.asarray(array)[part])


@functools.lru_cache(maxsize=4)
def share(mesh: Mesh) -> tuple[int, int]:
  """Which part of the rows of a batch this process gives, and of how many equal ones.

  Raises ConfigError where a process has no device of the mesh.
  """
  rows: dict[int, set[int]] = {process: set() for process in range(jax.process_count())}
  lies = NamedSharding(mesh, PartitionSpec(BATCH))
  for device, (part,) in lies.devices_indices_map((ways_of(mesh),)).items():
    rows.setdefault(device.process_index, set()).update(range(ways_of(mesh))[part])
  if idle := [process for process, mine in rows.items() if not mine]:
    raise ConfigError(
      'Some processes of the run have no device of the mesh.',
      where='mesh.devices',
      expected=f'all {jax.device_count()} devices',
      got=f'{mesh.size}, none of process {", ".join(map(str, idle))}',
      fix='set mesh.devices=0, or start fewer processes',
    )
  return part_of(rows, jax.process_index(), ways_of(mesh))


def part_of(rows: Mapping[int, set[int]], process: int, ways: int) -> tuple[int, int]:
  """Which part of the rows a process gives, and of how many equal ones.

  rows: which `ways`-ths of them lie on the devices of each process. Where these are no run of their
  own, as when `tensor` crosses processes or devices are in another order, each gives all.
  """
  size = len(rows[process])
  runs = [set(range(start, start + size)) for start in range(0, ways, size)]
  if ways % size or any(each not in runs for each in rows.values()):
    return 0, 1
  return runs.index(rows[process]), len(runs)


def shard_batch(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, Array]:
  """Splits the rows of a batch among all devices but those along `tensor`.

  Where there are several processes each gives its `share` of the rows.
  """
  (_, count), ways = share(mesh), ways_of(mesh)
  lies, out = NamedSharding(mesh, PartitionSpec(BATCH)), {}
  for name, array in batch.items():
    _check(len(array) * count, ways, f'batch {name!r}', 'rows', ' x '.join(BATCH))
    whole = len(array) * count, *array.shape[1:]
    out[name] = jax.make_array_from_process_local_data(lies, np.asarray(array), whole)
  return out


def ways_of(mesh: Mesh) -> int:
  """Among how many devices the rows of a batch are split."""
  return math.prod(mesh.shape[axis] for axis in BATCH)


def fetch(tree: Any) -> Any:
  """Arrays as numpy has them, whole, on every process."""
  if jax.process_count() == 1:
    return jax.device_get(tree)
  from jax.experimental import multihost_utils

  return multihost_utils.process_allgather(tree, tiled=True)


def _t5_axes(path: str) -> Axes:
  hits = [axes for pattern, axes in T5_AXES.items() if re.fullmatch(pattern, path)]
  if len(hits) != 1:
    raise ConfigError(
      'A weight has no axes.', where=path, expected='one of T5_AXES', got=f'{len(hits)}'
    )
  return hits[0]


def _partition(mesh: Mesh, name: str, axes: Axes, shape: tuple[int, ...]) -> PartitionSpec:
  if len(axes) != len(shape):
    raise ConfigError(
      'Every dimension has an axis.', where=name, expected=f'axes of {shape}', got=f'{axes}'
    )
  placed = [None if axis is None else RULES[axis] for axis in axes]
  for size, axis, where in zip(shape, axes, placed, strict=True):
    if where is not None:
      _check(size, mesh.shape[where], name, str(axis), where)
  return PartitionSpec(*placed)


def _check(size: int, ways: int, name: str, dimension: str, axis: str) -> None:
  if size % ways:
    raise ConfigError(
      f'The mesh does not divide {name}.',
      where=f'{axis}={ways}',
      expected=f'{axis} divides its {size} {dimension}',
      got=f'{size} / {ways}',
      fix=f'{axis} of {divisors(size, 256)} would do',
    )


def _listed(sizes: Mapping[str, int]) -> str:
  return ', '.join(f'{name}={size}' for name, size in sizes.items())
