"""Adapter (Houlsby et al. 2019): 1,855,104 parameters on T5-base (0.832 %).

python -m experiments.run --config=experiments/configs/adapter.py --config.data.dir=DIR
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = {'norms': base.norms(), 'adapters': base.method('adapter')}
  config.data.prefix = False
  config.optim.rate = 3e-4
  return config
