"""What a training step of each method costs beside full fine-tuning."""

import json
from pathlib import Path
from typing import Any

import jax

from compacter_jax import methods, t5
from compacter_jax.model import Model
from experiments import folders
from experiments.benchmarks.step import Step, alternate
from experiments.suite import plan
from experiments.suite.definition import Suite
from experiments.suite.known import Known
from experiments.suite.plan import FINAL, Place, Run


def measure(suite: Suite, place: Place, workdir: Path, known: Known, rounds: int = 9) -> None:
  """Writes cost/METHOD.json for every method of which nothing is known.

  Steps are those of `experiments.benchmarks.step`, of equal shapes for all, in turn with full
  fine-tuning's.
  """
  todo = [name for name in suite.methods if not read(workdir, name, known)]
  if not todo:
    return
  cfg, frozen = t5.load(place.model, 'float32')
  full = Step(Model(cfg, methods.load('unfreeze')), frozen)
  folders.make_folder(workdir / 'cost')
  for name in todo:
    task = next(iter(suite.tasks))
    job = plan.job(suite, Run(FINAL, name, task, suite.seeds[0], ()), place)
    step = Step(Model(cfg, job.method), frozen)
    alternate([step, full], rounds)
    found = {
      'ms': step.ms,
      'full_ms': full.ms,
      'time': step.ratio(full),
      'memory': step.memory / full.memory,
      'device': jax.devices()[0].device_kind,
    }
    print(f'cost: {name} {found["time"]:.2f} of the time, {found["memory"]:.2f} of the memory')
    folders.write_json(path(workdir, name), found)


def path(workdir: Path, name: str) -> Path:
  """The file of a method."""
  return workdir / 'cost' / f'{name}.json'


def read(workdir: Path, name: str, known: Known) -> dict[str, Any]:
  """What was measured of a method, here or by others; nothing if it was not."""
  file = path(workdir, name)
  if file.exists():
    return json.loads(file.read_text())
  row = known.rows.get(name)
  return {'time': row.time, 'memory': row.memory} if row else {}
