"""Runs every task whose files are there, a few steps each, and tells what came of it.

    python -m experiments.benchmarks.every_task --data.dir=DIR[,DIR]

Each is a run of its own of experiments.run: Compacter on the nano T5, 20 steps of 16 rows, all
training rows, at most 100 rows to validate on and 100 to test on. A task that is in several folders
is run once from each. Prints two Markdown tables. The first has the sizes of the splits before they
are capped, and the first digits of the SHA-256 of their rows; the splits are the paper's, or the
official ones where there are too few rows for these. The second has the seconds of the command,
the loss of the first step and that of the last two, how many outputs for test rows are invalid, and
what they score after so few steps, with 95 % intervals.

A task without files is told and left out; a run that fails ends the command.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from compacter_jax import data
from compacter_jax.data.protocols import officials
from compacter_jax.errors import CompacterError, DataError
from experiments import rows, schema
from experiments.configs import HERE, read_config
from experiments.guard import guarded
from experiments.messages import told

CONFIG = HERE / 'compacter.py'
DIGITS = 8  # of a hash
CAP = 100  # rows that are evaluated
# So few steps are to show something: no warmup, and the rate is ten times that of real runs.
SETTINGS = {
  'batch_size': 16,
  'log_every': 1,
  'optim.warmup': 1,
  'optim.rate': 3e-2,
  'method.adapters.reduction': 8,
  'data.max_validation': CAP,
  'data.max_test': CAP,
}
PROTOCOLS = 'paper', 'official'


class Found(NamedTuple):
  """A task with files, how it is split, and the parts of that."""

  task: str
  folder: str
  protocol: str
  parts: dict[str, data.Part]


def main(argv: list[str]) -> None:
  """Prints the tables."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--data.dir', dest='data_dir', required=True, help='folders of the rows')
  parser.add_argument('--task', default='', help='only these, commas between them')
  parser.add_argument('--steps', type=int, default=20)
  parser.add_argument('--model', default='nano', help='as in --config.model')
  flags = parser.parse_args(argv)
  names = flags.task.split(',') if flags.task else [n for n in data.TASKS if n != 'quickstart']
  found = list(search(names, flags.data_dir.split(',')))
  if absent := [name for name in names if name not in {each.task for each in found}]:
    print(f'no files: {", ".join(absent)}', file=sys.stderr)
  if not found:
    raise DataError('No task has its files there.', where=flags.data_dir, expected='train and dev')
  print(f'{sizes(found)}\n')
  print('| | from | seconds | loss | invalid | test scores |')
  print('|---|---|---:|---:|---:|---|')
  for each in found:
    print(outcome(each, flags.model, flags.steps), flush=True)


def search(names: Sequence[str], folders: Sequence[str]) -> Iterator[Found]:
  """Every task in every folder that has its files, with the first protocol that can split it.

  Raises DataError for files that are there and cannot be used.
  """
  settings = schema.job(read_config(CONFIG).to_dict()).data
  for name in names:
    for folder in folders:
      if not has_files(name, folder):
        continue
      for protocol in PROTOCOLS:
        chosen = dataclasses.replace(settings, task=name, dir=folder, splits=protocol)
        try:
          yield Found(name, folder, protocol, rows.read(chosen)[1].parts())
          break
        except DataError:
          if protocol == PROTOCOLS[-1]:
            raise


def has_files(name: str, folder: str) -> bool:
  """Whether all files that a run of the task reads are in the folder."""
  task = data.task_named(name)
  base = data.trained_on(task)
  try:
    for split in officials(base.split, diagnostic=base is not task):
      data.LocalFiles(folder, task if split == 'test' else base).path(split)
  except DataError as error:
    if error.what.startswith('There is no '):
      return False
    raise
  return True


def sizes(found: Sequence[Found]) -> str:
  """The table of sizes and hashes."""
  lines = ['| | from | splits | train | validation | test | hashes |']
  lines.append('|---|---|---|---:|---:|---:|---|')
  for each in found:
    counts = ' | '.join(f'{len(part):,}' for part in each.parts.values())
    hashes = ' '.join(part.rows_sha256[:DIGITS] for part in each.parts.values())
    lines.append(f'| {each.task} | {_from(each)} | {each.protocol} | {counts} | `{hashes}` |')
  return '\n'.join(lines)


def outcome(found: Found, model: str, steps: int) -> str:
  """A line of the table of runs; runs the task."""
  with tempfile.TemporaryDirectory() as folder:
    workdir, begin = Path(folder) / 'run', time.perf_counter()
    run(command(found, model, steps, workdir))
    seconds = time.perf_counter() - begin
    results = json.loads((workdir / 'results.json').read_text())
    log = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  losses = [line['loss'] for line in log if 'loss' in line]
  scores: dict[str, Any] = dict(results['test'])
  invalid = f'{scores.pop("invalid")} of {results["rows"]["test"]}'
  loss = f'{losses[0]:.2f}, {losses[-1]:.2f}'
  shown = told(scores, results['intervals']['test'])
  return f'| {found.task} | {_from(found)} | {seconds:.0f} | {loss} | {invalid} | {shown} |'


def command(found: Found, model: str, steps: int, workdir: Path) -> list[str]:
  """The run as one writes it."""
  settings = SETTINGS | {'model': model, 'steps': steps, 'eval_every': steps}
  settings |= {'data.task': found.task, 'data.dir': found.folder, 'data.splits': found.protocol}
  flags = [f'--config.{name}={value}' for name, value in settings.items()]
  start = [sys.executable, '-m', 'experiments.run', f'--config={CONFIG}']
  return [*start, *flags, f'--workdir={workdir}']


def run(arguments: list[str]) -> None:
  """Runs a command.  Raises CompacterError, with what it told, if it fails."""
  done = subprocess.run(arguments, capture_output=True, text=True)
  if done.returncode:
    raise CompacterError('A run failed.', where=' '.join(arguments), got=done.stderr.strip())


def _from(found: Found) -> str:
  return Path(found.folder).name


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
