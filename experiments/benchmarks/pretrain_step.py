"""How long a pretraining step takes, for dtypes and for what the backward pass computes again.

    python -m experiments.benchmarks.pretrain_step
    python -m experiments.benchmarks.pretrain_step --kinds float32/none bfloat16/none/8/4 --rounds=9

A kind is DTYPE/REMAT[/ACCUMULATE[/UNROLL]]. The shape, the batch and the optimizer of
configs/pretrain_nano.py on random ids. The steps alternate, so that a machine that slows down slows
all. Prints a Markdown table: the median step in seconds, chunks per second, the ratio to the first
row's, and the temporaries by the compiler's own account. XLA's flags count for a whole process: run
it once with them and once without, in turn.
"""

import argparse
import dataclasses
import os
import statistics
import time
from typing import Any

import jax
import numpy as np

from compacter_jax import methods, optim, t5, train
from compacter_jax.data.denoised import Denoised
from compacter_jax.model import Model
from experiments.configs import HERE, read_config
from experiments.pretraining_job import PretrainJob, job

VOCAB = 8_192
PIECES = 8_000


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--kinds', nargs='*', default=['float32/none'], help='DTYPE/REMAT[/ACCUMULATE[/UNROLL]]'
  )
  parser.add_argument('--batch', type=int, default=64, help='chunks')
  parser.add_argument('--rounds', type=int, default=5)
  flags = parser.parse_args()
  settings = read_config(HERE / 'pretrain_nano.py').to_dict()
  settings['text']['dir'] = 'random'
  settings['batch_size'] = flags.batch
  steps = {kind: Step(job(settings), *kind.split('/')) for kind in flags.kinds}
  for _ in range(flags.rounds):
    for step in steps.values():
      step.run()
  chunk = settings['task']['chunk']
  print(f'{flags.batch} x {chunk} ids, {jax.devices()[0].device_kind}')
  print(f'XLA_FLAGS={os.environ.get("XLA_FLAGS", "")}\n')
  print('| | step s | chunks/s | ratio | temporaries MB |\n| --- | ---: | ---: | ---: | ---: |')
  first = steps[flags.kinds[0]]
  for kind, step in steps.items():
    seconds = statistics.median(step.seconds)
    ratio = statistics.median(a / b for a, b in zip(step.seconds, first.seconds, strict=True))
    cells = f'{seconds:.3g} | {flags.batch / seconds:.1f} | {ratio:.2f}'
    print(f'| {kind} | {cells} | {step.temporaries / 2**20:,.0f} |')


class Step:
  """One compiled pretraining step.

  Attributes:
    seconds: those of each step that was run.
    temporaries: bytes by the compiler's account.
  """

  def __init__(
    self, job: PretrainJob, dtype: str, remat: str, accumulate: str = '1', unroll: str = '1'
  ):
    cfg = dataclasses.replace(job.shape, vocab=VOCAB)
    model = Model(cfg, methods.load('unfreeze'), dtype, remat, int(unroll))
    optimizer = optim.build(job.optim, job.steps)
    weights = t5.random_weights(cfg, jax.random.key(0))
    self.state = train.start(model.init(jax.random.key(0), weights), optimizer)
    ids = np.random.default_rng(0).integers(3, PIECES, (job.batch_size, job.task.chunk))
    draw = Denoised(job.task, cfg.eos_id, PIECES + 99)
    self.batch = next(draw.train(ids, job.batch_size, 0, 0))
    train.check_batch(job.batch_size, int(accumulate))
    step: Any = train.make_step(model, optimizer, accumulate=int(accumulate), dropout=job.dropout)
    self.compiled = step.lower(self.state, {}, self.batch).compile()
    self.temporaries = self.compiled.memory_analysis().temp_size_in_bytes
    self.seconds: list[float] = []
    self.run()
    self.seconds.clear()  # the first is slower

  def run(self) -> None:
    """Takes one step, to its end."""
    begin = time.perf_counter()
    self.state, metrics = self.compiled(self.state, {}, self.batch)
    jax.block_until_ready((self.state, metrics))
    self.seconds.append(time.perf_counter() - begin)


if __name__ == '__main__':
  main()
