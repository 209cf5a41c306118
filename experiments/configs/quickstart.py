"""The README's main job: Compacter on the shipped nano T5 and a generated task, no download.

    python -m experiments.run --config=experiments/configs/quickstart.py --workdir=W

About 40 seconds on 2 cores; docs/single_runs.md tells what it reaches.
"""

from experiments.configs import compacter


def get_config():
  config = compacter.get_config()
  config.data.task = 'quickstart'
  config.data.max_source = 48
  config.data.max_validation = 200
  # Small batches: what decides is the number of steps (docs/single_runs.md).
  config.batch_size = 8
  config.mesh.devices = 1
  config.epochs = 2.0
  config.log_every = 100
  # The paper's reduction of 32 would leave 8 units of a T5 this small.
  config.method.adapters.reduction = 8
  config.optim.rate = 1e-2
  config.optim.warmup = 100
  return config
