"""PHM adapter (Karimi Mahabadi et al. 2021): 398,976 parameters on T5-base (0.179 %).

Each projection has an A of its own. n = 12 and rate 3e-3 as the paper runs GLUE; on SuperGLUE it
reports n = 4 (534,144, 0.240 %).

python -m experiments.run --config=experiments/configs/phm_adapter.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  adapter = base.method('compacter', n=12, rank=None, share_a=False)
  config.method = {'norms': base.norms(), 'adapters': adapter}
  config.data.prefix = False
  config.optim.rate = 3e-3
  return config
