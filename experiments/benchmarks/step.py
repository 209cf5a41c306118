"""A training step of each config, beside that of full fine-tuning, in one run.

    python -m experiments.benchmarks.step
    python -m experiments.benchmarks.step --size=t5-small --layers=6 --configs compacter lora full

T5 of a published size with random weights, cut to fewer layers so that all programs fit side by
side; batch 8 x 128 to 8 labels, dropout, AdamW. The steps alternate, so that a machine that slows
down slows all. Prints a Markdown table: seconds to trace and to compile, the median step, its ratio
to the last row's, and the temporaries by the compiler's own account.
"""

import argparse
import dataclasses
import statistics
import time
from typing import Any

import jax
import numpy as np

from compacter_jax import methods, optim, t5, train
from compacter_jax.model import Model
from experiments.configs import HERE, read_config

HEADER = ['', 'trace s', 'compile s', 'step ms', 'ratio', 'temporaries MB']
BATCH, SOURCE, TARGET = 8, 128, 8


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--size', default='t5-base')
  parser.add_argument('--layers', type=int, default=3, help='of each stack')
  parser.add_argument('--vocab', type=int, default=8192)
  parser.add_argument('--rounds', type=int, default=9)
  parser.add_argument(
    '--configs', nargs='*', default=['compacter', 'compacter_pp', 'adapter', 'bitfit', 'full']
  )
  flags = parser.parse_args()
  layers = {'encoder_layers': flags.layers, 'decoder_layers': flags.layers}
  cfg = dataclasses.replace(t5.size_named(flags.size), vocab=flags.vocab, **layers)
  frozen = t5.random_weights(cfg, jax.random.key(0))
  steps = {}
  for name in flags.configs:
    method = methods.from_config(read_config(HERE / f'{name}.py').method.to_dict())
    steps[name] = Step(Model(cfg, method), frozen)
  first = flags.configs[0]
  method = methods.from_config(read_config(HERE / f'{first}.py').method.to_dict())
  steps = {f'{first}, no dropout': Step(Model(cfg, method), frozen, dropout=False), **steps}
  for _ in range(flags.rounds):
    for step in steps.values():
      step.run()
  print(f'{flags.size}, {flags.layers} + {flags.layers} layers, {jax.devices()[0].device_kind}\n')
  print(_row(HEADER), _row(['---'] * len(HEADER)), sep='\n')
  last = list(steps.values())[-1]
  for name, step in steps.items():
    ratio = statistics.median(a / b for a, b in zip(step.seconds, last.seconds, strict=True))
    ms = 1e3 * statistics.median(step.seconds)
    print(_row([name, *step.cells[:2], f'{ms:,.0f}', f'{ratio:.2f}', step.cells[2]]))


class Step:
  """One compiled training step and the times it took."""

  def __init__(self, model: Model, frozen: dict[str, jax.Array], dropout: bool = True):
    random = np.random.default_rng(0)
    draw = lambda width: random.integers(3, model.cfg.vocab, (BATCH, width), dtype=np.int32)
    self.batch = {'source': draw(SOURCE), 'target': draw(TARGET)}
    self.frozen = model.trim(frozen)
    optimizer = optim.build(optim.Optim(rate=1e-4, warmup=0, schedule='constant'), 100)
    self.state = train.start(model.init(jax.random.key(0), frozen), optimizer)
    begin = time.perf_counter()
    step: Any = train.make_step(model, optimizer, dropout=dropout)
    lowered = step.lower(self.state, self.frozen, self.batch)
    traced = time.perf_counter()
    self.compiled = lowered.compile()
    seconds = traced - begin, time.perf_counter() - traced
    temporaries = self.compiled.memory_analysis().temp_size_in_bytes / 2**20
    self.cells = [f'{seconds[0]:.1f}', f'{seconds[1]:.1f}', f'{temporaries:,.0f}']
    self.seconds: list[float] = []
    self.run()
    self.seconds.clear()  # the first is slower

  def run(self) -> None:
    """Takes one step, to its end."""
    begin = time.perf_counter()
    self.state, metrics = self.compiled(self.state, self.frozen, self.batch)
    jax.block_until_ready((self.state, metrics))
    self.seconds.append(time.perf_counter() - begin)


def _row(cells: list[Any]) -> str:
  return '| ' + ' | '.join(map(str, cells)) + ' |'


if __name__ == '__main__':
  main()
