"""What a suite takes before it is begun: runs, floating-point operations, hours and memory."""

import dataclasses
import sys
import time
from typing import Any, cast

import jax
import jax.numpy as jnp

from compacter_jax import optim, t5, train
from compacter_jax.errors import ConfigError
from compacter_jax.model import Model, abstract
from experiments import schema
from experiments.flops import count_flops
from experiments.machine import program_bytes
from experiments.suite import plan
from experiments.suite.definition import Suite
from experiments.suite.plan import Place

TARGET = 8  # ids of the answers
# Of what a device multiplies large matrices at, the share that training T5 reaches.
EFFICIENCY = 0.4


@dataclasses.dataclass(frozen=True)
class Cost:
  """A method's part of a suite.

  Attributes:
    runs, steps: of all its parts. flops: of all its steps. memory: bytes of the largest step.
  """

  runs: int
  steps: int
  flops: float
  memory: int


def text(suite: Suite, sustained: float | None) -> str:
  """The table for people.  sustained: TFLOP/s; None measures this device."""
  speed = sustained or EFFICIENCY * _peak() / 1e12
  rows = ['| method | runs | steps | PFLOP | hours | memory of a step, GB |', f'|{"---|" * 6}']
  total = Cost(0, 0, 0.0, 0)
  for name in suite.methods:
    print(f'compiling the steps of {name}', file=sys.stderr, flush=True)
    cost = _of(suite, name)
    total = Cost(
      total.runs + cost.runs,
      total.steps + cost.steps,
      total.flops + cost.flops,
      max(total.memory, cost.memory),
    )
    rows.append(_line(name, cost, speed))
  rows.append(_line('all', total, speed))
  how = 'as given' if sustained else f'{EFFICIENCY:.0%} of what a large product reaches here'
  planned = _planned(suite)
  return '\n'.join(
    [
      f'{suite.name} on {suite.model}: '
      + ', '.join(f'{count} {part}' for part, count in planned.items() if count)
      + ' runs',
      '',
      *rows,
      '',
      f'Hours are of training steps at {speed:,.2f} TFLOP/s ({how}), sources at their full length.',
      f'Memory is that of the largest step as compiled for {jax.devices()[0].device_kind}: '
      'arguments, results and temporaries.',
    ]
  )


def _line(name: str, cost: Cost, speed: float) -> str:
  hours = cost.flops / speed / 1e12 / 3600
  cells = f'{cost.runs:,} | {cost.steps:,} | {cost.flops / 1e15:,.2f} | {hours:,.1f}'
  return f'| {name} | {cells} | {cost.memory / 1e9:,.2f} |'


def _planned(suite: Suite) -> dict[str, int]:
  return plan.Plan(suite, lambda run: None).planned()


def _of(suite: Suite, method: str) -> Cost:
  """All runs of a method, those that two parts share once; where options decide, any are taken."""
  tie: plan.Results = {'validation': {'average': 0.0}}
  jobs = {}
  for run in plan.Plan(suite, lambda run: tie).runs():
    if run.method == method:
      job = plan.job(suite, run, Place(suite.model))
      jobs[plan.digest(job)] = run.task, job
  total, flops, memory, made = 0, 0.0, 0, {}
  for task, job in jobs.values():
    shape = job.batch_size, job.data.max_source, job.method
    if shape not in made:
      made[shape] = _step(job, job.batch_size, job.data.max_source)
    each, held = made[shape]
    length = job.steps or round(job.epochs * _rows(suite, task, job) / job.batch_size)
    total, flops, memory = total + length, flops + length * each, max(memory, held)
  return Cost(len(jobs), total, flops, memory)


def _rows(suite: Suite, task: str, job: schema.Job) -> int:
  known = suite.train_rows.get(task, 0)
  if not (job.data.max_train or known):
    raise ConfigError(
      'It is not known how many rows this task has.',
      where=f'{suite.name}: {task}',
      fix='give it in train_rows, or data.max_train',
    )
  return min(job.data.max_train or known, known or job.data.max_train)


def _step(job: schema.Job, batch: int, width: int) -> tuple[int, int]:
  """Floating-point operations and bytes of a training step; nothing is allocated."""
  cfg = t5.size_named(job.model) if job.model in t5.SIZES else t5.read_config(t5.resolve(job.model))
  model = Model(cfg, job.method, job.dtype, job.remat, job.unroll)
  frozen = {path: _float32(shape) for path, shape in abstract(cfg).items()}
  optimizer = optim.build(job.optim, 1_000)
  state = jax.eval_shape(
    lambda frozen: train.start(model.init(jax.random.key(0), frozen), optimizer), frozen
  )
  ids = {'source': (batch, width), 'target': (batch, TARGET)}
  table = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in ids.items()}
  step: Any = train.make_step(model, optimizer, job.accumulate)
  args = state, model.trim(cast(Any, frozen)), table
  return count_flops(step, *args), program_bytes(step.lower(*args).compile())


def _float32(weight: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(weight.shape, jnp.float32)


def _peak(size: int = 2_048, rounds: int = 5) -> float:
  """Floating-point operations per second of a large product on this device."""
  x = jnp.ones((size, size), jnp.float32)
  product = jax.jit(lambda x: x @ x)
  best = float('inf')
  for _ in range(rounds):
    begin = time.perf_counter()
    product(x).block_until_ready()
    best = min(best, time.perf_counter() - begin)
  return 2 * size**3 / best
