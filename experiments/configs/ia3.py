"""(IA)^3 (Liu et al. 2022): 129,024 parameters on T5-base (0.058 %).

The authors' rate of 3e-3; the rest is that of base.py, theirs 1,000 Adafactor steps of batch 8.

python -m experiments.run --config=experiments/configs/ia3.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('ia3')
  config.optim.rate = 3e-3
  return config
