"""KronA (Edalati et al. 2022): 110,592 parameters on T5-base (0.050 %).

On queries and values, the factors as small as they can be. The rate and the scale of 1 are ours.

python -m experiments.run --config=experiments/configs/krona.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('krona')
  config.optim.rate = 1e-3
  return config
