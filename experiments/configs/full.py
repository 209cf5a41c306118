"""Full fine-tuning: every weight of T5 is trained (100 %).

python -m experiments.run --config=experiments/configs/full.py --config.data.dir=DIR
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('unfreeze', where='.*')
  config.optim.rate = 3e-4
  return config
