"""The README's main job: Compacter on the shipped nano T5 and a generated task, no download.

    python -m experiments.run --config=experiments/configs/quickstart.py --workdir=W

About a minute on 2 cores; docs/results.md tells what it reaches.
"""

from experiments.configs import compacter


def get_config():
  config = compacter.get_config()
  config.data.task = 'quickstart'
  config.data.max_source = 48
  config.data.max_validation = 200
  config.batch_size = 16
  config.epochs = 2.0
  config.log_every = 50
  # The paper's reduction of 32 would leave 8 units of a T5 this small.
  config.method.adapters.reduction = 8
  config.optim.rate = 1e-2
  config.optim.warmup = 20
  return config
