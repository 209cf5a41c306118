"""The README's main job: Compacter on the shipped nano T5 and a generated task, no download.

    python -m experiments.run --config=experiments/configs/quickstart.py --workdir=W

Under a minute on 2 cores; see docs/quickstart.md for the accuracy.
"""

from experiments.configs import compacter


def get_config():
  config = compacter.get_config()
  config.data.task = 'quickstart'
  config.data.max_source = 48
  config.batch_size = 32
  config.epochs = 4.0
  config.optim.rate = 2e-2
  config.optim.warmup = 20
  return config
