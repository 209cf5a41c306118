"""Full fine-tuning: every weight of T5 is trained, 222,882,048 of T5-base (100 %).

Rate 3e-4 as in Karimi Mahabadi et al. 2021; the task's name leads the text.

python -m experiments.run --config=experiments/configs/full.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('unfreeze', where='.*')
  config.optim.rate = 3e-4
  return config
