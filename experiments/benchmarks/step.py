"""A training step of each config, beside that of full fine-tuning, in one run.

    python -m experiments.benchmarks.step
    python -m experiments.benchmarks.step --size=t5-small --layers=6 --configs compacter lora full

T5 of a published size with random weights, cut to fewer layers so that all programs fit side by
side; 128 ids to 8 labels, dropout, AdamW. The steps alternate, so that a machine that slows
down slows all. Prints a Markdown table: seconds to trace and to compile, the median step, its ratio
to the last row's, and the temporaries by the compiler's own account.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from compacter_jax import methods, optim, t5, train
from compacter_jax.model import Model
from experiments.configs import HERE, read_config
from experiments.machine import program_bytes

HEADER = ['', 'trace s', 'compile s', 'step ms', 'ratio', 'temporaries MB']
BATCH, SOURCE, TARGET = 8, 128, 8


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--size', default='t5-base')
  parser.add_argument('--layers', type=int, default=3, help='of each stack')
  parser.add_argument('--vocab', type=int, default=8192)
  parser.add_argument('--batch', type=int, default=BATCH, help='examples')
  parser.add_argument('--dtype', default='float32', help='of activations and frozen weights')
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
    steps[name] = Step(Model(cfg, method, flags.dtype), frozen, batch=flags.batch)
  first = flags.configs[0]
  method = methods.from_config(read_config(HERE / f'{first}.py').method.to_dict())
  plain = Step(Model(cfg, method, flags.dtype), frozen, dropout=False, batch=flags.batch)
  steps = {f'{first}, no dropout': plain, **steps}
  alternate(steps.values(), flags.rounds)
  layers = f'{flags.layers} + {flags.layers} layers'
  batch = f'batch {flags.batch} x {SOURCE} to {TARGET}'
  print(f'{flags.size}, {layers}, {batch}, {flags.dtype}, {jax.devices()[0].device_kind}\n')
  print(_row(HEADER), _row(['---'] * len(HEADER)), sep='\n')
  last = list(steps.values())[-1]
  for name, step in steps.items():
    cells = f'{step.ms:,.1f}', f'{step.ratio(last):.2f}', f'{step.temporaries / 2**20:,.0f}'
    print(_row([name, *(f'{seconds:.1f}' for seconds in step.made), *cells]))


class Step:
  """One compiled training step and the times it took.

  Attributes:
    made: seconds to trace and to compile it.
    temporaries, memory: bytes by the compiler's account, and those of all inputs and outputs too.
    seconds: those of each step that was run.
  """

  def __init__(
    self,
    model: Model,
    frozen: dict[str, jax.Array],
    dropout: bool = True,
    batch: int = BATCH,
    source: int = SOURCE,
    cast: bool = True,
  ):
    """batch: its examples. source: ids of each. cast: whether frozen weights take model.dtype."""
    random = np.random.default_rng(0)
    draw = lambda width: random.integers(3, model.cfg.vocab, (batch, width), dtype=np.int32)
    self.batch = {'source': draw(source), 'target': draw(TARGET)}
    kept = model.trim(frozen)
    self.frozen = {path: w.astype(model.dtype) for path, w in kept.items()} if cast else kept
    optimizer = optim.build(optim.Optim(rate=1e-4, warmup=0, schedule='constant'), 100)
    self.state = train.start(model.init(jax.random.key(0), frozen), optimizer)
    begin = time.perf_counter()
    step: Any = train.make_step(model, optimizer, dropout=dropout)
    lowered = step.lower(self.state, self.frozen, self.batch)
    traced = time.perf_counter()
    self.compiled = lowered.compile()
    self.made = traced - begin, time.perf_counter() - traced
    self.temporaries = self.compiled.memory_analysis().temp_size_in_bytes
    self.memory = program_bytes(self.compiled)
    self.seconds: list[float] = []
    self.run()
    self.seconds.clear()  # the first is slower

  def run(self) -> None:
    """Takes one step, to its end."""
    begin = time.perf_counter()
    self.state, metrics = self.compiled(self.state, self.frozen, self.batch)
    jax.block_until_ready((self.state, metrics))
    self.seconds.append(time.perf_counter() - begin)

  @property
  def ms(self) -> float:
    """The median step in milliseconds."""
    return 1e3 * statistics.median(self.seconds)

  def ratio(self, other: 'Step') -> float:
    """The median of how long it took relative to the other, step by step."""
    pairs = zip(self.seconds, other.seconds, strict=True)
    return statistics.median(a / b for a, b in pairs)


def alternate(steps: Collection[Step], rounds: int) -> None:
  """Times the steps in turn, so that a machine that slows down slows all."""
  for step in steps:
    step.seconds.clear()
  for _ in range(rounds):
    for step in steps:
      step.run()


def _row(cells: list[Any]) -> str:
  return '| ' + ' | '.join(map(str, cells)) + ' |'


if __name__ == '__main__':
  main()
