"""(IA)^3 (Liu et al. 2022), with the authors' rate; its gains can be folded into T5.

python -m experiments.run --config=experiments/configs/ia3.py --config.data.dir=DIR
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('ia3')
  config.optim.rate = 3e-3
  return config
