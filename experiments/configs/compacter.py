"""Compacter (Karimi Mahabadi et al. 2021): 161,728 parameters on T5-base (0.073 %).

n = 4, reduction 32 and rate 3e-3 as the paper runs GLUE; on SuperGLUE it reports n = 12 (163,392).
It chose n out of 4, 8, 12 and the reduction out of 32, 16, 8 on validation rows.

python -m experiments.run --config=experiments/configs/compacter.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = {'norms': base.norms(), 'adapters': base.method('compacter', n=4)}
  config.data.prefix = False
  config.optim.rate = 3e-3
  return config
