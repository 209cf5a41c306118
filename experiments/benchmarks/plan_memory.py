"""The memory of a plan beside what the same programs really take, on a CPU of Linux.

    python -m experiments.benchmarks.plan_memory
    python -m experiments.benchmarks.plan_memory --model=t5-base --configs lora full

For each config `experiments.plan` is asked for cpu:1. Then a process of its own compiles the
training step, makes arrays of its shapes and takes steps, one upon the other as a run does, and so
with decoding. The kernel tells the most memory that the process had meanwhile; what it had before
there were arrays is taken off: Python, libraries, programs, and what their compiler left. Prints a
Markdown table in MiB: the plan's total, what was measured, and its ratio to the plan's; the plan's
arguments and what they took. What no plan tells: what the process keeps of steps when none runs, on
top of the arguments (of which, code of libraries that was read for the first time), and the most
that compiling took.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from compacter_jax import optim, sharding, train
from compacter_jax.model import Model, abstract
from compacter_jax.placement import Placement
from experiments import schema
from experiments.configs import HERE, read_config
from experiments.guard import guarded
from experiments.plan.programs import config_of

STATUS, CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')
HEADER = ['', '', 'plan', 'measured', 'ratio', 'arguments', 'measured', 'kept', 'compiler']


def main(argv: list[str]) -> None:
  """Prints the table."""
  flags = parsed(argv)
  if flags.measure:
    print(json.dumps(measured(job(flags.measure, flags), flags.steps)))
    return
  shape = f'{flags.batch} x {flags.source} to {flags.target}'
  print(f'{flags.model}, {shape}, {flags.steps} steps, MiB\n')
  for cells in HEADER, ['---', '---', *['---:'] * (len(HEADER) - 2)]:
    print(f'| {" | ".join(cells)} |')
  for name in flags.configs:
    for program, found in compared(name, argv).items():
      ratio = f'{found["peak"] / found["plan"]:.2f}'
      mib = {key: f'{value / 2**20:,.0f}' for key, value in found.items()}
      cells = [name, program, mib['plan'], mib['peak'], ratio, mib['held'], mib['arguments']]
      cells += [f'{mib["kept"]} ({mib["files"]})', mib['compiler']]
      print(f'| {" | ".join(cells)} |', flush=True)


def parsed(argv: list[str]) -> argparse.Namespace:
  """The flags of the command."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--model', default='t5-small', help='a published size, or a folder')
  parser.add_argument('--batch', type=int, default=16, help='rows')
  parser.add_argument('--source', type=int, default=128, help='ids of each')
  parser.add_argument('--target', type=int, default=8, help='ids of an answer')
  parser.add_argument('--steps', type=int, default=4)
  parser.add_argument('--configs', nargs='*', default=['full', 'compacter', 'lora', 'prompt'])
  parser.add_argument('--measure', help=argparse.SUPPRESS)
  return parser.parse_args(argv)


def job(name: str, flags: argparse.Namespace) -> schema.Job:
  """The settings of a config, for that model and those shapes."""
  settings = read_config(HERE / f'{name}.py').to_dict()
  settings |= {'model': flags.model, 'batch_size': flags.batch, 'eval_batch_size': flags.batch}
  settings['data'] |= {'max_source': flags.source, 'max_target': flags.target}
  return schema.job(settings)


def compared(name: str, argv: list[str]) -> dict[str, dict[str, int]]:
  """Bytes by program: 'plan' and its arguments, 'held', and what `measured` returns."""
  wanted = job(name, parsed(argv))
  changes = {
    'model': wanted.model,
    'batch_size': wanted.batch_size,
    'eval_batch_size': wanted.eval_batch_size,
    'data.max_source': wanted.data.max_source,
    'data.max_target': wanted.data.max_target,
  }
  line = [f'--config.{key}={value}' for key, value in changes.items()]
  line += [f'--config={HERE / name}.py', '--topology=cpu:1', '--nolargest', '--format=json']
  planned = {each['name']: each['memory'] for each in _run('experiments.plan', line)['estimates']}
  taken = _run('experiments.benchmarks.plan_memory', [*argv, f'--measure={name}'])
  return {
    program: {
      'plan': told['total'] - told['beside'],
      'held': sum(told['groups'].values()),
      **taken[program],
    }
    for program, told in planned.items()
  }


