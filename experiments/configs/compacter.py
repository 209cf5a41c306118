"""Compacter (Karimi Mahabadi et al. 2021): 161,728 parameters on T5-base (0.073 %).

python -m experiments.run --config=experiments/configs/compacter.py --config.data.dir=DIR
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = {'norms': base.norms(), 'adapters': base.method('compacter', n=4)}
  config.data.prefix = False
  config.optim.rate = 3e-3
  return config
