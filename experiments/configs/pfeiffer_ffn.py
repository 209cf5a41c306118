"""Adapter after the feed-forward only (Pfeiffer et al. 2021): 951,360 on T5-base (0.427 %).

With the settings of adapter.py; the paper's table has pfeiffer.py.

python -m experiments.run --config=experiments/configs/pfeiffer_ffn.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  adapter = base.method('adapter', where=r'.*/ffn')
  config.method = {'norms': base.norms(), 'adapters': adapter}
  config.data.prefix = False
  config.optim.rate = 3e-4
  return config
