"""What padding costs: useful ids, shapes and examples a second of each way to make batches.

    python -m experiments.benchmarks.batching --data.dir=DIR [--tokenizer=FILE]

Trains Compacter on the small T5 that is shipped, or on --model, with the lengths of the real texts:
the same steps of each task in turn with every batching, in rounds that alternate. Prints a Markdown
table; speeds are medians of the rounds, relative to padding each batch to its longest row.
"""

import argparse
import statistics
import sys
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from compacter_jax import data, methods, optim, t5, train
from compacter_jax.data.encoding import Encoded
from compacter_jax.model import Model
from experiments.guard import guarded

# Task, longest source, rows of a step: as the paper trains.
TASKS = ('sst2', 128, 100), ('cola', 128, 100), ('mrpc', 128, 100), ('multirc', 256, 32)
TO_THE_MAXIMUM = 'to the maximum'


def main(argv: list[str]) -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--model', default='nano', help='as in --config.model')
  parser.add_argument(
    '--tokenizer', default='', help="decides the lengths; the model's if left out"
  )
  parser.add_argument('--data.dir', dest='data_dir', required=True, help='the folder of the rows')
  parser.add_argument('--task', nargs='+', choices=[name for name, _, _ in TASKS], default=[])
  parser.add_argument('--steps', type=int, default=24, help='of each round')
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--width', type=int, help='d_model that tables are made for; by default its')
  parser.add_argument('--only-padding', action='store_true', help='no training')
  flags = parser.parse_args(argv)
  folder = t5.resolve(flags.model)
  tokenizer = data.load_tokenizer(flags.tokenizer or folder)
  cfg, frozen = t5.load(folder, 'float32')
  width = flags.width or cfg.d_model
  rounds = 0 if flags.only_padding else flags.rounds
  print('| task | batches | useful ids | shapes | lines | examples/s | waiting |')
  print('|---|---|---:|---:|---:|---:|---:|')
  for name, longest, size in [task for task in TASKS if task[0] in (flags.task or task)]:
    split = encoded(name, flags.data_dir, tokenizer, longest)
    ways = {k: data.Batches(split, size, 0, k, d_model=width) for k in data.BATCHINGS}
    to_the_maximum = data.Batches(split, size, 0)
    to_the_maximum.shapes = to_the_maximum.shapes[-1:]
    ways = {TO_THE_MAXIMUM: to_the_maximum, **ways}
    trained = measure(Model(cfg, methods.load('compacter')), frozen, ways, flags.steps, rounds)
    for kind, batches in ways.items():
      useful = batches.useful(min(len(split) // size, 500))
      speed = told(trained, kind) if rounds else '- | -'
      shapes = '-' if kind in (TO_THE_MAXIMUM, 'padded') else len(batches.shapes)
      lead = f'{name}, {longest} ids, {size} rows | {kind}'
      print(f'| {lead} | {useful:.1%} | {shapes} | {batches.height} | {speed} |', flush=True)


class Speed(NamedTuple):
  """Of one round: examples a second, and the share of the time spent waiting for data."""

  examples: float
  waited: float


def encoded(name: str, folder: str, tokenizer: data.Tokenizer, longest: int) -> Encoded:
  """The training rows of the paper's split."""
  task = data.task_named(name)
  part = data.splits_of(data.source_of(task, folder), task).train
  texts = [each for row in part.rows for each in data.examples(part.task, row, prefix=False)]
  return data.encode(texts, tokenizer, longest, 16, tokenizer.vocab_size)


def measure(
  model: Model, frozen: Any, ways: dict[str, data.Batches], steps: int, rounds: int
) -> dict[str, list[Speed]]:
  """The speeds of each way in each round; what compiles is run once before."""
  optimizer = optim.build(optim.Optim(warmup=1), steps)
  step = train.make_step(model, optimizer)
  speeds: dict[str, list[Speed]] = {kind: [] for kind in ways}
  for turn in range(rounds + 1 if rounds else 0):
    for kind, batches in ways.items():
      state = train.start(model.init(jax.random.key(0), frozen), optimizer)
      stream = within_rows(batches, model.cfg.vocab)
      reports = []
      begin = time.perf_counter()
      state = train.fit(step, state, frozen, stream, steps, reports.append, steps)
      jax.block_until_ready(state)
      seconds = time.perf_counter() - begin
      if turn:
        waited = statistics.fmean(report.waited for report in reports)
        speeds[kind].append(Speed(steps * batches.batch_size / seconds, waited))
  return speeds


def within_rows(batches: data.Batches, rows: int):
  """The stream of batches, made for any vocabulary: ids are taken modulo the model's rows."""
  for batch in batches.stream():
    ids = {key: np.where(batch[key] > 1, 2 + batch[key] % (rows - 2), batch[key]) for key in KEYS}
    yield batch | ids


KEYS = 'source', 'target'


def told(trained: dict[str, list[Speed]], kind: str) -> str:
  """The speed in examples a second and relative to the batches padded to the longest."""
  median = lambda kind: statistics.median(speed.examples for speed in trained[kind])
  waited = statistics.median(speed.waited for speed in trained[kind])
  return f'{median(kind):,.0f} ({median(kind) / median("padded"):.2f}) | {waited:.1%}'


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
