"""How long Intrinsic-SAID takes to move every weight of T5, and its backward pass to gather.

    python -m experiments.benchmarks.intrinsic
    python -m experiments.benchmarks.intrinsic --size=t5-small --rounds=9

A Markdown table: medians in seconds, and the temporaries of the compiled programs beside the
largest tensor, rounded up to a power of two as Fastfood needs it.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from compacter_jax import t5
from compacter_jax.methods.intrinsic import Intrinsic
from compacter_jax.model import Model, abstract


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--size', default='t5-base', help='a published size')
  parser.add_argument('--rounds', type=int, default=5)
  flags = parser.parse_args()

  cfg, method = t5.size_named(flags.size), Intrinsic()
  frozen = {path: jnp.zeros(w.shape) for path, w in abstract(cfg).items()}
  p = Model(cfg, method).init(jax.random.key(0), frozen).weights
  forward = lambda p, frozen: method.weights(frozen, p)
  backward = lambda p, frozen: jax.vjp(lambda p: forward(p, frozen), p)[1](frozen)
  layers = lambda path, w: w.shape[0] if '/layers/' in path else 1
  largest = max(w.size // layers(path, w) for path, w in frozen.items())
  print(f'{flags.size}, {jax.devices()[0].device_kind}; {cfg.vocab:,} rows of vocabulary\n')
  print('| | compile s | s | temporaries MB | largest tensor MB |')
  print('| --- | ---: | ---: | ---: | ---: |')
  for name, program in ('projection', forward), ('its transpose', backward):
    begin = time.perf_counter()
    compiled: Any = jax.jit(program).lower(p, frozen).compile()
    made = time.perf_counter() - begin
    held = compiled.memory_analysis().temp_size_in_bytes / 1e6
    taken = statistics.median([_seconds(compiled, p, frozen) for _ in range(flags.rounds + 1)][1:])
    padded = (1 << (largest - 1).bit_length()) * 4 / 1e6
    print(f'| {name} | {made:.1f} | {taken:.2f} | {held:,.0f} | {padded:,.0f} |')


def _seconds(compiled, *args) -> float:
  begin = time.perf_counter()
  jax.block_until_ready(compiled(*args))
  return time.perf_counter() - begin


if __name__ == '__main__':
  main()