def measured(wanted: schema.Job, steps: int) -> dict[str, dict[str, int]]:
  """Bytes by program that this process, a new one, took beyond what it had before its arrays.

  'arguments' before the first step, 'peak' until the last; 'kept' behind it, when no step runs, on
  top of the arguments; 'files', the part of it that is of libraries; 'compiler' at most before.
  """
  cfg, ids = config_of(wanted.model), wanted.data
  model = Model(cfg, wanted.method, wanted.dtype, wanted.remat, wanted.unroll)
  shapes: Any = abstract(cfg)
  placement = Placement(sharding.make_mesh(devices=1), model, shapes)
  optimizer = optim.build(wanted.optim, 100)
  whole = NamedSharding(placement.mesh, PartitionSpec())
  struct = lambda shape, dtype: jax.ShapeDtypeStruct(shape, dtype, sharding=whole)
  state = placement.like(optimizer)
  frozen = {path: struct(each.shape, each.dtype) for path, each in model.trim(shapes).items()}
  source = struct((wanted.batch_size, ids.max_source), np.int32)
  batch = {'source': source, 'target': struct((wanted.batch_size, ids.max_target), np.int32)}
  step: Any = train.make_step(model, optimizer, wanted.accumulate, lies=placement.lies(optimizer))

  @jax.jit
  def generate(tuned, frozen, source):
    return model.generate(tuned, frozen, source, ids.max_target)

  on = lambda args, out: (out[0], *args[1:])
  with jax.set_mesh(placement.mesh):
    return {
      'training step': taken(step, (state, frozen, batch), steps, on),
      'decoding': taken(generate, (state.tuned, frozen, source), steps),
    }


def taken(
  function: Any,
  shapes: tuple[Any, ...],
  steps: int,
  on: Callable[[Any, Any], Any] = lambda args, out: args,
) -> dict[str, int]:
  """What one program took.  on: the arguments of the next step, from those and what came."""
  before, compiled = resident(), function.lower(*shapes).compile()
  compiler, floor = most() - before, resident()
  args = jax.block_until_ready(jax.tree.map(_made, shapes))
  held, files, out = resident() - floor, _status('RssFile'), None
  for _ in range(steps):
    out = compiled(*args)
    args = on(args, out)
  jax.block_until_ready(out)
  peak, files = most() - floor, _status('RssFile') - files
  kept = resident() - floor - held
  return {'arguments': held, 'peak': peak, 'kept': kept, 'files': files, 'compiler': compiler}


def resident() -> int:
  """Bytes of this process now; `most` counts from here. What was freed goes back before."""
  gc.collect()
  ctypes.CDLL(None).malloc_trim(0)
  CLEAR.write_text('5')
  return _status('VmRSS')


def most() -> int:
  """The most bytes that this process had since `resident`."""
  return _status('VmHWM')


def _status(key: str) -> int:
  line = next(each for each in STATUS.read_text().splitlines() if each.startswith(f'{key}:'))
  return 1024 * int(line.split()[1])


def _made(shape: jax.ShapeDtypeStruct) -> jax.Array:
  """An array with memory of its own, which a step may be given."""
  return jax.device_put(np.ones(shape.shape, shape.dtype), shape.sharding, may_alias=False)


def _run(module: str, args: list[str]) -> dict[str, Any]:
  done = subprocess.run([sys.executable, '-m', module, *args], check=True, stdout=subprocess.PIPE)
  return json.loads(done.stdout)


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
