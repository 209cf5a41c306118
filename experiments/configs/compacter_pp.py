"""Compacter++ (Karimi Mahabadi et al. 2021): 104,704 parameters on T5-base (0.047 %).

Compacter after the feed-forward only, with its settings; n = 12 on SuperGLUE (106,368).

python -m experiments.run --config=experiments/configs/compacter_pp.py --workdir=W
"""

from experiments.configs import compacter


def get_config():
  config = compacter.get_config()
  config.method.adapters.where = r'.*/ffn'
  return config
