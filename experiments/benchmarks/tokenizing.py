"""How fast texts become ids: tokenised, read back from the cache, and laid out in batches.

    python -m experiments.benchmarks.tokenizing --data.dir=DIR
    taskset -c 0 python -m experiments.benchmarks.tokenizing --data.dir=DIR --tokenizer=FILE

All training rows of a task, in rounds that alternate; `taskset` leaves it one core. Prints a
Markdown table of rows a second, the best and the median of the rounds, and the bytes of the file.
Reading back hashes the texts and the file, as it always does.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from compacter_jax import data, t5
from experiments.guard import guarded

MAX_SOURCE, MAX_TARGET, BATCH = 128, 16, 32


def main(argv: list[str]) -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--tokenizer', default='nano', help='as in --config.model')
  parser.add_argument('--task', default='sst2')
  parser.add_argument('--data.dir', dest='data_dir', default='', help='the folder of the rows')
  parser.add_argument('--rounds', type=int, default=9)
  flags = parser.parse_args(argv)
  task = data.task_named(flags.task)
  rows = data.source_of(task, flags.data_dir).rows('train')
  texts = [example for row in rows for example in data.examples(task, row, prefix=True)]
  nano = flags.tokenizer == 'nano'
  tokenizer = data.load_tokenizer(t5.resolve('nano') if nano else flags.tokenizer)
  seconds, size = measure(texts, tokenizer, flags.rounds)
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  print(f'{len(texts):,} rows; {tokenizer.library}; cores: {cores}; a file of {size:,} bytes\n')
  print('| | rows/s, best | rows/s, median | ms, median |', '|---|---:|---:|---:|', sep='\n')
  for name, times in seconds.items():
    best, median = min(times), statistics.median(times)
    speeds = f'{len(texts) / best:,.0f} | {len(texts) / median:,.0f}'
    print(f'| {name} | {speeds} | {1e3 * median:,.0f} |')


def measure(
  texts: Sequence[data.Example], tokenizer: data.Tokenizer, rounds: int
) -> tuple[dict[str, list[float]], int]:
  """Seconds of each round by what was done, and the bytes of the file."""
  limits = MAX_SOURCE, MAX_TARGET, tokenizer.vocab_size
  with tempfile.TemporaryDirectory() as folder:
    through_cache = lambda: data.TokenCache(folder).encode(texts, tokenizer, *limits)
    split = through_cache()
    (file,) = Path(folder).iterdir()
    batches = len(split) // BATCH
    works = {
      'tokenised': lambda: data.encode(texts, tokenizer, *limits),
      'tokenised and kept': lambda: (file.unlink(), through_cache()),
      'read back': through_cache,
      f'batches of {BATCH}': lambda: list(islice(data.train_batches(split, BATCH, 0), batches)),
    }
    return alternate(works, rounds), file.stat().st_size


def alternate(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
  """Seconds of each round of each work, in turn, so that a machine that slows down slows all."""
  seconds: dict[str, list[float]] = {name: [] for name in works}
  for _ in range(rounds):
    for name, work in works.items():
      begin = time.perf_counter()
      work()
      seconds[name].append(time.perf_counter() - begin)
  return seconds


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
