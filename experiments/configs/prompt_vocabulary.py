"""Prompt tuning from the vocabulary: 76,800 parameters on T5-base (0.034 %).

python -m experiments.run --config=experiments/configs/prompt_vocabulary.py --config.data.dir=DIR
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('prompt', init='vocabulary')
  config.optim.rate = 3e-1
  return config
