"""What pages of memory cost a training step on the CPUs of Linux.

    taskset -c 0 python -m experiments.benchmarks.pages
    taskset -c 0 python -m experiments.benchmarks.pages --configs compacter --source=128

XLA asks for a step's temporaries anew at each step, and the kernel clears them page by page. glibc
can ask for large pages, if it is told so before the program starts: GLIBC_TUNABLES below. Programs
with and without take turns; a Markdown table: medians of user and system seconds and of page
faults of a step of nano T5, and the largest memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys

import jax

from compacter_jax import methods, t5
from compacter_jax.model import Model
from experiments.benchmarks.step import TARGET, Step
from experiments.configs import HERE, read_config

LARGE = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'}


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--configs', nargs='*', default=['full', 'compacter'])
  parser.add_argument('--batch', type=int, default=32, help='examples')
  parser.add_argument('--source', type=int, default=64, help='ids of each')
  parser.add_argument('--dtype', default='bfloat16')
  parser.add_argument('--steps', type=int, default=20, help='of each program')
  parser.add_argument('--programs', type=int, default=3, help='with and without large pages')
  parser.add_argument('--measure', help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.measure:
    print(json.dumps(_measured(flags.measure, flags)))
    return
  cpu = jax.devices('cpu')[0].device_kind
  print(f'nano, batch {flags.batch} x {flags.source} to {TARGET}, {flags.dtype}, {cpu}\n')
  print('| | pages | user s | system s | both | faults | MB |')
  print('| --- | --- | ---: | ---: | ---: | ---: | ---: |')
  for name in flags.configs:
    kinds: dict[str, list[dict[str, float]]] = {'small': [], 'large': []}
    for _ in range(flags.programs):
      for kind, found in kinds.items():
        found.append(_run(name, LARGE if kind == 'large' else {}))
    both = {
      kind: _median(found, 'user') + _median(found, 'system') for kind, found in kinds.items()
    }
    for kind, found in kinds.items():
      user, system = _median(found, 'user'), _median(found, 'system')
      cells = f'{user:.3f} | {system:.3f} | {both[kind] / both["small"]:.2f}'
      more = f'{_median(found, "faults"):,.0f} | {_median(found, "bytes") / 2**20:,.0f}'
      print(f'| {name} | {kind} | {cells} | {more} |')


def _run(name: str, variables: dict[str, str]) -> dict[str, float]:
  """The same command in a program of its own."""
  args = [sys.executable, '-m', 'experiments.benchmarks.pages', *sys.argv[1:], f'--measure={name}']
  environment = {k: v for k, v in os.environ.items() if k not in LARGE} | variables
  done = subprocess.run(args, env=environment, check=True, stdout=subprocess.PIPE, text=True)
  return json.loads(done.stdout)


def _measured(name: str, flags: argparse.Namespace) -> dict[str, float]:
  cfg, frozen = t5.load('nano', 'float32')
  method = methods.from_config(read_config(HERE / f'{name}.py').method.to_dict())
  step = Step(Model(cfg, method, flags.dtype), frozen, batch=flags.batch, source=flags.source)
  usage = lambda: resource.getrusage(resource.RUSAGE_SELF)
  taken = []
  for _ in range(flags.steps + 1):
    before = usage()
    step.run()
    after = usage()
    taken.append(
      {
        'user': after.ru_utime - before.ru_utime,
        'system': after.ru_stime - before.ru_stime,
        'faults': after.ru_minflt - before.ru_minflt,
      }
    )
  medians = {key: _median(taken[1:], key) for key in taken[0]}
  return medians | {'bytes': 1024 * usage().ru_maxrss}


def _median(found: list[dict[str, float]], key: str) -> float:
  return statistics.median(each[key] for each in found)


if __name__ == '__main__':
  main()
