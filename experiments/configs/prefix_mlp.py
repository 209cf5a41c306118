"""Prefix tuning (Li & Liang 2021) through its network: 46,598,496 parameters on T5-base (20.907 %).

Length 200, 800 hidden units, rate 5e-5, 30 epochs and three batches of 16 a step, as the authors
run XSum on BART-large. Only what the network makes is needed afterwards: 11,059,200 (4.962 %).

python -m experiments.run --config=experiments/configs/prefix_mlp.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('prefix', length=200, bottleneck=800)
  config.epochs = 30.0
  config.batch_size = 48
  config.accumulate = 3
  config.optim.rate = 5e-5
  return config
