"""Prefix tuning (Li & Liang 2021): 11,059,200 parameters on T5-base (4.962 %).

200 keys and values in front of every attention, trained themselves. The authors train them through
a network (prefix_mlp.py), which they find more stable: the rate is ours.

python -m experiments.run --config=experiments/configs/prefix.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('prefix', length=200)
  config.optim.rate = 1e-2
  return config
