"""AdapterDrop beside Adapter: what leaving adapters out of the lowest layers saves.

    python -m experiments.benchmarks.adapterdrop
    python -m experiments.benchmarks.adapterdrop --size=t5-small --layers=6

As published T5's layer norms train in every layer, hence gradients reach the lowest. In the third
row only the encoder's norms from the first adapter on are trained, as with
--config.method.norms.encoder_layers='(5,6,7,8,9,10,11)': nothing is differentiated below. Steps
alternate; a Markdown table gives their medians, and time and temporaries relative to Adapter.
"""

import argparse
import copy
import dataclasses

import jax

from compacter_jax import methods, t5
from compacter_jax.method import Method
from compacter_jax.model import Model
from experiments.benchmarks.step import BATCH, SOURCE, TARGET, Step, alternate
from experiments.comparison import fitted
from experiments.configs import HERE, read_config


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--size', default='t5-base')
  parser.add_argument('--layers', type=int, default=12, help='of each stack')
  parser.add_argument('--vocab', type=int, default=8192)
  parser.add_argument('--rounds', type=int, default=9)
  flags = parser.parse_args()
  layers = {'encoder_layers': flags.layers, 'decoder_layers': flags.layers}
  cfg = dataclasses.replace(t5.size_named(flags.size), vocab=flags.vocab, **layers)
  frozen = t5.random_weights(cfg, jax.random.key(0))
  steps = {name: Step(Model(cfg, method), frozen) for name, method in rows(flags.layers).items()}
  alternate(steps.values(), flags.rounds)
  shape = (
    f'{flags.size}, {flags.layers} + {flags.layers} layers, {flags.vocab:,} rows of vocabulary'
  )
  print(f'{shape}, batch {BATCH} x {SOURCE} -> {TARGET}, {jax.devices()[0].device_kind}\n')
  print('| | step ms | ratio | temporaries MB | ratio |\n| --- | ---: | ---: | ---: | ---: |')
  first = steps['Adapter']
  for name, step in steps.items():
    time, memory = f'{step.ms:,.0f} | {step.ratio(first):.2f}', step.temporaries
    print(f'| {name} | {time} | {memory / 2**20:,.0f} | {memory / first.temporaries:.2f} |')


def rows(depth: int) -> dict[str, Method]:
  """What is measured, for a T5 of `depth` layers in each stack."""
  adapter, drop = (read_config(HERE / f'{name}.py').method for name in ('adapter', 'adapterdrop'))
  upper = copy.deepcopy(drop)
  upper.norms.encoder_layers = drop.adapters.encoder_layers
  settings = {
    'Adapter': adapter,
    'AdapterDrop, as published': drop,
    "AdapterDrop, the encoder's lower norms frozen": upper,
  }
  return {
    name: methods.from_config(fitted(method.to_dict(), depth, narrow=False))
    for name, method in settings.items()
  }


if __name__ == '__main__':
  main()
