"""Low-rank adapter (Karimi Mahabadi et al. 2021): 161,664 parameters on T5-base (0.073 %).

Rank 1 and rate 3e-3 as published.

python -m experiments.run --config=experiments/configs/low_rank_adapter.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = {'norms': base.norms(), 'adapters': base.method('low_rank_adapter')}
  config.data.prefix = False
  config.optim.rate = 3e-3
  return config
