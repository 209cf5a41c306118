"""What a training step of each method costs beside full fine-tuning."""

import json
from pathlib import Path
from typing import Any

import jax

from compacter_jax import methods, t5
from compacter_jax.model import Model
from experiments import folders
from experiments.benchmarks.step import TARGET, Step, alternate
from experiments.schema import Job
from experiments.suite import plan
from experiments.suite.definition import Suite
from experiments.suite.known import Known
from experiments.suite.plan import FINAL, Place, Run


def shape(suite: Suite, place: Place) -> str:
  """Of which training step time and memory are."""
  job = _job(suite, place, next(iter(suite.methods)))
  types = f'{job.dtype}, weights {job.weights_dtype}'
  return f'{job.batch_size} sources of {suite.timed} ids to {TARGET}, {types}'


def measure(suite: Suite, place: Place, workdir: Path, known: Known, rounds: int = 9) -> None:
  """Writes cost/METHOD.json for every method of which nothing is known.

  Steps are of equal shapes for all, in turn with full fine-tuning's.
  """
  todo = [name for name in suite.methods if not read(suite, place, workdir, name, known)]
  if not todo:
    return
  about = _job(suite, place, todo[0])
  dtype = None if about.weights_dtype == 'file' else about.weights_dtype
  cfg, frozen = t5.load(place.model, dtype)
  made = lambda method: Step(
    Model(cfg, method, about.dtype, about.remat, about.unroll),
    frozen,
    batch=about.batch_size,
    source=suite.timed,
    cast=False,
  )
  full = made(methods.load('unfreeze'))
  folders.make_folder(workdir / 'cost')
  for name in todo:
    job = _job(suite, place, name)
    step = made(job.method)
    alternate([step, full], rounds)
    found = {
      'ms': step.ms,
      'full_ms': full.ms,
      'time': step.ratio(full),
      'memory': step.memory / full.memory,
      'device': jax.devices()[0].device_kind,
      'step': shape(suite, place),
      'job': plan.digest(job),
    }
    print(f'cost: {name} {found["time"]:.2f} of the time, {found["memory"]:.2f} of the memory')
    folders.write_json(path(workdir, name), found)


def path(workdir: Path, name: str) -> Path:
  """The file of a method."""
  return workdir / 'cost' / f'{name}.json'


def read(suite: Suite, place: Place, workdir: Path, name: str, known: Known) -> dict[str, Any]:
  """What was measured of a method as it is now, here or by others; nothing if it was not."""
  job, step = _job(suite, place, name), shape(suite, place)
  file = path(workdir, name)
  if file.exists():
    found = json.loads(file.read_text())
    if (found['step'], found['job']) == (step, plan.digest(job)):
      return found
  row = known.costs.get((name, step))
  cfg = t5.read_config(t5.resolve(place.model))
  if row and row.trained == Model(cfg, job.method).count():
    return {'time': row.time, 'memory': row.memory}
  return {}


def _job(suite: Suite, place: Place, name: str) -> Job:
  task = next(iter(suite.tasks))
  return plan.job(suite, Run(FINAL, name, task, suite.seeds[0], ()), place)
