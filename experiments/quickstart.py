"""The main job in little: what pretraining is worth, and how little must be trained to use it.

    python -m experiments.quickstart [--workdir=runs/quickstart]

Trains on a generated task whose test rows use only words that training never shows (see
`compacter_jax/data/quickstart.py`), with the small T5 that is shipped: Compacter on frozen weights
drawn at random, Compacter on the pretrained ones, and full fine-tuning. Needs no network.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

from experiments.guard import guarded

CONFIG = Path(__file__).parent / 'configs' / 'quickstart.py'
# The learning rate of full fine-tuning, chosen on validation rows as Compacter's is.
FULL_RATE = 5e-4


def main(argv: list[str]) -> None:
  """Runs the three and prints the table."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.quickstart',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--workdir', default='', help='where to leave the runs; by default a new folder'
  )
  parser.add_argument('--steps', type=int, default=0, help='0 is as many as it takes')
  flags = parser.parse_args(argv)
  workdir = Path(flags.workdir or f'runs/quickstart-{time.strftime("%Y%m%d-%H%M%S")}')

  from compacter_jax import methods
  from experiments import finetune, schema
  from experiments.configs import read_config
  from experiments.inputs import read_inputs

  job = schema.job(read_config(CONFIG).to_dict())
  job = dataclasses.replace(job, steps=flags.steps)
  full = dataclasses.replace(job.optim, rate=FULL_RATE)
  runs = {
    'Compacter, random weights': dataclasses.replace(job, random_base=True),
    'Compacter': job,
    'full fine-tuning': dataclasses.replace(job, method=methods.load('unfreeze'), optim=full),
  }
  rows = []
  for name, each in runs.items():
    print(f'\n{name}', flush=True)
    folder = workdir / name.replace(', ', '-').replace(' ', '-').lower()
    results = finetune.run(each, read_inputs(each), folder)
    rows = rows or [('majority class', results['majority'], 0, 0)]
    trained, size = results['parameters']['trained'], results['adapter_bytes']
    rows.append((name, results['test']['accuracy'], trained, size))
  print(f'\n{table(rows, workdir)}')


def table(rows: list[tuple[str, float, int, int]], workdir: Path) -> str:
  """What was reached, and what to do with it."""
  lines = [f'{"":26}{"test accuracy":>14}{"trained":>14}{"file":>12}']
  for name, accuracy, trained, size in rows:
    file = f'{size / 1e6:.2f} MB' if size else '-'
    lines.append(f'{name:26}{accuracy:13.1f} {trained:14,}{file:>12}')
  return '\n'.join([*lines, '', _usage(workdir / 'compacter' / 'adapter')])


def _usage(adapter: Path) -> str:
  return f"""The adapter is in {adapter}. To use it:

  import compacter_jax as cj
  cfg, frozen = cj.t5.load('nano', 'float32')
  model, tuned = cj.load('{adapter}', cfg, frozen)"""


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
