"""BitFit (Ben Zaken et al. 2022): 280,932 parameters on T5-base (0.126 %).

Rate 3e-4 as in Karimi Mahabadi et al. 2021; the task's name leads the text, norms are frozen.

python -m experiments.run --config=experiments/configs/bitfit.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('bitfit')
  config.optim.rate = 3e-4
  return config
