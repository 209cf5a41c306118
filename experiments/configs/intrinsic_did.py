"""Intrinsic dimension without scales (Li et al. 2018): 20,000 parameters on T5-base (0.009 %).

python -m experiments.run --config=experiments/configs/intrinsic_did.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('intrinsic', said=False)
  config.optim.rate = 3e-2
  config.accumulate = 2
  return config
