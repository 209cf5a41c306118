"""The devices that are planned for: of a TPU slice that is not there, of this host, or its GPUs."""

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from compacter_jax.errors import CompacterError, ConfigError
from compacter_jax.settings import unknown
from experiments.plan.chips import CHIPS, Chip

# libtpu's compiler overflows the stack of its own threads on some products of the backward pass.
STACK = '--fibers_default_thread_stack_size=1048576'

# Else libtpu asks for the machine that it is on, complains that there is no TPU, and lets no second
# process compile beside this one.
ENVIRONMENT = {
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_ACCELERATOR_TYPE': 'v5litepod-4',
}


class NoCompiler(CompacterError, RuntimeError):
  """The compiler of a device is not installed."""

  exit_code = 2


@dataclasses.dataclass(frozen=True)
class Topology:
  """Devices to build a mesh on.

  Attributes:
    name: as it was asked for. chip: what each device has.
  """

  name: str
  chip: Chip
  devices: Sequence[Any]


def find(name: str) -> Topology:
  """The devices of 'v5e:4x4' and the like, 'cpu:8' or 'gpu'; call it before JAX is used.

  Raises:
    ConfigError: there is no such topology. NoCompiler: libtpu is absent.
  """
  kind, _, shape = name.partition(':')
  if kind == 'cpu':
    return _host(name, shape)
  if kind == 'gpu':
    return _gpus(name)
  if kind not in CHIPS:
    raise unknown(f'There is no topology {name!r}.', kind, [*CHIPS, 'cpu', 'gpu'])
  return _slice(name, CHIPS[kind], shape)


def _slice(name: str, chip: Chip, shape: str) -> Topology:
  if shape not in chip.slices:
    raise ConfigError(
      f'There is no topology {name!r}.',
      where='--topology',
      expected=f'one of {", ".join(f"{chip.name}:{each}" for each in chip.slices)}',
      got=name,
    )
  if importlib.util.find_spec('libtpu') is None:
    raise NoCompiler(
      "The TPUs' compiler is not installed.",
      where='--topology',
      expected='libtpu, which needs no TPU',
      got='no module of that name',
      fix="pip install 'compacter_jax[tpu]'",
    )
  jax.config.update('jax_platforms', 'cpu')  # libtpu compiles; it would look for chips otherwise
  for variable, value in ENVIRONMENT.items():
    os.environ.setdefault(variable, value)
  given = os.environ.get('LIBTPU_INIT_ARGS', '')
  if STACK not in given:
    os.environ['LIBTPU_INIT_ARGS'] = f'{given} {STACK}'.strip()
  options = dict(chip.options)
  if shape == '1x1':
    options['chips_per_host_bounds'] = (1, 1, 1)  # pyright: ignore
  devices = topologies.get_topology_desc(f'{chip.name}:{shape}', 'tpu', **options).devices
  return Topology(name, chip, devices)


def _host(name: str, count: str) -> Topology:
  if not count.isdecimal() or not int(count):
    raise ConfigError(
      f'There is no topology {name!r}.', where='--topology', expected='cpu:8 or the like', got=name
    )
  jax.config.update('jax_platforms', 'cpu')
  with contextlib.suppress(RuntimeError):  # a backend has been used already
    jax.config.update('jax_num_cpu_devices', int(count))
  devices = jax.devices('cpu')
  if len(devices) < int(count):
    raise ConfigError(
      'JAX was started with fewer devices.',
      where='--topology',
      expected=f'at most cpu:{len(devices)}',
      got=name,
    )
  return Topology(name, Chip('cpu', 'cpu'), devices[: int(count)])


def _gpus(name: str) -> Topology:
  try:
    devices = jax.devices('gpu')
  except RuntimeError as error:
    raise ConfigError(
      'This machine has no GPU that JAX can use.',
      where='--topology',
      expected='one of ' + ', '.join(f'{chip}:...' for chip in CHIPS) + ' or cpu:8',
      got=name,
      fix="on a machine with one: pip install 'compacter_jax[cuda]'",
    ) from error
  told = devices[0].memory_stats() or {}
  return Topology(
    name, Chip('gpu', devices[0].device_kind, usable=told.get('bytes_limit')), devices
  )
