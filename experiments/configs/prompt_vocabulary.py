"""Prompt tuning from the vocabulary: 76,800 parameters on T5-base (0.034 %).

100 vectors from the embeddings of the first 100 ids, rate 3e-1 and two batches of 50 a step, as in
Karimi Mahabadi et al. 2021.

python -m experiments.run --config=experiments/configs/prompt_vocabulary.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('prompt', init='vocabulary')
  config.accumulate = 2
  config.optim.rate = 3e-1
  return config
