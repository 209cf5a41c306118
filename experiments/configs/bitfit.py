"""BitFit (Ben Zaken et al. 2022): 280,932 parameters on T5-base (0.126 %).

python -m experiments.run --config=experiments/configs/bitfit.py --config.data.dir=DIR
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('bitfit')
  config.optim.rate = 3e-4
  return config
