"""Adapter (Houlsby et al. 2019): 1,855,104 parameters on T5-base (0.832 %).

Rate 3e-4 and reduction 32 as in Karimi Mahabadi et al. 2021, who also try 16 and 8: widths of 48
(3,625,728) and 96 (7,166,976).

python -m experiments.run --config=experiments/configs/adapter.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = {'norms': base.norms(), 'adapters': base.method('adapter')}
  config.data.prefix = False
  config.optim.rate = 3e-4
  return config
