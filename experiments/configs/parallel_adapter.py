"""Scaled parallel adapter (He et al. 2022): 18,905,088 parameters on T5-base (8.482 %).

Beside the feed-forward, width 512 and s = 4; that and the optimizer as the authors run XSum on
BART-large (100,000 steps, with labels smoothed by 0.1, which are not here). Where they classify,
with RoBERTa-base, they take width 16, s = 2, rate 1e-4 and decay 0.1.

python -m experiments.run --config=experiments/configs/parallel_adapter.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('parallel_adapter', width=512, scale=4.0)
  config.batch_size = 64
  config.accumulate = 4
  config.optim.rate = 5e-5
  config.optim.warmup = 0
  config.optim.decay = 0.01
  config.optim.clip = 0.1
  return config
