"""Prompt tuning from random vectors: 76,800 parameters on T5-base (0.034 %).

100 vectors from U(-0.5, 0.5), rate 3e-2 and two batches of 50 a step, as in Karimi
Mahabadi et al. 2021.

python -m experiments.run --config=experiments/configs/prompt.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('prompt')
  config.accumulate = 2
  config.optim.rate = 3e-2
  return config
