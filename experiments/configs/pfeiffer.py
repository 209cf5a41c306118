"""Adapter after self-attention only, as the paper runs Pfeiffer et al. 2021: 951,360 (0.427 %).

python -m experiments.run --config=experiments/configs/pfeiffer.py --config.data.dir=DIR
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  adapter = base.method('adapter', where=r'.*/self_attention')
  config.method = {'norms': base.norms(), 'adapters': adapter}
  config.data.prefix = False
  config.optim.rate = 3e-4
  return config
