"""Adapter after self-attention only: 951,360 parameters on T5-base (0.427 %).

What Karimi Mahabadi et al. 2021 run as Pfeiffer et al. 2021, whose own place is in pfeiffer_ffn.py:
they found this one better. Rate 3e-4.

python -m experiments.run --config=experiments/configs/pfeiffer.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  adapter = base.method('adapter', where=r'.*/self_attention')
  config.method = {'norms': base.norms(), 'adapters': adapter}
  config.data.prefix = False
  config.optim.rate = 3e-4
  return config
